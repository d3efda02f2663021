"""A file of generated dialogues in HH-RLHF's form, and the name of the real one."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from cluster.rlhf.synthetic.preferences.words import prose_about, topics
from cluster.tiny.dialogues.reading import TRAINING_ROWS

HH_RLHF = Path("hh-rlhf/harmless-base-test.jsonl.gz")
"""Below the folder of shared data."""


def write_dialogues(path: Path, n_judging: int = 20) -> str:
    """As many rows as are trained on and `n_judging` more, each side two turns long."""
    rng = Random(0)
    rows = [
        {"chosen": _side(rng, row), "rejected": _side(rng, row)}
        for row in range(TRAINING_ROWS + n_judging)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _side(rng: Random, row: int) -> str:
    topic = topics(rng, "train", 1)[0]
    question = f"Question {row}: what about {topic}?"
    return f"\n\nHuman: {question}\n\nAssistant: {prose_about(rng, topic, 3)}"
