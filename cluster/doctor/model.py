"""Model checks: whether a checkpoint can be found, encoded for, and held. Loads no weights.

The engine's own checks at load, except those that need weights in memory, which `reward-cluster
verify` runs. A problem skips the checks that depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator

from cluster.config import EngineConfig
from cluster.data.hub import hub_problem
from cluster.doctor.check import Check, size, tried
from cluster.engine.checkpoint import load_config, locate, refuse_unreachable
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.encoding.tokenizer import refuse_closing_pad
from cluster.engine.loading import refuse_unread_code
from cluster.engine.memory import free_bytes, tensor_names, weight_bytes
from cluster.engine.model import resolve_device
from cluster.errors import ModelRefused
from cluster.types import Message

CHAT = [Message(role="user", content="Hi"), Message(role="assistant", content="Hello!")]


def model_checks(config: EngineConfig) -> Iterator[Check]:
    """Seconds in all."""
    found = tried("files", lambda: _where(config))
    yield found
    if found.state == "problem":
        return
    found = tried("config", lambda: _architecture(config))
    yield found
    if found.state == "problem":
        return
    yield tried("tokenizer and template", lambda: _encoding(config))
    names = tensor_names(config)
    if not names:
        yield Check("weights", "note", "not on this machine; downloaded at the first load")
        return
    yield tried("weights", lambda: _weights(config, names))
    yield _memory(config)


def _where(config: EngineConfig) -> str:
    refuse_unreachable(config)
    model = locate(config.model)
    problem = hub_problem(model, config.revision)
    if problem:
        return f"from this machine's cache of the hub; {problem}"
    return model if model != config.model else f"{model}, revision {config.revision or 'main'}"


def _architecture(config: EngineConfig) -> str:
    found = load_config(config)
    refuse_unread_code(config)
    return f"{', '.join(found.architectures or [found.model_type])}, one scalar head"


def _encoding(config: EngineConfig) -> str:
    encoder = ChatEncoder.load(config)
    refuse_closing_pad(load_config(config).get_text_config().pad_token_id, encoder.closing_ids)
    encoding = encoder.encode(CHAT)
    return (
        f"a one-word chat has {encoding.n_tokens} tokens, {encoding.n_bos} BOS; "
        f"at most {encoder.max_tokens} tokens a chat; the pad token closes no chat"
    )


def _weights(config: EngineConfig, names: list[str]) -> str:
    architectures = load_config(config).architectures or [""]
    linear = architectures[0].endswith("ForSequenceClassification")
    if linear and not any(".score." in f".{name}" for name in names):
        raise ModelRefused(
            f"{config.model!r} has no tensor `score`, the head of {architectures[0]}: save the "
            "whole reward model, or train one with `reward-cluster train`"
        )
    return f"{len(names)} tensors, {size(weight_bytes(config) or 0)} in {config.dtype}"


def _memory(config: EngineConfig) -> Check:
    device = str(resolve_device(config.device))
    needed, free = weight_bytes(config) or 0, free_bytes(device)
    told = f"weights need {size(needed)}, and {size(free)} are free on {device}"
    if needed > free:
        remedy = "free some, use a smaller model, or name a device that has room (--device)"
        return Check("memory for it", "problem", f"{told}: {remedy}")
    if needed > 0.8 * free:
        return Check("memory for it", "note", f"{told}: little is left for forwards")
    return Check("memory for it", "ok", told)
