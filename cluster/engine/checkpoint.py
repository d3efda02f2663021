"""Checkpoint lookup: where a model's files are and which revision they have. Loads no weights."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from cluster.config import EngineConfig
from cluster.data.hub import hub_problem, is_cached
from cluster.engine.safetensors_file import fingerprint
from cluster.errors import ModelRefused

EMBEDDED = ("tiny",)


def locate(model: str) -> str:
    """A folder for the embedded models, else `model` itself: a local folder or a hub id."""
    return str(files("cluster") / "assets" / model) if model in EMBEDDED else model


def pretrained_options(config: EngineConfig) -> dict[str, Any]:
    """Keyword arguments that every `from_pretrained` of this checkpoint takes."""
    return {"revision": config.revision or "main", "trust_remote_code": config.trust_remote_code}


def loading_options(config: EngineConfig) -> dict[str, Any]:
    """As `pretrained_options`, but from local files only if the hub does not answer: its client
    would try for half a minute, file by file."""
    unreachable = bool(hub_problem(locate(config.model), config.revision))
    return pretrained_options(config) | ({"local_files_only": True} if unreachable else {})


def weight_options(config: EngineConfig) -> dict[str, Any]:
    """As `loading_options`, for a class that loads weights: it looks for an adapter beside them on
    its own, and would ask the hub for that."""
    options = loading_options(config)
    only_here = options.get("local_files_only", False)
    return options | ({"adapter_kwargs": {"local_files_only": True}} if only_here else {})


def refuse_unreachable(config: EngineConfig) -> None:
    """Raises ModelRefused for a model of a hub that does not answer, unless it is on this machine
    from an earlier load."""
    model = locate(config.model)
    problem = hub_problem(model, config.revision)
    if problem and not is_cached(model, config.revision):
        raise ModelRefused(
            f"model {config.model!r} is not on this machine, and {problem}. Name a local folder, "
            f"an embedded model ({', '.join(EMBEDDED)}), or see to the network (HF_ENDPOINT, "
            "HTTPS_PROXY)"
        )


def load_config(config: EngineConfig) -> Any:
    """The checkpoint's transformers config.

    Raises ModelRefused if the checkpoint cannot be found or is not a one-label classifier; within
    seconds where the hub cannot be reached.
    """
    from transformers import AutoConfig

    refuse_unreachable(config)
    try:
        found = AutoConfig.from_pretrained(locate(config.model), **loading_options(config))
    except (OSError, ValueError) as error:
        raise ModelRefused(
            f"model {config.model!r} cannot be opened: {error}. Name a local folder, a hub id "
            f"you can reach, or an embedded model ({', '.join(EMBEDDED)})"
        ) from error
    labels = getattr(found, "num_labels", None)
    if labels != 1:
        raise ModelRefused(
            f"model {config.model!r} has {labels} labels; a reward model has one scalar head "
            "(num_labels 1)"
        )
    return found


def longest(text_config: Any, max_tokens: int | None) -> int:
    """Most tokens of a sequence: the model's own limit, or `max_tokens` where that is less.

    Raises ModelRefused for a model that names no limit where `max_tokens` is None.
    """
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    limits = [getattr(text_config, name, None) for name in names]
    known = [limit for limit in [*limits, max_tokens] if isinstance(limit, int)]
    if not known:
        raise ModelRefused(
            f"the config of this {text_config.model_type} states no maximum length; set max_tokens"
        )
    return min(known)


def revision(config: EngineConfig, commit: str | None) -> str:
    """The hub commit, the configured revision, or a fingerprint of a local folder's weights.

    What determines the ids (tokenizer, template) has a fingerprint of its own, `ModelInfo.encoder`.
    """
    folder = Path(locate(config.model))
    if folder.is_dir():
        read = sorted([*folder.glob("*.safetensors"), *folder.glob("config.json")])
        return f"local-{fingerprint(read)}"
    return commit or config.revision or "unknown"
