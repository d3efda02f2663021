"""Responses that arrive one by one at a running service: each prompt is computed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from support.serving import PATIENCE_S, service, until

from cluster.config import ClusterConfig, EngineConfig
from cluster.engine.offline import OfflineScorer
from cluster.serving.status import snapshot
from cluster.types import Message, PromptCacheStats, Score

pytestmark = pytest.mark.ray

APP = "kept-prompts"
PROMPTS: list[list[Message]] = [
    [{"role": "user", "content": f"Tell me about the number {i}."}] for i in range(3)
]
RESPONSES = ["It is odd.", "It is even.", "It is a number like others.", "No."]


def test_idle_replicas_compute_each_prompt_once_and_keep_the_bits(
    ray_cluster: Cluster, configure: Callable[..., ClusterConfig], random_checkpoint: Path
) -> None:
    engine = {"model": str(random_checkpoint), "revision": None, "head_dtype": "float32"}
    config = configure(engine=engine, replica={"backend": "engine"})
    asked = [(prompt, response) for response in RESPONSES for prompt in PROMPTS]
    with service(config, APP, {"num_replicas": 2}) as client:
        found: list[Any] = []
        for item in asked:
            found += ray.get(client.score.remote([item]), timeout=PATIENCE_S)
        looks: list[PromptCacheStats] = []

        def both_replicas_answer() -> bool:
            looks.extend(filter(None, [snapshot(APP).prompts]))
            return bool(looks) and looks[-1].hits + looks[-1].misses == len(asked)

        until(both_replicas_answer)
    kept = looks[-1]
    assert (kept.misses, kept.hits) == (len(PROMPTS), len(asked) - len(PROMPTS))
    assert kept.prompts == len(PROMPTS)
    assert kept.bytes > 0

    alone = EngineConfig(
        model=str(random_checkpoint), head_dtype="float32", device="cpu", prompt_cache_mib=0
    )
    scorer = OfflineScorer.load(alone)
    expected = [score for item in asked for score in scorer.score([item])]
    assert [s.reward for s in found if isinstance(s, Score)] == [
        s.reward for s in expected if isinstance(s, Score)
    ]
    assert len(found) == len(asked)
