"""Process lookup: the service's processes among this one's descendants, by the titles Ray sets.

The processes themselves are not asked, since a frozen one does not answer.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import defaultdict
from pathlib import Path

import psutil

ROLES = {
    "Replica": "ray::ServeReplica:{app}:Replica",
    "Batcher": "ray::ServeReplica:{app}:Batcher",
    "Ingress": "ray::ServeReplica:{app}:Ingress",
    "Client": "ray::RewardClient",
    "Controller": "ray::ServeController",
    "Proxy": "ray::ProxyActor",
}
MIB = 2**20
GROWTH_MIB = 48.0
"""Growth of a role's largest process that is no leak, from a soak's second third to its last."""
JUDGED_FROM = 60
"""With fewer samples, one per second, growth is warm-up and only shown."""


def pids(role: str, app: str = "") -> list[int]:
    """Process ids of the running processes in a role.  app: for the roles that each app has."""
    title = ROLES[role].format(app=app)
    return [each.pid for each in _below() if _title(each).startswith(title)]


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; returns whether the process still existed."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


class Memory:
    """Samples of the unshared memory of the largest process per role, in MiB; Ray's own too."""

    def __init__(self, apps: list[str]) -> None:
        self._titles = {
            f"{app}: {role}" if "{app}" in title else role: title.format(app=app)
            for app in apps
            for role, title in ROLES.items()
        }
        self.looks: dict[str, list[float]] = defaultdict(list)

    def look(self) -> None:
        """Take one sample of every process."""
        largest: dict[str, float] = {}
        for process in _below():
            role = self._role(_title(process))
            if role:
                largest[role] = max(largest.get(role, 0.0), _own_mib(process))
        for role, size in largest.items():
            self.looks[role].append(size)

    def _role(self, title: str) -> str:
        """The process's role in the service, or the name of its program if it is one of Ray's."""
        for role, start in self._titles.items():
            if title.startswith(start):
                return role
        return program(title)

    def thirds(self, role: str) -> tuple[float, float, float]:
        """The largest sample in each third of the soak, in MiB."""
        looks = self.looks[role]
        cut = max(1, len(looks) // 3)
        parts = looks[:cut], looks[cut : 2 * cut] or looks, looks[2 * cut :] or looks
        return max(parts[0]), max(parts[1]), max(parts[2])

    def grown(self) -> list[str]:
        """A message for each role whose memory kept growing."""
        judged = [role for role, looks in self.looks.items() if len(looks) >= JUDGED_FROM]
        thirds = {role: self.thirds(role) for role in judged}
        return [
            f"memory of {role} grew from {second:.0f} to {last:.0f} MiB"
            for role, (_, second, last) in thirds.items()
            if last - second > GROWTH_MIB
        ]


def program(title: str) -> str:
    """Name of the script that an interpreter runs, or of the program. "" for an empty title and for
    a Ray worker that has no role yet or no longer."""
    words = title.split()
    if not words or words[0].startswith(("ray::SERVE_", "ray::IDLE")):
        return ""
    scripts = (word for word in words if word.endswith(".py"))
    is_interpreter = Path(words[0]).name.startswith("python")
    return Path(next(scripts, words[0]) if is_interpreter else words[0]).name


def _below() -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _own_mib(process: psutil.Process) -> float:
    """Memory in MiB without what the process shares, such as the object store; 0 if it is gone."""
    with contextlib.suppress(psutil.Error):
        memory = process.memory_info()
        return float(memory.rss - memory.shared) / MIB
    return 0.0
