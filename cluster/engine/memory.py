"""Device memory: what is free, and what a checkpoint's weights need.

Estimates, to refuse a load that cannot fit beside the weights that serve; they count weights only,
no activations. Loads no weights and starts no device.
"""

from __future__ import annotations

from pathlib import Path

from cluster.config import EngineConfig
from cluster.engine.checkpoint import locate
from cluster.engine.safetensors_file import n_values, tensors

ITEM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
CGROUP = Path("/sys/fs/cgroup")


def weight_bytes(config: EngineConfig) -> int | None:
    """Bytes of `config.model`'s weights once loaded in `config.dtype`.

    Read from the headers of its safetensors; None if it has none on this machine.
    """
    files = _files(config)
    return sum(map(n_values, files)) * ITEM_BYTES[config.dtype] if files else None


def tensor_names(config: EngineConfig) -> list[str]:
    """Of all tensors of `config.model`; none if its weights are not on this machine."""
    return [name for file in _files(config) for name in tensors(file)]


def free_bytes(device: str) -> int:
    """Free memory of `device` (`cpu`, `cuda:N`), what torch's cache holds unused included."""
    if device.startswith("cuda"):
        import torch

        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_available(), _cgroup_left())


def _files(config: EngineConfig) -> list[Path]:
    folder = _folder(config)
    return sorted(folder.glob("*.safetensors")) if folder else []


def _folder(config: EngineConfig) -> Path | None:
    local = Path(locate(config.model))
    if local.is_dir():
        return local
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(config.model, revision=config.revision, local_files_only=True)
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 2**63


def _cgroup_left() -> int:
    """What a container's limit leaves; page cache that can be given back counts as free."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except OSError:
        return 2**63
    return 2**63 if limit == "max" else int(limit) - used + int(stat.get("inactive_file", 0))
