from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from ray import exceptions as ray_errors
from ray.serve import exceptions as serve_errors

from cluster.errors import MAX_RETRY_AFTER_S, NotFinite, NotReady, Overloaded
from cluster.serving.batching.retry import (
    DOUBTFUL_ATTEMPTS,
    AnswerIncomplete,
    is_retryable,
    pause_s,
    unwrap_ray_error,
)

ID = "ff" * 28


def lost(name: str, *arguments: Any) -> BaseException:
    """An error of Ray or Serve by name."""
    module: Any = ray_errors if hasattr(ray_errors, name) else serve_errors
    made: BaseException = getattr(module, name)(*arguments)
    return made


LOSSES = [
    lost("ActorDiedError"),
    lost("ActorUnavailableError", "gone", None),
    lost("ObjectLostError", ID, None, ""),
    lost("ObjectFetchTimedOutError", ID, None, ""),
    lost("OwnerDiedError", ID, None, ""),
    lost("ObjectReconstructionFailedError", ID, None, ""),
    lost("NodeDiedError", "gone"),
    lost("LocalRayletDiedError"),
    lost("WorkerCrashedError"),
    lost("RpcError", "reset"),
    lost("RequestCancelledError"),
    lost("BackPressureError", 5, 2),
    NotReady("starting"),
    asyncio.CancelledError(),
]


def inside_task(cause: BaseException) -> BaseException:
    """As a caller gets what was raised in another process."""
    error = cast(Any, ray_errors.RayTaskError)("score", "traceback", cause)
    return cast(BaseException, error.as_instanceof_cause())


@pytest.mark.parametrize("error", LOSSES, ids=lambda error: type(error).__name__)
def test_losses_of_actors_objects_nodes_and_workers_are_asked_again_at_any_attempt(
    error: BaseException,
) -> None:
    assert is_retryable(error, attempt=0)
    assert is_retryable(error, attempt=10**6)


@pytest.mark.parametrize(
    "error", [e for e in LOSSES if isinstance(e, Exception)], ids=lambda e: type(e).__name__
)
def test_a_loss_inside_a_task_error_is_a_loss(error: BaseException) -> None:
    assert is_retryable(unwrap_ray_error(inside_task(error)))
    assert is_retryable(unwrap_ray_error(inside_task(inside_task(error))))


@pytest.mark.parametrize("error", [lost("RaySystemError", "x"), AnswerIncomplete("x")])
def test_what_may_be_permanent_is_asked_again_a_few_times_only(error: BaseException) -> None:
    tries = [is_retryable(error, attempt) for attempt in range(5)]
    assert tries == [attempt + 1 < DOUBTFUL_ATTEMPTS for attempt in range(5)]
    assert tries[0]


@pytest.mark.parametrize("error", [NotFinite("NaN"), KeyError("x"), inside_task(ValueError("x"))])
def test_a_fault_of_the_item_or_the_program_is_not_asked_again(error: BaseException) -> None:
    assert not is_retryable(unwrap_ray_error(error))


def test_no_pause_is_longer_than_a_few_seconds_whatever_the_queue_asks_for() -> None:
    for asked in (0.0, 1.0, 8.0, 502_403.7, float("inf")):
        assert all(0 < pause_s(Overloaded("", None, asked), n) <= MAX_RETRY_AFTER_S for n in (0, 9))
    assert pause_s(Overloaded("", None, 4.0), 0) >= 2.0
    assert max(pause_s(ray_errors.ActorDiedError(), attempt) for attempt in range(2000)) <= 2.0
