"""Native kernels: the package's C++ sources, compiled once per machine and loaded.

A library is kept under the user's cache folder, by what it was made from. Without a compiler there
is none, and whoever asked for it does without.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

COMPILERS = ("g++", "c++", "clang++")
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fopenmp")
HEADERS = Path(__file__).parent
TIMEOUT_S = 300.0


@functools.cache
def load_library(source: Path, features: tuple[str, ...]) -> ctypes.CDLL | None:
    """`source` compiled for a CPU with `features` (as `-m` names them).

    None, with one line in the log, where there is no compiler or it fails.
    """
    compiler = find_compiler()
    if compiler is None:
        log.warning("no C++ compiler is found: %s is not compiled, which costs speed", source.name)
        return None
    command = [compiler, *FLAGS, f"-I{HEADERS}", *(f"-m{feature}" for feature in features)]
    headers = b"".join(path.read_bytes() for path in sorted(HEADERS.glob("*.h")))
    made_from = source.read_bytes() + headers + "\0".join(command).encode()
    name = f"{source.stem}-{hashlib.sha256(made_from).hexdigest()[:16]}.so"
    try:
        folder = cache_folder()
        if not (folder / name).exists():
            _compile([*command, str(source)], folder / name)
        return ctypes.CDLL(str(folder / name))
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        log.warning("%s is not compiled, which costs speed: %s", source.name, told.strip())
        return None


def find_compiler() -> str | None:
    """The command that $CXX names, else the first of COMPILERS on the path."""
    named = os.environ.get("CXX")
    found = (shutil.which(name) for name in ((named,) if named else COMPILERS))
    return next((path for path in found if path), None)


def cache_folder() -> Path:
    """Where libraries are kept: of this user alone, as they are run."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "reward-cluster"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _compile(command: list[str], library: Path) -> None:
    """Write `library` whole or not at all: another process may be at the same."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        full = [*command, "-o", str(made)]
        subprocess.run(full, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
        made.replace(library)
