"""Chaos test bed: two apps on a Ray of their own, and the rewards that each must return.

`chaos` rolls two replicas between two checkpoints and has HTTP; `beside` serves the embedded model
on one replica and must not be affected. The engine of this process computes the right rewards of
all three models.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ray.serve.schema import ServeDeploySchema

from cluster.bench.chaos.ledger import Serving, Truth
from cluster.bench.http_client import free_port
from cluster.config import EngineConfig
from cluster.engine.offline import OfflineScorer
from cluster.errors import RewardError
from cluster.serving.deployment.deploy import deploy, wait_until_running, with_keys
from cluster.serving.deployment.local_cluster import local_ray
from cluster.serving.status import snapshot
from cluster.types import Conversation

ROLLING, BESIDE = "chaos", "beside"
N_REPLICAS = 2
START_S = 300.0
SETTLE_S = 300.0


class World:
    """The two apps.  folders: the checkpoints that `ROLLING` serves in turn."""

    def __init__(self, folders: list[Path], conversations: list[Conversation]) -> None:
        self.conversations = conversations
        self.http_port = free_port()
        self.truth: dict[str, Truth] = {
            ROLLING: dict(_truth(str(folder), conversations) for folder in folders),
            BESIDE: dict([_truth("tiny", conversations)]),
        }
        self._revisions = list(self.truth[ROLLING])
        self._folders = folders
        self._serves = 0
        self._epoch = 0
        self._settled: Serving | None = None
        self._lock = threading.Lock()

    def serving(self, app: str) -> Serving | None:
        """The only revision that may answer now; None while weights are rolled."""
        return self._settled if app == ROLLING else Serving(0, next(iter(self.truth[BESIDE])))

    def start(self) -> None:
        """Deploy both apps. Raises ConfigError or NotReady if one does not start."""
        for _ in wait_until_running(self._deploy(), START_S):
            pass
        self._settle()

    def roll(self) -> bool:
        """Switch to the other weights; returns whether every replica serves them in time."""
        with self._lock:
            self._settled = None
            self._serves = 1 - self._serves
            self._deploy()
            return self._settle()

    def models(self, app: str) -> list[str]:
        """Revisions of the replicas that answer."""
        return [model.revision for model in snapshot(app).models]

    def _settle(self) -> bool:
        wanted = [self._revisions[self._serves]] * N_REPLICAS
        end = time.monotonic() + SETTLE_S
        while self.models(ROLLING) != wanted:
            if time.monotonic() > end:
                return False
            time.sleep(0.3)
        self._epoch += 1
        self._settled = Serving(self._epoch, wanted[0])
        return True

    def _deploy(self) -> ServeDeploySchema:
        apps = [
            _app(ROLLING, str(self._folders[0]), N_REPLICAS, "/", str(self._folders[self._serves])),
            _app(BESIDE, "tiny", 1, None, "tiny"),
        ]
        values = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": self.http_port},
            "applications": apps,
        }
        schema, _ = with_keys(ServeDeploySchema.model_validate(values))
        deploy(schema)
        return schema


@contextmanager
def world(conversations: list[Conversation]) -> Iterator[World]:
    """A running test bed; everything in it ends with the block."""
    torch.set_num_threads(1)  # as in the replicas
    with tempfile.TemporaryDirectory() as folder:
        made = World(
            [_checkpoint(Path(folder) / name, seed) for seed, name in enumerate("ab")],
            conversations,
        )
        with local_ray(http_port=made.http_port, num_cpus=8):
            made.start()
            yield made


def _app(name: str, model: str, n: int, prefix: str | None, serves: str) -> dict[str, Any]:
    """Serve's config of an app. Health is checked every second, so that a short soak is enough."""
    quick = {"health_check_period_s": 1, "health_check_timeout_s": 10}
    replica = {
        "name": "Replica",
        "num_replicas": n,
        "user_config": {"model": serves},
        "ray_actor_options": {"num_cpus": 1},
        **quick,
    }
    args = {
        "engine": {"model": model, "device": "cpu", "token_budget": 2048},
        "scheduler": {"dedupe_s": 1.0 if name == ROLLING else 60.0, "max_queued_tokens": 20_000},
    }
    blocks = [replica, {"name": "Ingress", "num_replicas": 2 if prefix else 1}]
    return {
        "name": name,
        "route_prefix": prefix,
        "import_path": "cluster.serving.app:build",
        "args": args,
        "deployments": blocks,
        "logging_config": {"enable_access_log": False},
    }


def _truth(model: str, conversations: list[Conversation]) -> tuple[str, list[float]]:
    """Revision and rewards. Raises RewardError if a conversation cannot be scored."""
    scorer = OfflineScorer.load(EngineConfig(model=model, device="cpu", token_budget=2048))
    rewards = []
    for item in scorer.score(conversations):
        if isinstance(item, RewardError):
            raise item
        rewards.append(item.reward)
    return scorer.info.revision, rewards


def _checkpoint(folder: Path, seed: int) -> Path:
    """The embedded model with a little noise on its weights: other rewards, the same tokenizer."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from cluster.engine.checkpoint import locate

    auto: Any = AutoModelForSequenceClassification
    model = auto.from_pretrained(locate("tiny"), dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
        parameter.data += 0.02 * noise
    model.save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(locate("tiny"))
    tokenizer.save_pretrained(folder)
    return folder
