"""Post benchmark (`bench cluster --posts N`): OpenRLHF's one-sample posts against grouped calls.

OpenRLHF posts each sample by itself when its rollout ends. Here similar texts go to `/get_reward`
in four ways, which take turns in every round: to this service one sample per post, in random order,
N posts at a time; to this service one whole group per post, also with N samples under way; and in
both ways to a server that works like OpenRLHF's (`openrlhf_loop`), with fewer texts since it is
slow. Both servers have the same checkpoint and the same number of torch threads. Every round has
new texts, since equal ones would be answered from memory.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import torch
from transformers import AutoTokenizer

from cluster.bench import hardware, presets
from cluster.bench.http_client import free_port
from cluster.bench.openrlhf_loop import openrlhf_server
from cluster.bench.service import preset_checkpoint, service
from cluster.config import ClusterConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.types import Encoding, Message

GROUP = 16
LOOP_SHARE = 8
"""OpenRLHF's loop gets one in this many groups."""
WORDS = ("the", "a", "of", "to", "in", "model", "answer", "number", "because", "we", "then", "is")
GROUPED, ONE_BY_ONE = "service, grouped posts", "service, one sample a post"
LOOP_GROUPED, LOOP_ONE = "OpenRLHF's loop, grouped posts", "OpenRLHF's loop, one sample a post"


@dataclass(frozen=True, slots=True)
class Way:
    """A contender.  size: samples per post.  share: it gets one in this many groups."""

    name: str
    url: str
    size: int
    share: int = 1


@dataclass(frozen=True, slots=True)
class Group:
    """Templated texts of the responses to one prompt.  n_tokens: of all of them."""

    texts: list[str]
    n_tokens: int


def bench_posts(
    preset: presets.Preset, under_way: int, rounds: int, log: Callable[[str], None] = print
) -> dict[str, Any]:
    """Tokens/s of each way, and its ratio to grouped posts in each round; ready for JSON.

    under_way: samples under way at a time.
    """
    with preset_checkpoint(preset) as (config, threads):
        encoder, tokenizer = ChatEncoder.load(config), AutoTokenizer.from_pretrained(config.model)
        port = free_port()
        options = {"ray_actor_options": {"num_cpus": threads}}
        own = f"http://127.0.0.1:{port}"
        with (
            service(ClusterConfig(engine=config), options, http_port=port),
            openrlhf_server(config.model, threads) as loop,
        ):
            ways = [
                Way(GROUPED, own, GROUP),
                Way(ONE_BY_ONE, own, 1),
                Way(LOOP_GROUPED, loop, GROUP, LOOP_SHARE),
                Way(LOOP_ONE, loop, 1, LOOP_SHARE),
            ]
            for way in ways:
                measured(way, [texts(tokenizer, encoder, f"warm-up {way.name}")], under_way)
            rates: dict[str, list[float]] = {way.name: [] for way in ways}
            for turn in range(1, rounds + 1):
                for way in ways:
                    n_groups = max(1, 2 * under_way // GROUP // way.share)
                    groups = [
                        texts(tokenizer, encoder, f"{turn} {way.name} {i}") for i in range(n_groups)
                    ]
                    rate = measured(way, groups, under_way)
                    log(f"round {turn}/{rounds}: {way.name}: {rate:,.0f} tokens/s")
                    rates[way.name].append(rate)
    return {
        "bench": "posts",
        "preset": preset,
        "under_way": under_way,
        "machine": hardware.describe(torch.device("cpu")),
        "load_average": os.getloadavg()[0],
        "tokens_per_s": {name: statistics.median(each) for name, each in rates.items()},
        "ratios_of_rounds": {
            name: [rate / base for rate, base in zip(each, rates[GROUPED], strict=True)]
            for name, each in rates.items()
        },
    }


def texts(tokenizer: Any, encoder: ChatEncoder, seed: str) -> Group:
    """A prompt of 100 to 400 words with responses of 30 to 120, as OpenRLHF posts them.

    Equal seeds give equal texts.
    """
    rng = random.Random(seed)
    prompt: list[Message] = [Message(role="user", content=_words(rng, 100, 400))]
    chats = [
        [*prompt, Message(role="assistant", content=_words(rng, 30, 120))] for _ in range(GROUP)
    ]
    rendered: list[str] = tokenizer.apply_chat_template(chats, tokenize=False)
    encoded = [one for one in encoder.encode_all(rendered) if isinstance(one, Encoding)]
    assert len(encoded) == GROUP, "templated text is scored as it is"
    return Group(rendered, sum(one.n_tokens for one in encoded))


def measured(way: Way, groups: Sequence[Group], under_way: int) -> float:
    """Tokens/s over all texts of `groups`, with `under_way` samples under way."""
    if way.size == 1:
        posts = [[text] for group in groups for text in group.texts]
        random.Random(0).shuffle(posts)
    else:
        posts = [group.texts for group in groups]
    started = time.perf_counter()
    asyncio.run(_post_all(way.url, posts, max(1, under_way // way.size)))
    return sum(group.n_tokens for group in groups) / (time.perf_counter() - started)


async def _post_all(url: str, posts: Sequence[list[str]], at_a_time: int) -> None:
    """Send all `posts`, `at_a_time` under way; each must be answered with one reward per text."""
    queue = list(posts)
    connections = aiohttp.TCPConnector(limit=at_a_time)
    forever = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(url, connector=connections, timeout=forever) as session:

        async def worker() -> None:
            while queue:
                query = queue.pop()
                blank = [""] * len(query)
                body = {"query": query, "prompts": blank, "labels": blank}
                async with session.post("/get_reward", json=body) as answer:
                    answer.raise_for_status()
                    rewards = (await answer.json())["rewards"]
                assert len(rewards) == len(query), "one reward a text"

        await asyncio.gather(*(worker() for _ in range(at_a_time)))


def _words(rng: random.Random, least: int, most: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(least, most)))
