"""CPU time of a service's processes, by role: it bounds the requests that a core can take."""

from __future__ import annotations

import contextlib
from collections import Counter

import psutil

from cluster.serving.names import APP, BATCHER, INGRESS, REPLICA

TITLES = {
    "proxy": "ray::ProxyActor",
    "Ingress": f"ray::ServeReplica:{APP}:{INGRESS}",
    "batcher": f"ray::ServeReplica:{APP}:{BATCHER}",
    "replica": f"ray::ServeReplica:{APP}:{REPLICA}",
}
"""How Ray names the processes."""


def cpu_seconds() -> Counter[str]:
    """Seconds of CPU time, until now, of the processes below this one, by role."""
    spent: Counter[str] = Counter()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            times, title = process.cpu_times(), " ".join(process.cmdline())
            for role, start in TITLES.items():
                if title.startswith(start):
                    spent[role] += times.user + times.system
    return spent
