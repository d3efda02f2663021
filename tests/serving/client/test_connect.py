"""The client actor over a running service of fake GPUs."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
import ray
from ray.exceptions import TaskCancelledError
from support.gate import Gate
from support.serving import PATIENCE_S, sequences, until

from cluster.engine.encoding.encoder import ChatEncoder
from cluster.errors import DeadlineExceeded, InvalidInput, RewardError
from cluster.serving.client.async_service import AsyncRewardService
from cluster.serving.client.connect import RewardService, connect
from cluster.serving.names import NAMESPACE
from cluster.serving.replica.backends import fake_reward
from cluster.types import Conversation, Score

pytestmark = pytest.mark.ray

APP = "plain"
PROMPT = [{"role": "user", "content": "What is 2 + 2?"}]


def get(ref: Any) -> Any:
    return ray.get(ref, timeout=PATIENCE_S)


def expected(encoder: ChatEncoder, conversations: list[Any]) -> list[float]:
    return [fake_reward(encoder.encode(c).input_ids, "r1") for c in conversations]


def rewards(items: list[Score | RewardError]) -> list[float | str]:
    return [item.reward if isinstance(item, Score) else item.code for item in items]


def test_every_form_of_a_conversation_is_scored_in_order(client: Any, encoder: ChatEncoder) -> None:
    conversations: list[Any] = [
        [*PROMPT, {"role": "assistant", "content": "4"}],
        (PROMPT, "5"),
        "<|begin_of_text|>templated",
        [1, 2, 3],
        np.arange(5),
    ]
    scores = get(client.score.remote(conversations))
    assert rewards(scores) == expected(encoder, conversations)
    assert {score.revision for score in scores} == {"r1"}
    assert [score.n_tokens for score in scores] == [
        encoder.encode(c).n_tokens for c in conversations
    ]


def test_refs_to_the_call_an_item_or_token_ids_are_scored_like_the_things_themselves(
    client: Any, encoder: ChatEncoder
) -> None:
    ids = np.arange(1000, dtype=np.int32) % 250
    items = [ray.put(ids), ray.put((PROMPT, "4")), "text"]
    plain = expected(encoder, [ids, (PROMPT, "4"), "text"])
    assert rewards(get(client.score.remote(items))) == plain
    assert rewards(get(client.score.remote(ray.put([ids, "text"])))) == [plain[0], plain[2]]


def test_a_group_is_scored_like_its_conversations_one_by_one(
    client: Any, encoder: ChatEncoder
) -> None:
    responses = ["4", "5", "4"]
    scores = get(client.score_group.remote(PROMPT, responses))
    assert rewards(scores) == expected(encoder, [(PROMPT, r) for r in responses])


def test_transforms_are_recorded_beside_the_raw_rewards_also_of_references(client: Any) -> None:
    pairs = [(PROMPT, "4"), ray.put((PROMPT, "5")), ("Hi", "yes")]
    plain = rewards(get(client.score.remote(pairs)))
    scores = get(client.score.remote(pairs, transforms=["centre"]))
    assert rewards(scores) == plain
    half = (scores[0].reward - scores[1].reward) / 2
    found = [score.transformed_reward for score in scores]
    assert found == pytest.approx([half, -half, 0.0])
    grouped = get(client.score_group.remote(PROMPT, ["4", "5"], transforms=["centre"]))
    assert [score.transformed_reward for score in grouped] == pytest.approx([half, -half])
    with pytest.raises(InvalidInput, match="centre"):
        get(client.score.remote(pairs, transforms=["center"]))


def test_a_bad_item_is_an_error_in_its_place_and_harms_no_other(client: Any) -> None:
    items = get(client.score.remote(["a", [], "b", [{"role": "user", "content": 5}], [10**6]]))
    assert [isinstance(item, Score) for item in items] == [True, False, True, False, False]
    assert [(item.code, item.item) for item in items if isinstance(item, RewardError)] == [
        ("invalid_input", 1),
        ("invalid_input", 3),
        ("invalid_input", 4),
    ]


def test_strict_raises_the_first_error(client: Any) -> None:
    with pytest.raises(InvalidInput, match="item 1"):
        get(client.score.remote(["a", [], 5], strict=True))
    with pytest.raises(InvalidInput, match="item 1") as caught:
        RewardService(client=client).score(["a", []], strict=True)
    assert type(caught.value) is InvalidInput, "the facade unwraps Ray's error"


def test_a_bare_string_in_place_of_the_list_is_refused(client: Any) -> None:
    with pytest.raises(InvalidInput, match="list"):
        get(client.score.remote("just one chat"))


def test_the_empty_call_has_the_empty_answer(client: Any) -> None:
    assert get(client.score.remote([])) == []


def test_a_stream_yields_every_item_once(client: Any, encoder: ChatEncoder) -> None:
    rng = np.random.default_rng(1)
    ids: list[Any] = sequences(100, rng)
    stream = client.score_stream.options(num_returns="streaming").remote([*ids, []])
    pairs = [ray.get(ref) for ref in stream]
    assert sorted(i for i, _ in pairs) == list(range(101))
    found = dict(pairs)
    assert [found[i].reward for i in range(100)] == expected(encoder, ids)
    assert isinstance(found[100], InvalidInput)


def test_a_stream_survives_the_death_of_its_client_actor(
    client: Any, encoder: ChatEncoder, gate: Gate
) -> None:
    ids: list[Any] = sequences(400, np.random.default_rng(2))
    found: dict[int, Any] = {}
    with gate.shut():
        gate.admit_one()
        stream = RewardService(client=client).stream(ids)
        found.update([next(stream)])
        ray.kill(client, no_restart=False)  # most of the call is still to be scored
    for i, item in stream:
        assert i not in found, "yielded twice"
        found[i] = item
    assert [found[i].reward for i in range(400)] == expected(encoder, ids)


def test_an_expired_call_is_answered_with_the_reason(client: Any) -> None:
    (ids,) = sequences(1, np.random.default_rng(3))
    (item,) = get(client.score.remote([ids], deadline_s=0.0))
    assert isinstance(item, DeadlineExceeded)
    assert item.item == 0


def test_a_cancelled_future_ends_and_the_service_goes_on(client: Any, gate: Gate) -> None:
    with gate.shut():
        before = gate.n_held
        ref = client.score.remote(sequences(500, np.random.default_rng(4)))
        until(lambda: gate.n_held > before)
        ray.cancel(ref)
        with pytest.raises(TaskCancelledError):
            get(ref)
    assert len(get(client.score.remote(["after"]))) == 1


def test_the_same_name_is_the_same_actor_from_any_namespace(client: Any) -> None:
    again = connect(APP, name=APP, detached=False)
    assert again._actor_id == client._actor_id
    assert ray.get_actor(f"{APP}/{APP}", namespace=NAMESPACE)._actor_id == client._actor_id


def test_an_actor_of_the_node_is_found_by_every_caller_there(client: Any) -> None:
    first = connect(APP, name="of-node", per_node=True, detached=False)
    second: Any = connect(APP, name="of-node", per_node=True, detached=False)
    assert first._actor_id == second._actor_id
    assert len(get(second.score.remote(["a"]))) == 1
    ray.kill(second)


def test_many_threads_share_one_facade(client: Any, encoder: ChatEncoder) -> None:
    facade = RewardService(client=client)
    answers: dict[int, list[float | str]] = {}

    def ask(n: int) -> None:
        answers[n] = rewards(facade.score([f"text {n}", "shared"]))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers == {n: expected(encoder, [f"text {n}", "shared"]) for n in range(8)}


def test_an_asyncio_trainer_has_many_calls_under_way(
    plain_app: str, client: Any, encoder: ChatEncoder
) -> None:
    service = AsyncRewardService(plain_app, client=client)
    calls = [[("Hi", f"answer {n}"), ("Hi", f"other {n}")] for n in range(8)]

    async def main() -> list[list[Score | RewardError]]:
        return await asyncio.gather(*[service.score(call) for call in calls])

    found = [rewards(items) for items in asyncio.run(main())]
    assert found == [expected(encoder, list(call)) for call in calls]


def test_an_asynchronous_call_ends_at_its_deadline_and_raises_where_it_is_strict(
    plain_app: str, client: Any, gate: Gate
) -> None:
    service = AsyncRewardService(plain_app, client=client)
    chats: list[Conversation] = [("Hi", "late one"), ("Hi", "late two")]
    with gate.shut():
        [first, second] = asyncio.run(service.score(chats, deadline_s=0.2))
        assert isinstance(first, DeadlineExceeded)
        assert isinstance(second, DeadlineExceeded)
        with pytest.raises(DeadlineExceeded):
            asyncio.run(service.score(chats, deadline_s=0.2, strict=True))
