"""Native kernels: the package's C++ sources, compiled once per machine and loaded.

A library is kept under the user's cache folder, by what it was made from. Without a compiler, a CPU
with the features or a cache folder of the user's own there is none, and the engine runs torch's
kernels.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import torch

log = logging.getLogger(__name__)

COMPILERS = ("g++", "c++", "clang++")
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fopenmp")
HEADERS = Path(__file__).parent
TIMEOUT_S = 300.0


@functools.cache
def load_library(source: Path, features: tuple[str, ...]) -> ctypes.CDLL | None:
    """`source` compiled for a CPU with `features` (as `-m` names them).

    None if the CPU lacks one of them; None, with a warning, if there is no compiler or it
    fails.
    """
    if not has_features(features):
        return None
    compiler = find_compiler()
    if compiler is None:
        log.warning(
            "no C++ compiler is found (CXX, %s): %s is not compiled, which costs speed; install "
            "g++, or name a compiler in CXX",
            ", ".join(COMPILERS),
            source.name,
        )
        return None
    command = [*compiler, *FLAGS, f"-I{HEADERS}", *(f"-m{feature}" for feature in features)]
    headers = b"".join(path.read_bytes() for path in sorted(HEADERS.rglob("*.h")))
    made_from = source.read_bytes() + headers + "\0".join(command).encode()
    name = f"{source.stem}-{hashlib.sha256(made_from).hexdigest()[:16]}.so"
    try:
        return _load([*command, str(source)], cache_folder() / name)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        log.warning("%s is not compiled, which costs speed: %s", source.name, reason.strip())
        return None


def has_features(features: tuple[str, ...]) -> bool:
    """Whether this CPU, as the operating system shows it, has all `features`."""
    found = torch.cpu.get_capabilities()
    shown = {name.replace("_", "") for name, value in found.items() if value is True}
    return all(feature.replace("-", "") in shown for feature in features)


def find_compiler() -> list[str] | None:
    """The command that $CXX gives, with its arguments, else the first of COMPILERS on the path."""
    commands = [shlex.split(os.environ["CXX"])] if os.environ.get("CXX") else []
    for command in commands or [[name] for name in COMPILERS]:
        if found := shutil.which(command[0]):
            return [found, *command[1:]]
    return None


def cache_folder() -> Path:
    """Where libraries are kept, which are run: writable by this user alone.

    Raises OSError for one that others could write to, RuntimeError for a user without a home.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "reward-cluster"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or others_write:
        raise OSError(
            f"{folder} is not a folder that this user alone can write to; set XDG_CACHE_HOME"
        )
    return folder


def _load(command: list[str], library: Path) -> ctypes.CDLL:
    """`library`, compiled if it is not there, or is there and cannot be loaded."""
    if library.exists():
        try:
            return ctypes.CDLL(str(library))
        except OSError as error:
            log.info("%s is compiled again, since it cannot be loaded: %s", library, error)
    _compile(command, library)
    return ctypes.CDLL(str(library))


def _compile(command: list[str], library: Path) -> None:
    """Write `library` whole or not at all: another process may be at the same."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        full = [*command, "-o", str(made)]
        subprocess.run(full, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
        made.replace(library)
