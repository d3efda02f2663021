"""Shared types: messages, conversations, encodings, scores.

Knows nothing of torch, transformers or ray. Shape legend: N sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
import numpy.typing as npt

TokenIds = npt.NDArray[np.int32]

Numerics = Literal["reference", "invariant", "fast"]
BosPolicy = Literal["tokenizer", "one", "none"]
ForwardPath = Literal["packed", "alone", "own"]
"""How a batch runs: all chats in one forward without padding; one chat per packed forward, if its
bits would otherwise depend on its batch (`invariant`); or the model's own forward, chat by chat."""
Truncation = Literal["error", "left"]
Dialect = Literal[
    "openrlhf", "slime", "llamafactory", "infinity", "vllm", "sglang", "tei", "triton"
]
"""Protocols of other servers and trainers; if a body fits two of them, the first one answers."""
ForeignTemplate = Literal["chatml", "llama3", "gemma"]
TransformName = Literal[
    "affine", "clip", "centre", "leave_one_out", "normalise", "subtract_reference", "whiten"
]


class Message(TypedDict):
    """One turn of a chat. A caller's content may also be OpenAI's list of text parts."""

    role: str
    content: str


Chat = Sequence[Message]
"""A conversation as messages, in order."""
Conversation = Chat | tuple[Chat | str, str] | str | Sequence[int] | TokenIds
"""What a caller may ask to score: a list of messages; (prompt, response), the prompt as messages
or as the text of one user message; text that is already templated; or token ids (a list of ints or
a 1-d integer array)."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One tokenized conversation: the narrow waist between callers and the engine.

    input_ids: int32 [T], never empty.
    prompt_len: tokens before the response begins, 0 if the conversation has no such
        split; `invariant` numerics split a sequence here and nowhere else.
    n_bos: how many leading BOS ids `input_ids` holds.
    truncated: whether the start of the conversation was cut to fit.
    fingerprint: `ChatEncoder.fingerprint` of the encoder that made these ids, which a replica
    compares with its own model's; "" if the caller gave the ids, which are only checked for range.
    """

    input_ids: TokenIds
    prompt_len: int = 0
    n_bos: int = 0
    truncated: bool = False
    fingerprint: str = ""

    @property
    def n_tokens(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Record of a loaded model, returned by `/v1/model` and printed by the commands.

    encoder: `ChatEncoder.fingerprint` of this model's encoder; "" if any ids are accepted (the
    `sleep` backend).
    load_error: why the most recently requested weights are not these; None if they are.
    hardware: kind of the device, on which bits depend; "" if the backend does not report it.
    numerics: the promise that is kept, as configured.
    forward: how it is kept; `own` for `reference` and if packing is not proven right.
    not_packed: what the proof at load found against packing; "" if it found nothing.
    """

    model: str
    revision: str
    architecture: str
    dtype: str
    compute_dtype: str
    device: str
    numerics: Numerics
    vocab_size: int
    max_tokens: int
    n_parameters: int
    encoder: str = ""
    load_error: str | None = None
    hardware: str = ""
    forward: ForwardPath = "packed"
    not_packed: str = ""


@dataclass(frozen=True, slots=True)
class PromptCacheStats:
    """Prompts whose keys and values an engine keeps between batches.

    hits, misses: prompts of batches, since the start.  hit_tokens: not computed thanks to the hits.
    computed_tokens: of all forwards.
    prompts, bytes: held now, of at most `max_bytes`.
    """

    hits: int = 0
    misses: int = 0
    hit_tokens: int = 0
    computed_tokens: int = 0
    prompts: int = 0
    bytes: int = 0
    max_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """The answer for one conversation.

    reward: the raw logit of the model's scalar head, no sigmoid, no transform.
    n_tokens: tokens scored.  n_bos: leading BOS ids among them.
    truncated: whether the start of the conversation was cut.
    queue_s, forward_s: seconds waited for a device, seconds of the batch's forward.
    revision: of the model's weights.  numerics: see `cluster.engine`.
    transformed_reward: the reward after the transforms that the call asked for, None without.
    """

    reward: float
    n_tokens: int
    n_bos: int
    truncated: bool
    queue_s: float
    forward_s: float
    model: str
    revision: str
    numerics: Numerics
    transformed_reward: float | None = None


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Encodings as flat arrays, the form in which they cross processes without a pickle each.

    input_ids_T: int32 [T], all sequences end to end.
    offsets_N1: int64 [N+1], sequence i is input_ids_T[offsets[i]:offsets[i+1]].
    prompt_lens_N, n_bos_N: int32 [N].  truncated_N: bool [N].
    fingerprints: the distinct ones.  fingerprint_N: int32 [N], index into them.
    """

    input_ids_T: TokenIds
    offsets_N1: npt.NDArray[np.int64]
    prompt_lens_N: npt.NDArray[np.int32]
    n_bos_N: npt.NDArray[np.int32]
    truncated_N: npt.NDArray[np.bool_]
    fingerprints: tuple[str, ...]
    fingerprint_N: npt.NDArray[np.int32]

    @classmethod
    def from_encodings(cls, encodings: Sequence[Encoding]) -> EncodedBatch:
        """Concatenate encodings; the inverse of `encodings()`."""
        offsets = np.zeros(len(encodings) + 1, np.int64)
        np.cumsum([e.n_tokens for e in encodings], out=offsets[1:])
        ids = [e.input_ids for e in encodings]
        place = {f: i for i, f in enumerate(dict.fromkeys(e.fingerprint for e in encodings))}
        return cls(
            np.concatenate(ids, dtype=np.int32) if ids else np.zeros(0, np.int32),
            offsets,
            np.array([e.prompt_len for e in encodings], np.int32),
            np.array([e.n_bos for e in encodings], np.int32),
            np.array([e.truncated for e in encodings], np.bool_),
            tuple(place),
            np.array([place[e.fingerprint] for e in encodings], np.int32),
        )

    def encodings(self) -> list[Encoding]:
        """The sequences as views of the flat arrays, no copy of the ids."""
        bounds = self.offsets_N1.tolist()
        return [
            Encoding(
                self.input_ids_T[start:end], prompt_len, n_bos, truncated, self.fingerprints[f]
            )
            for start, end, prompt_len, n_bos, truncated, f in zip(
                bounds[:-1],
                bounds[1:],
                self.prompt_lens_N.tolist(),
                self.n_bos_N.tolist(),
                self.truncated_N.tolist(),
                self.fingerprint_N.tolist(),
                strict=True,
            )
        ]

    def __len__(self) -> int:
        return len(self.prompt_lens_N)
