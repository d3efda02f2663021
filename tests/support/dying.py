"""A command whose process is killed in the middle of its work, at the same point on any machine.

    python -m support.dying MODULE NAME N ARGUMENT...    dies as its N-th call of NAME begins

The process kills itself by SIGKILL, as a test that watched it from outside would, only never too
early or too late: nothing of it is cleaned up, and what it was writing stays half written.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
PATIENCE_S = 300.0


def killed_in(method: Callable[..., Any], call: int, arguments: Sequence[str | Path]) -> None:
    """`reward-cluster ARGUMENTS`, killed at the `call`-th call of a class's `method`."""
    where = [method.__module__, method.__qualname__, str(call)]
    done = subprocess.run(
        [sys.executable, "-m", "support.dying", *where, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def die_in(module: str, qualified_name: str, n: int) -> None:
    """From now on this process dies as the method is called for the `n`-th time."""
    *outer, name = qualified_name.split(".")
    owner: Any = functools.reduce(getattr, outer, import_module(module))
    method, calls = getattr(owner, name), itertools.count(1)

    @functools.wraps(method)
    def dying(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*args, **kwargs)

    setattr(owner, name, dying)


if __name__ == "__main__":
    from cluster.cli import main

    die_in(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    main(sys.argv[4:])
