"""Device tuning after loading: weight layout and row counts."""

from __future__ import annotations

import logging

from cluster.engine.batch_invariance import batch_invariant_sizes, candidate_sizes
from cluster.engine.cpu_matmul import lay_out
from cluster.engine.model import PackedRewardModel

log = logging.getLogger(__name__)


def tune(model: PackedRewardModel, forward_tokens: int) -> None:
    """Fit `model` to its device for forwards of about `forward_tokens` rows.

    `reference` is left as it was loaded: its kernels are the pipeline's.
    """
    if model.numerics == "reference":
        return
    on_cpu = model.device.type == "cpu"
    if on_cpu:
        lay_out(model.module.base_model)
    if model.numerics == "invariant":
        model.row_sizes = batch_invariant_sizes(model.module, forward_tokens)
        if not model.row_sizes:
            log.warning(
                "%s: the row counts of its matmuls cannot be held fixed on this device, so that a "
                "chat's bits would follow its batch: one chat a forward",
                type(model.module).__name__,
            )
    elif on_cpu:  # few row counts: a kernel is made once for each
        model.row_sizes = candidate_sizes("cpu", forward_tokens)
