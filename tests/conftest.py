"""Fixtures that more than one test file needs."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # the speed of the machine is no property of the code
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for a network
# One mode for every Ray that tests start, on loopback: Ray reads it once a process, and by default
# would write a token into the home folder.
os.environ["RAY_AUTH_MODE"] = "disabled"
# Matrices this small only wait for a second thread; tests/engine has all of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Waiting threads sleep: one that spins takes the core from the one it waits for, where others run.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

REPOSITORY = Path(__file__).resolve().parents[1]


EXIT_STATUS = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """The verdict of the tests, for `pytest_unconfigure`."""
    session.config.stash[EXIT_STATUS] = int(exitstatus)


@pytest.hookimpl(wrapper=True)
def pytest_unconfigure(config: pytest.Config) -> Generator[None, None, None]:
    """End without tearing the interpreter down: a thread of Ray's driver can crash in that, after
    all has passed (seen once: SIGSEGV in 2,110 tests' process, at its exit), or never end, as after
    pytest's own last look at unclosed sockets has failed. One of several processes reports to the
    first one and ends as usual."""
    if EXIT_STATUS not in config.stash or hasattr(config, "workerinput"):
        yield
        return
    status = config.stash[EXIT_STATUS]
    try:
        yield
    except Exception:
        traceback.print_exc()
        status = status or pytest.ExitCode.INTERNAL_ERROR
    config.get_terminal_writer().flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts a Ray is slow: `bash ops/test -m "not slow"` is the inner loop."""
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def _threads_at_start() -> int:
    """torch's threads before any test; 0 where nothing collected needs torch."""
    torch: Any = sys.modules.get("torch")
    return torch.get_num_threads() if torch else 0


@pytest.fixture(autouse=True, scope="module")
def _same_threads_afterwards(_threads_at_start: int) -> Iterator[None]:
    """No module leaves torch with other threads: later tests would change speed and bits."""
    yield
    if _threads_at_start:
        assert sys.modules["torch"].get_num_threads() == _threads_at_start


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; tests that need it skip where it is not."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return folder


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer bfloat16 Llama reward model with the embedded model's tokenizer.

    Rewards spread over about one unit, so that a wrong token, position or pooling shows.
    """
    return save_random_llama(tmp_path_factory.mktemp("random"), width=64, n_layers=2)


@pytest.fixture(scope="session")
def smallest_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `random_checkpoint`, but one narrow layer: for whole files in seconds."""
    return save_random_llama(tmp_path_factory.mktemp("smallest"), width=16, n_layers=1)


@pytest.fixture(scope="session")
def small_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `save_small_policy`."""
    from support.policies import save_small_policy

    return save_small_policy(tmp_path_factory.mktemp("policy"))


def save_random_llama(folder: Path, width: int, n_layers: int) -> Path:
    """The same weights every time, for the same arguments."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig

    from cluster.engine.checkpoint import locate

    tokenizer: Any = AutoTokenizer.from_pretrained(locate("tiny"))
    config: Any = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config.num_labels = 1
    auto: Any = AutoModelForSequenceClassification
    with torch.random.fork_rng():
        torch.manual_seed(0)
        auto.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
