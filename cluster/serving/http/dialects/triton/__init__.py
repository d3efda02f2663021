"""Triton / KServe v2: NeMo-Aligner's `reward_model`, as PyTriton's clients read it."""

from cluster.serving.http.dialects.triton.infer import ENDPOINTS
from cluster.serving.http.dialects.triton.model import PROBES

__all__ = ["ENDPOINTS", "PROBES"]
