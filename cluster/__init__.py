"""reward-cluster: a distributed reward service on Ray Serve.

The public names, each imported at its first use: importing `cluster` loads neither torch nor ray.
The errors are in `cluster.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cluster.config import ClusterConfig, EngineConfig
from cluster.errors import RewardError
from cluster.types import Chat, Conversation, Encoding, Message, ModelInfo, Score

if TYPE_CHECKING:
    from cluster.data.rewards import rewards_of
    from cluster.engine.offline import OfflineScorer
    from cluster.engine.parity.check import verify
    from cluster.evaluation.run import evaluate
    from cluster.rlhf.annotation.annotate_file import annotate_file
    from cluster.rlhf.annotation.group_files import best_of_n_file, dpo_pairs_file
    from cluster.rlhf.annotation.score_file import score_file
    from cluster.rlhf.dpo.run import train_dpo
    from cluster.rlhf.ppo.launch import train_ppo
    from cluster.rlhf.raft.run import train_raft
    from cluster.rlhf.training.run import train_reward_model
    from cluster.serving.client.actor import RewardClient
    from cluster.serving.client.async_http_client import AsyncHttpClient
    from cluster.serving.client.async_service import AsyncRewardService
    from cluster.serving.client.connect import RewardService, connect, disconnect
    from cluster.serving.client.http_client import HttpClient

__all__ = [
    "AsyncHttpClient",
    "AsyncRewardService",
    "Chat",
    "ClusterConfig",
    "Conversation",
    "Encoding",
    "EngineConfig",
    "HttpClient",
    "Message",
    "ModelInfo",
    "OfflineScorer",
    "RewardClient",
    "RewardError",
    "RewardService",
    "Score",
    "annotate_file",
    "best_of_n_file",
    "connect",
    "disconnect",
    "dpo_pairs_file",
    "evaluate",
    "rewards_of",
    "score_file",
    "train_dpo",
    "train_ppo",
    "train_raft",
    "train_reward_model",
    "verify",
]
__version__ = "0.1.0"

_LAZY = {
    "AsyncHttpClient": "cluster.serving.client.async_http_client",
    "AsyncRewardService": "cluster.serving.client.async_service",
    "HttpClient": "cluster.serving.client.http_client",
    "OfflineScorer": "cluster.engine.offline",
    "RewardClient": "cluster.serving.client.actor",
    "RewardService": "cluster.serving.client.connect",
    "annotate_file": "cluster.rlhf.annotation.annotate_file",
    "best_of_n_file": "cluster.rlhf.annotation.group_files",
    "connect": "cluster.serving.client.connect",
    "disconnect": "cluster.serving.client.connect",
    "dpo_pairs_file": "cluster.rlhf.annotation.group_files",
    "evaluate": "cluster.evaluation.run",
    "rewards_of": "cluster.data.rewards",
    "score_file": "cluster.rlhf.annotation.score_file",
    "train_dpo": "cluster.rlhf.dpo.run",
    "train_ppo": "cluster.rlhf.ppo.launch",
    "train_raft": "cluster.rlhf.raft.run",
    "train_reward_model": "cluster.rlhf.training.run",
    "verify": "cluster.engine.parity.check",
}
"""name -> module, as the imports for type checkers above (PEP 562)."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
