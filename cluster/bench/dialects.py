"""Dialect benchmark (`bench dialects`): parsing and rendering as a share of a whole request.

Whole requests go over HTTP, one at a time, through a service with one fake H200, whose forward
sleeps as long as an 8B model would take. Every round has new texts. Parsing is everything between
the body's bytes and the conversations (JSON included), rendering everything between the scores and
the answer's bytes; both are timed in this process, on the same bodies.
"""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from pydantic_core import to_json
from starlette.datastructures import Headers

from cluster.bench import hardware
from cluster.bench.dialect_requests import REQUESTS, Content, DialectRequest, templated_texts
from cluster.bench.http_client import free_port
from cluster.bench.service import service
from cluster.config import ClusterConfig, EngineConfig, HttpConfig, ReplicaConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.serving.http.dialects import endpoint as dialect
from cluster.serving.http.dialects.table import by_path, taking
from cluster.types import Score

REPEATS = 20
"""How often each body is parsed and rendered."""
SCORE = Score(1.5, 500, 1, False, 0.25, 0.5, "model", "revision", "invariant")


def bench_dialects(rounds: int = 5, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Milliseconds of parsing, rendering and the whole request, as medians over `rounds`.

    One row per entry of `REQUESTS`; the result is ready for JSON. Raises RuntimeError if a request
    is not answered with 200.
    """
    engine = EngineConfig(model="tiny", device="cpu", token_budget=16384)
    config = ClusterConfig(engine=engine, replica=ReplicaConfig(backend="sleep"))
    encoder, rng, port = ChatEncoder.load(engine), np.random.default_rng(0), free_port()
    taken: dict[str, list[tuple[float, float, float]]] = {each.name: [] for each in REQUESTS}
    n_tokens: list[int] = []
    with service(config, {"ray_actor_options": {"num_cpus": 0}}, http_port=port):
        for turn in range(rounds + 1):  # the first is a warm-up
            log(f"round {turn}/{rounds}")
            for each in REQUESTS:
                texts = templated_texts(encoder, each.n_items, rng)
                content = each.content(texts)
                whole_s = _request_s(port, each.path, content)
                parse_s, render_s = _in_process_s(each, content)
                if turn:
                    taken[each.name].append((parse_s, render_s, whole_s))
                    n_tokens += [encoder.encode(text).n_tokens for text in texts]
    return {
        "bench": "dialects",
        "machine": hardware.describe(torch.device("cpu")),
        "tokens_per_item": statistics.mean(n_tokens),
        "rows": [_row(each, taken[each.name]) for each in REQUESTS],
    }


def _row(request: DialectRequest, rounds: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    parse_s, render_s, whole_s = (statistics.median(each) for each in zip(*rounds, strict=True))
    return {
        "name": request.name,
        "path": request.path,
        "items": request.n_items,
        "parse_ms": 1e3 * parse_s,
        "render_ms": 1e3 * render_s,
        "request_ms": 1e3 * whole_s,
        "share": statistics.median((parse + render) / whole for parse, render, whole in rounds),
    }


def _request_s(port: int, path: str, content: Content) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": "application/json", **content.headers}
    started = time.perf_counter()
    connection.request("POST", path, content.body, headers)
    answer = connection.getresponse()
    body = answer.read()
    taken = time.perf_counter() - started
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}: {body[:200]!r}")
    return taken


def _in_process_s(request: DialectRequest, content: Content) -> tuple[float, float]:
    """Median seconds of parsing and of rendering."""
    endpoints = by_path(HttpConfig().dialects)[request.path]
    headers = Headers(dict(content.headers))
    rewarded = dialect.Rewarded(
        [SCORE.reward] * request.n_items, [SCORE] * request.n_items, SCORE.model, "id", 0
    )
    parsing, rendering = [], []
    for _ in range(REPEATS):
        started = time.perf_counter()
        body = endpoints[0].decode(content.body, headers)
        found = taking(endpoints, body)
        assert found is not None, "the body has the dialect's keys"
        parsed = found.parse(body)
        n_items = len(list(parsed.conversations_N))
        middle = time.perf_counter()
        made = found.render(parsed, rewarded)
        if not isinstance(made, dialect.Content):
            to_json(made)
        rendering.append(time.perf_counter() - middle)
        parsing.append(middle - started)
        assert n_items == request.n_items
    return statistics.median(parsing), statistics.median(rendering)
