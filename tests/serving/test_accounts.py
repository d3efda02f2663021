"""A replica's rate counts what it answered, its speed what it computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.lanes import ticket

from cluster.serving.accounts import Accounts
from cluster.serving.metrics import ServingMetrics
from cluster.serving.wire import BatchResult, ItemResult, Source

SOURCE = Source("m", "r1", "invariant")


def test_kept_prompts_make_a_replica_drain_faster_but_not_compute_faster() -> None:
    accounts = Accounts(ServingMetrics(), token_budget=100, share_prompts=True)
    tickets = [ticket(i) for i in range(4)]
    unique = accounts.sent(tickets)
    items = [ItemResult(float(i), 0.0, 0.5, SOURCE) for i in range(4)]
    result = replace(BatchResult.from_items(items), wall_s=0.5)
    accounts.answered(tickets, replace(result, computed_tokens=1), unique)
    np.testing.assert_allclose(accounts.rate.tokens_per_s, unique / 0.5)
    np.testing.assert_allclose(accounts.speed.tokens_per_s, 1 / 0.5)
    assert unique > 1


def test_where_a_backend_does_not_tell_what_it_computed_both_are_the_same() -> None:
    accounts = Accounts(ServingMetrics(), token_budget=100, share_prompts=True)
    tickets = [ticket(1)]
    unique = accounts.sent(tickets)
    result = replace(BatchResult.from_items([ItemResult(1.0, 0.0, 0.5, SOURCE)]), wall_s=0.5)
    accounts.answered(tickets, result, unique)
    assert accounts.speed.tokens_per_s == accounts.rate.tokens_per_s > 0
