"""Structured events, as text and in Ray's JSON encoding."""

from __future__ import annotations

import json
import logging

import pytest
from ray._common.formatters import JSONFormatter

from cluster.serving.logs import LOGGER, event


def test_an_event_reads_as_text_and_keeps_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        event("batch_done", items=3, seconds=0.123456, route=None)
    (record,) = caplog.records
    assert record.getMessage() == "batch_done items=3 seconds=0.1235"
    encoded = json.loads(JSONFormatter().format(record))
    assert (encoded["event"], encoded["items"], encoded["seconds"]) == ("batch_done", 3, 0.123456)
    assert "route" not in encoded


def test_an_event_below_the_level_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, LOGGER):
        event("http_request", status=200)
        event("device_lost", level=logging.ERROR, node="a")
    assert [record.getMessage() for record in caplog.records] == ["device_lost node=a"]
