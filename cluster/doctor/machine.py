"""Machine checks: the torch build, devices, memory, a running Ray, the port, API keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from cluster.doctor.check import Check, size, tried
from cluster.engine.cpu_matmul import multiplies_bfloat16
from cluster.engine.memory import free_bytes
from cluster.serving.deployment.foreground import bound_alone
from cluster.serving.http.api_keys import VARIABLE
from cluster.serving.ray_session import auth_mode, find_address

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
PORT = 8000
"""Default port of `reward-cluster serve`."""


def machine_checks() -> Iterator[Check]:
    """The checks take milliseconds each, or seconds if a Ray does not answer."""
    packages = ("ray", "torch", "transformers")
    yield Check("packages", "ok", ", ".join(f"{name} {version(name)}" for name in packages))
    yield _device()
    yield Check("memory", "ok", f"{size(free_bytes('cpu'))} free")
    yield _ray()
    yield _port()
    yield _keys()


def _device() -> Check:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        free = min(free_bytes(f"cuda:{i}") for i in range(len(names)))
        told = f"{len(names)} x {names[0]}, at least {size(free)} free on each"
        return Check("device", "ok", told)
    if NVIDIA_DRIVER.exists():
        return Check(
            "device",
            "problem",
            f"there is an NVIDIA driver and torch {torch.__version__} finds no GPU: install a "
            "torch build with CUDA, and see CUDA_VISIBLE_DEVICES",
        )
    kind = "with" if multiplies_bfloat16() else "without"
    return Check("device", "note", f"no GPU; a CPU {kind} bfloat16 instructions: small models only")


def _ray() -> Check:
    def look() -> str:
        address = find_address()
        token = "with a token" if auth_mode(address) == "token" else "without a token"
        return f"one runs at {address}, {token}"

    found = tried("Ray", look)
    if found.state == "ok":
        return found
    return Check("Ray", "note", found.found)


def _port() -> Check:
    try:
        bound_alone("127.0.0.1", PORT).close()
    except OSError:
        taken = f"{PORT} is in use: a service is there, or give `serve` another by --port"
        return Check("port", "note", taken)
    return Check("port", "ok", f"{PORT} is free")


def _keys() -> Check:
    if os.environ.get(VARIABLE):
        return Check("API keys", "ok", f"`serve` takes those of {VARIABLE}")
    none = f"{VARIABLE} is not set: a service is open, and to this machine alone"
    return Check("API keys", "note", none)
