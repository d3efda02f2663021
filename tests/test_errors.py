from __future__ import annotations

import pickle

import pytest

from cluster.errors import (
    MAX_RETRY_AFTER_S,
    ConfigError,
    InvalidInput,
    Overloaded,
    RewardError,
    TooLong,
    all_error_classes,
    error_of,
)


def test_every_class_has_a_code_of_its_own() -> None:
    codes = [cls.code for cls in all_error_classes()]
    assert len(set(codes)) == len(codes) == 16


def test_every_status_is_an_http_error() -> None:
    assert all(400 <= cls.http_status < 600 for cls in all_error_classes())


def test_only_a_server_that_may_recover_asks_for_a_retry() -> None:
    retryable = {cls.code for cls in all_error_classes() if cls.retryable}
    assert retryable == {"overloaded", "not_ready", "revision_changed"}


@pytest.mark.parametrize("cls", all_error_classes())
def test_an_error_crosses_processes_unchanged(cls: type[RewardError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("broken", 3)))
    assert type(copy) is cls
    assert (copy.message, copy.item, str(copy)) == ("broken", 3, "item 3: broken")


def test_an_overload_keeps_its_retry_time_through_pickle_and_placing() -> None:
    copy = pickle.loads(pickle.dumps(Overloaded("full", None, 2.5)))
    assert (copy.retry_after_s, copy.item) == (2.5, None)
    assert (copy.at(4).retry_after_s, copy.at(4).item) == (2.5, 4)


@pytest.mark.parametrize("cls", all_error_classes())
def test_placing_an_error_keeps_its_class_and_message(cls: type[RewardError]) -> None:
    placed = cls("broken").at(7)
    assert type(placed) is cls
    assert str(placed) == "item 7: broken"


@pytest.mark.parametrize("cls", all_error_classes())
def test_an_error_that_was_told_by_its_code_is_of_its_class(cls: type[RewardError]) -> None:
    told = error_of(cls.code, "broken")
    assert type(told) is cls
    assert told.message == "broken"


def test_an_unknown_code_is_the_inputs() -> None:
    assert type(error_of("of_a_later_version", "broken")) is InvalidInput


def test_errors_of_the_caller_are_value_errors() -> None:
    assert all(issubclass(cls, ValueError) for cls in (InvalidInput, TooLong, ConfigError))


def test_no_overload_asks_for_more_than_a_few_seconds() -> None:
    assert Overloaded("full", retry_after_s=502_403.7).retry_after_s == MAX_RETRY_AFTER_S <= 10
    assert Overloaded("full", retry_after_s=float("inf")).at(1).retry_after_s == MAX_RETRY_AFTER_S
