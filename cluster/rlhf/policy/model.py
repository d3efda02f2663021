"""Policy: a causal language model that answers chats; load, encode, sample, save.

Invariant: the same weights, prompts, numbers and seed give the same responses on the same machine;
a prompt that is sampled from and one that is trained on have the same ids. Knows nothing of
rewards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.config import EngineConfig
from cluster.engine.checkpoint import (
    loading_options,
    locate,
    longest,
    refuse_unreachable,
    weight_options,
)
from cluster.engine.encoding.chat_template import render
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.engine.loading import refuse_missing
from cluster.errors import InvalidInput, ModelRefused
from cluster.rlhf.policy.config import Sampling
from cluster.types import Chat, Encoding

SEQUENCES_A_BATCH = 256


@dataclass(frozen=True, slots=True)
class Sample:
    """A response. ids: as drawn, with the end of its turn. finished: whether it has that end."""

    text: str
    finished: bool
    ids: tuple[int, ...]


class Policy:
    """A causal language model and its tokenizer, on one device."""

    def __init__(self, module: Any, tokenizer: Any) -> None:
        self.module = module
        self.tokenizer = tokenizer
        config = module.config.get_text_config()
        self._encoder = ChatEncoder(tokenizer, config.vocab_size, longest(config, None))
        self._stop_ids = _stop_ids(module, tokenizer, self._encoder)
        module.generation_config = _plain_sampling(module)
        self._pad_id: int = tokenizer.pad_token_id or 0  # masked wherever it stands

    @classmethod
    def load(cls, model: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Policy:
        """A local folder or a hub id, its weights as `dtype`. Raises ModelRefused."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        where, checkpoint = locate(model), EngineConfig(model=model)
        refuse_unreachable(checkpoint)
        try:
            tokenizer = AutoTokenizer.from_pretrained(where, **loading_options(checkpoint))
            auto: Any = AutoModelForCausalLM
            module, told = auto.from_pretrained(
                where,
                dtype=dtype,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name
                **weight_options(checkpoint),
            )
        except (OSError, ValueError) as error:
            raise ModelRefused(f"{model!r} is no language model to sample from: {error}") from error
        refuse_missing(model, told)
        if not tokenizer.chat_template:
            raise ModelRefused(f"the tokenizer of {model!r} has no chat template; give it one")
        return cls(module.to(device), tokenizer)

    @property
    def max_tokens(self) -> int:
        """Maximum tokens of a prompt and its response."""
        return self._encoder.max_tokens

    @property
    def device(self) -> torch.device:
        device: torch.device = self.module.device
        return device

    def save(self, folder: Path) -> None:
        """Save it as transformers loads it."""
        self.module.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def prompt_ids(self, prompt: Chat) -> list[int]:
        """The ids that a response continues. Raises InvalidInput or TooLong."""
        whole = self.encode(prompt, "x")
        ids: list[int] = whole.input_ids[: whole.prompt_len].tolist()
        return ids

    def encode(self, prompt: Chat, response: str) -> Encoding:
        """The whole chat; its `prompt_len` ids are the prompt's. Raises InvalidInput or TooLong."""
        whole = self._encoder.encode((prompt, response))
        if whole.prompt_len:
            return whole
        head = self._generation_prompt(prompt, whole)
        if whole.input_ids[: len(head)].tolist() != head:
            raise InvalidInput(
                "the policy's chat template renders an answer differently from its generation "
                "prompt; fix add_generation_prompt in the template"
            )
        return replace(whole, prompt_len=len(head))

    def sample(self, prompts: Sequence[Chat], sampling: Sampling, seed: int) -> list[list[Sample]]:
        """`sampling.n` responses to each prompt, in order. Raises InvalidInput for a bad prompt."""
        ids = [self.prompt_ids(prompt) for prompt in prompts]
        found: dict[int, list[Sample]] = {}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for batch in _batches(ids, sampling.n):
                drawn = self._generate([ids[i] for i in batch], sampling)
                found.update(zip(batch, drawn, strict=True))
        return [found[i] for i in range(len(prompts))]

    def _generation_prompt(self, prompt: Chat, whole: Encoding) -> list[int]:
        """For templates whose ids do not show where the answer begins."""
        text = render(self.tokenizer, prompt, generation_prompt=True)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*whole.input_ids[: whole.n_bos].tolist(), *ids]

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[list[int]], sampling: Sampling) -> list[list[Sample]]:
        from transformers import GenerationConfig

        self.module.eval()
        ids_NT, mask_NT = self._left_padded(prompts)
        make_config: Any = GenerationConfig  # untyped there
        config = make_config(
            do_sample=True,
            temperature=sampling.temperature,
            top_k=0,
            top_p=1.0,
            use_cache=True,
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=sampling.n,
            eos_token_id=sorted(self._stop_ids),
            pad_token_id=self._pad_id,
        )
        out = self.module.generate(ids_NT, attention_mask=mask_NT, generation_config=config)
        samples = [self._sample(row) for row in out[:, ids_NT.shape[1] :].tolist()]
        return [samples[i : i + sampling.n] for i in range(0, len(samples), sampling.n)]

    def _left_padded(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        width = max(map(len, rows))
        ids = [[self._pad_id] * (width - len(row)) + row for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        return torch.tensor(ids, device=self.device), torch.tensor(mask, device=self.device)

    def _sample(self, ids: list[int]) -> Sample:
        end = next((i for i, id_ in enumerate(ids) if id_ in self._stop_ids), None)
        text = self.tokenizer.decode(ids[:end], skip_special_tokens=True).strip()
        drawn = ids if end is None else ids[: end + 1]
        return Sample(text, end is not None, tuple(drawn))


def _plain_sampling(module: Any) -> Any:
    """The checkpoint's generation config without what changes the distribution (repetition_penalty,
    min_p, suppressed tokens ...): responses must come from the distribution that is trained
    (transformers#42762)."""
    from transformers import GenerationConfig

    known = module.generation_config
    make: Any = GenerationConfig  # untyped there
    return make(
        bos_token_id=known.bos_token_id,
        eos_token_id=known.eos_token_id,
        pad_token_id=known.pad_token_id,
    )


def _stop_ids(module: Any, tokenizer: Any, encoder: ChatEncoder) -> set[int]:
    """What ends a turn: the special tokens behind a templated answer, and every known EOS."""
    config = module.generation_config.eos_token_id
    found = {tokenizer.eos_token_id, *(config if isinstance(config, list) else [config])}
    found.update(set(encoder.closing_ids) & set(tokenizer.all_special_ids))
    return {id_ for id_ in found if id_ is not None}


def _batches(ids: Sequence[list[int]], n: int) -> Iterator[list[int]]:
    """Indices of prompts of similar length, together at most SEQUENCES_A_BATCH responses."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    step = max(1, SEQUENCES_A_BATCH // n)
    yield from (order[i : i + step] for i in range(0, len(order), step))
