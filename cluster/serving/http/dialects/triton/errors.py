"""Error form of KServe v2."""

from __future__ import annotations

from typing import Any

from cluster.errors import RewardError
from cluster.serving.http.errors import sendable


def kserve_error(failed: RewardError) -> tuple[int, Any]:
    """The status, and `{"error": text}`."""
    return failed.http_status, {"error": sendable(str(failed))}
