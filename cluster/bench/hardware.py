"""Hardware report: device, versions, measured matmul peak and peak memory."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.functional import linear


def describe(device: torch.device) -> dict[str, Any]:
    """Device, versions and date, for the head of a table."""
    name = _cpu_name() if device.type == "cpu" else torch.cuda.get_device_name(device)
    return {
        "date": date.today().isoformat(),
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def matmul_peak(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """FLOP/s of the fastest of several large matmuls in `dtype`, run by torch for about
    `seconds`."""
    rows = 8192 if device.type == "cuda" else 1024
    width = 8192 if device.type == "cuda" else 1024
    a = torch.randn(rows, width, device=device).to(dtype)
    w = torch.randn(width, width, device=device).to(dtype)
    best = min(_timed(lambda: linear(a, w), device) for _ in _until(seconds))
    return 2.0 * rows * width * width / best


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak: torch's counter on CUDA, the kernel's on a CPU under Linux, else a no-op."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float | None:
    """Peak MiB since the reset, of device memory or the resident set; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work; a no-op on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _timed(run: Callable[[], Any], device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def _until(seconds: float) -> Any:
    """Count up until `seconds` have passed, but at least three times."""
    end = time.perf_counter() + seconds
    count = 0
    while count < 3 or time.perf_counter() < end:
        yield count
        count += 1


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()
