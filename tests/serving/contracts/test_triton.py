"""Triton's binary tensors and probes: what is malformed is told, and only scoring needs a key."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from starlette.testclient import TestClient
from support.fuzzing import generated
from support.http import FakeScorer

from cluster.serving.http.dialects.triton.model import PROBES
from cluster.serving.http.dialects.triton.tensors import HEADER_LENGTH
from cluster.serving.logs import LOGGER

Connect = Callable[..., TestClient]
PATH = "/v2/models/reward_model/infer"
PROBED = sorted(path for probe in PROBES for path in probe.paths if probe.status == 200)
WHEN_READY = sorted(path for probe in PROBES if probe.when_ready for path in probe.paths)
HI = struct.pack("<I", 2) + b"hi"


def tensor(size: Any = 6, **changed: Any) -> dict[str, Any]:
    """The input that describes HI."""
    given = {"name": "sentences", "shape": [1, 1], "datatype": "BYTES"}
    return {**given, "parameters": {"binary_data_size": size}} | changed


def post(client: TestClient, body: Any, data: bytes, length: int | str | None = None) -> Any:
    head = json.dumps(body).encode()
    n = str(len(head) if length is None else length)
    return client.post(PATH, content=head + data, headers={HEADER_LENGTH: n})


def tokens(ids: bytes, shape: list[int], lengths: bytes, n: int) -> tuple[list[Any], bytes]:
    """Inputs and their data."""
    sizes = ({"binary_data_size": len(each)} for each in (ids, lengths))
    first, second = ({"datatype": "INT64", "parameters": size} for size in sizes)
    inputs = [
        {"name": "tokens", "shape": shape, **first},
        {"name": "sequence_lengths", "shape": [n, 1], **second},
    ]
    return inputs, ids + lengths


MALFORMED: list[tuple[list[Any], bytes, str]] = [
    ([tensor(7)], HI, "not the bytes of a tensor"),
    ([tensor(-1)], HI, "not the bytes of a tensor"),
    ([tensor(True)], HI, "not the bytes of a tensor"),
    ([tensor(5)], HI, "1 bytes of the body belong to no input"),
    ([tensor(5)], HI[:5], "ends within an element"),
    ([tensor(3)], HI[:3], "ends within an element"),
    ([tensor(6, shape=[2, 1])], HI, "as many elements as its shape"),
    ([tensor(6, shape=[1, 1, 1])], HI, "a shape of one or two"),
    ([tensor(12, shape=[1, 2])], HI + HI, "one text a sample"),
    ([tensor(6, datatype="FP32")], HI, "datatype BYTES"),
    ([tensor(6, name="words")], HI, "an input is named 'words'"),
    ([tensor(), tensor()], HI + HI, "twice"),
    ([], b"", "give the input `sentences`"),
    (*tokens(b"\1" * 9, [1, 1], b"\1" + b"\0" * 7, 1), "ends within an element"),
    (*tokens(b"\1" * 16, [1, 2], b"\3" + b"\0" * 7, 1), "must be from 1 to 2"),
    (*tokens(b"\1" * 16, [2], b"\1" + b"\0" * 7, 1), "the shape [N, T]"),
    (*tokens(b"\1" * 16, [1, 2], b"\1" + b"\0" * 15, 2), "one per row"),
]


@pytest.mark.parametrize(("inputs", "data", "message"), MALFORMED)
def test_malformed_tensors_are_refused_with_the_reason(
    connect: Connect, inputs: list[Any], data: bytes, message: str
) -> None:
    answer = post(connect(), {"inputs": inputs}, data)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize("length", ["", "-1", "x", "10000", "9" * 5000])
def test_a_header_length_that_cannot_be_is_refused(connect: Connect, length: str) -> None:
    answer = post(connect(), {"inputs": [tensor()]}, HI, length)
    assert answer.status_code == 400
    assert HEADER_LENGTH in answer.json()["error"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"outputs": [{"name": "exceeded"}]}, "rewards only"),
        ({"outputs": [{"name": "rewards", "parameters": {"classification": 2}}]}, "classification"),
        ({"outputs": [{"name": "rewards", "parameters": {"binary_data": 1}}]}, "true, false"),
        ({"parameters": {"binary_data_output": "yes"}}, "true, false"),
        ({"parameters": []}, "`parameters` must be an object"),
    ],
)
def test_outputs_that_the_model_has_not_are_refused(
    connect: Connect, changed: Any, message: str
) -> None:
    answer = post(connect(), {"inputs": [tensor()], **changed}, HI)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_an_end_of_text_is_not_added_behind_the_clients_back(connect: Connect) -> None:
    eos = {"name": "add_EOS", "shape": [1, 1], "datatype": "BOOL"}
    for data, status in ((b"\0", 200), (b"\1", 400)):
        described = {**eos, "parameters": {"binary_data_size": 1}}
        answer = post(connect(), {"inputs": [tensor(), described]}, HI + data)
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize("path", PROBED)
def test_probes_need_no_key(connect: Connect, path: str) -> None:
    locked = connect(key="secret")
    assert [locked.get(path).status_code, locked.head(path).status_code] == [200, 200]


def test_only_probes_of_readiness_fail_while_no_replica_serves(
    connect: Connect, scorer: FakeScorer
) -> None:
    scorer.serving = False
    client = connect()
    unready = [path for path in PROBED if client.get(path).status_code == 503]
    assert unready == WHEN_READY
    assert "no replica" in client.get(WHEN_READY[0]).json()["error"]


def test_without_the_dialect_its_probes_are_not_there(connect: Connect) -> None:
    client = connect(dialects=("vllm",))
    assert {client.get(path).status_code for path in PROBED} == {404}


@pytest.mark.parametrize("rest", ["other", "other/ready", "reward_model/versions/2/infer"])
def test_another_model_is_unknown_in_the_clients_own_words(connect: Connect, rest: str) -> None:
    for method in ("GET", "POST"):
        answer = connect().request(method, f"/v2/models/{rest}", content=b"{}")
        assert answer.status_code == 404
        assert answer.json() == {"error": "the one model is reward_model, version 1"}


@pytest.fixture
def anybody(connect: Connect, caplog: pytest.LogCaptureFixture) -> TestClient:
    """One client for hundreds of bodies, which fill no log."""
    caplog.set_level(logging.ERROR, LOGGER)
    return connect()


SHAPES = st.lists(st.integers(-1, 3) | st.sampled_from([2**63, 10**20, None]), max_size=3)
INPUTS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["sentences", "tokens", "sequence_lengths", "add_EOS", 5]),
        "datatype": st.sampled_from(["BYTES", "INT64", "BOOL", None]),
        "shape": SHAPES,
    },
    optional={
        "data": st.lists(st.integers() | st.text(max_size=3) | st.lists(st.integers())),
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40)}),
    },
)


@generated(300)
@hypothesis.given(st.lists(INPUTS, max_size=3), st.binary(max_size=40))
def test_no_tensor_makes_the_service_fail(
    anybody: TestClient, inputs: list[Any], data: bytes
) -> None:
    answer = post(anybody, {"inputs": inputs}, data)
    assert answer.status_code in (200, 400), (inputs, data, answer.text)
