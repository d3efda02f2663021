"""Hypothesis settings for bodies thrown at the service: the same ones each time."""

from __future__ import annotations

import hypothesis


def generated(max_examples: int) -> hypothesis.settings:
    """Without shrinking, which takes minutes here."""
    return hypothesis.settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
