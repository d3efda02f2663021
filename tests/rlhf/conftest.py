"""What the tests of training share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from support.policies import random_causal_lm

from cluster.rlhf.policy.model import Policy
from cluster.rlhf.policy.sft import SftConfig, fine_tune
from cluster.types import Chat, Message


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrices this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """A module at a time: the tests of other folders run with the threads they started with."""
    with one_thread():
        yield


@pytest.fixture(scope="session")
def small_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer Llama that has learnt to end its turn soon, and little else."""
    made = Policy(*random_causal_lm())
    chats: list[tuple[Chat, str]] = [
        ([Message(role="user", content=f"Say {word}.")], " ".join([word] * number))
        for number in (1, 2, 4, 8)
        for word in ("one", "this", "yes", "apple", "Paris", "Hello!")
    ]
    with one_thread():
        fine_tune(made, chats, SftConfig(lr=1e-2, epochs=12, batch=8), seed=0)
    folder = tmp_path_factory.mktemp("policy")
    made.save(folder)
    return folder
