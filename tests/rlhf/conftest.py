"""What the tests of training share."""

from pathlib import Path

import pytest
from support.policies import random_causal_lm

from cluster.rlhf.policy.model import Policy
from cluster.rlhf.policy.sft import SftConfig, fine_tune
from cluster.types import Chat, Message


@pytest.fixture(scope="session")
def small_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer Llama that has learnt to end its turn soon, and little else."""
    made = Policy(*random_causal_lm())
    chats: list[tuple[Chat, str]] = [
        ([Message(role="user", content=f"Say {word}.")], " ".join([word] * number))
        for number in (1, 2, 4, 8)
        for word in ("one", "this", "yes", "apple", "Paris", "Hello!")
    ]
    fine_tune(made, chats, SftConfig(lr=1e-2, epochs=12, batch=8), seed=0)
    folder = tmp_path_factory.mktemp("policy")
    made.save(folder)
    return folder
