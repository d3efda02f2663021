"""What the tests of training share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.engine.checkpoint import locate
from cluster.rlhf.policy import Policy
from cluster.rlhf.sft import SftConfig, fine_tune
from cluster.types import Chat, Message


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Matrices this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer Llama that has learnt to end its turn soon, and little else."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer: Any = AutoTokenizer.from_pretrained(locate("tiny"))
    make_config: Any = LlamaConfig
    config = make_config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    folder = tmp_path_factory.mktemp("policy")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Policy(LlamaForCausalLM(config), tokenizer)
    chats: list[tuple[Chat, str]] = [
        ([Message(role="user", content=f"Say {word}.")], " ".join([word] * number))
        for number in (1, 2, 4, 8)
        for word in ("one", "this", "yes", "apple", "Paris", "Hello!")
    ]
    fine_tune(made, chats, SftConfig(lr=1e-2, epochs=12, batch=8), seed=0)
    made.save(folder)
    return folder
