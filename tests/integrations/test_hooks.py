"""The other trainers' hooks, each called by a copy of how its framework calls it.

None of them installs here; the calling code below repeats, name by name, what each file that the
hook's docstring names does.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.http import FakeScorer

from cluster.errors import InvalidInput, TooLong
from cluster.integrations import ms_swift, nemo_rl, openrlhf, skyrl, verifiers, verl
from cluster.integrations.chats import chat, whole_chat
from cluster.types import Message

QUESTION = "What is 2 + 2?"
PROMPT = [Message(role="user", content=QUESTION)]
LONG = "word " * 10_000
TEMPLATED = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"


class TestVerl:
    """`pkg://` loading, the reward loop's and the batch manager's calls."""

    @staticmethod
    def loaded(name: str, **reward_kwargs: Any) -> Any:
        """As verl's `get_custom_reward_fn`: its wrapper is a partial of one of two functions."""
        raw = getattr(importlib.import_module("cluster.integrations.verl"), name)

        def call(raw_fn: Any, extra: dict[str, Any], **kwargs: Any) -> Any:
            return raw_fn(**{**kwargs, **extra})

        async def call_async(raw_fn: Any, extra: dict[str, Any], **kwargs: Any) -> Any:
            return await raw_fn(**{**kwargs, **extra})

        chosen = call_async if inspect.iscoroutinefunction(raw) else call
        return partial(chosen, raw, reward_kwargs)

    @staticmethod
    async def run_single(compute_score: Any, response: str, info: Any, **extra: Any) -> Any:
        """As `NaiveRewardManager.run_single`."""
        named = {
            "data_source": "openai/gsm8k",
            "solution_str": response,
            "ground_truth": "4",
            "extra_info": info | {"num_turns": None, "rollout_reward_scores": {}},
            **extra,
        }
        assert inspect.iscoroutinefunction(compute_score)
        result = await compute_score(**named)
        if isinstance(result, dict):
            return result["score"], dict(result)
        return result, {"acc": result}

    def test_concurrent_samples_get_their_rewards(self, url: str, reward: Any) -> None:
        score = self.loaded("compute_score")
        answers = ["4", "5", "Bananas."]

        async def main() -> list[Any]:
            calls = [self.run_single(score, a, {"question": QUESTION}) for a in answers]
            return await asyncio.gather(*calls)

        found = asyncio.run(main())
        assert [score for score, _ in found] == [reward((PROMPT, a)) for a in answers]
        assert all(extra.keys() == {"score"} for _, extra in found)

    def test_the_routers_address_is_the_service(
        self, url: str, reward: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("REWARD_CLUSTER_URL")
        router = {
            "reward_router_address": url.removeprefix("http://"),
            "reward_model_tokenizer": None,
        }
        single = self.run_single(self.loaded("compute_score"), "4", {"prompt": PROMPT}, **router)
        assert asyncio.run(single)[0] == reward((PROMPT, "4"))

    def test_a_batch_is_one_call(self, url: str, scorer: FakeScorer, reward: Any) -> None:
        found = self.loaded("compute_score_batch", prompt_key="problem", failed=-3.0)(
            data_sources=["a", "b"],
            solution_strs=["4", LONG],
            ground_truths=["4", "4"],
            extra_infos=[{"problem": QUESTION}, {"problem": PROMPT}],
        )
        assert [score["score"] for score in found] == [reward((PROMPT, "4")), -3.0]
        assert len(scorer.asked) == 1

    def test_without_a_prompt_the_error_says_where_to_put_it(self, url: str) -> None:
        with pytest.raises(InvalidInput, match="prompt_key"):
            verl.compute_score_batch(["a"], ["4"], ["4"], None)


class TestOpenRLHF:
    """A module with `reward_func`, in a thread, with lists of one; then tensors of one."""

    @staticmethod
    def execute(func: Any, query: str) -> dict[str, Any]:
        """As `SingleTurnAgentExecutor.execute` reads it, and then `SamplesGenerator`."""
        with ThreadPoolExecutor(1) as threads:
            told = threads.submit(func, [query], [query[:20]], ["label"]).result()
        score = told.get("scores") if told.get("scores") is not None else told.get("rewards")
        info = {"reward": torch.tensor([told.get("rewards")]), "score": torch.tensor([score])}
        for key, value in (told.get("extra_logs") or {}).items():
            info[key] = torch.tensor([value.flatten()[0].item()])
        return info

    def test_the_whole_text_is_scored_with_one_bos(self, url: str, reward: Any) -> None:
        found = [self.execute(openrlhf.reward_func, text) for text in (TEMPLATED, "Hi")]
        expected = [pytest.approx(reward(text)) for text in (TEMPLATED, "Hi")]
        for key in ("reward", "score", "reward_model"):
            assert torch.cat([info[key] for info in found]).flatten().tolist() == expected

    def test_texts_of_another_template_are_read_back(self, url: str, reward: Any) -> None:
        func = openrlhf.reward_func_of(parse=lambda query, prompt: (PROMPT, query.split("|")[-1]))
        assert self.execute(func, "x|4")["reward"].item() == pytest.approx(reward((PROMPT, "4")))

    def test_a_failed_text_raises_or_gets_its_reward(self, url: str) -> None:
        with pytest.raises(TooLong):
            openrlhf.reward_func([LONG], [""], [None])
        found = openrlhf.reward_func_of(failed=-2.0)([LONG], [""], [None])
        assert found["rewards"].tolist() == [-2.0]


class TestMsSwift:
    """An entry of `orms`, made from its signature, called with columns."""

    @staticmethod
    def made(kind: type, args: Any) -> Any:
        """As `_prepare_rewards` of swift's GRPOTrainer."""
        names = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
        known = [n for n in names if n not in ("self", "args", "kwargs") and hasattr(args, n)]
        return kind(args=args, **{n: getattr(args, n) for n in known})

    def test_whole_chats_are_scored_sync_and_async(self, url: str, reward: Any) -> None:
        answers = ["4", "5"]
        columns = {
            "messages": [[*PROMPT, {"role": "assistant", "content": a}] for a in answers],
            "solution": ["4", "4"],
            "trainer_state": None,
        }
        expected = [reward((PROMPT, a)) for a in answers]
        args = SimpleNamespace(beta=0.04)
        assert self.made(ms_swift.RewardCluster, args)(answers, **columns) == expected
        func = self.made(ms_swift.AsyncRewardCluster, args)
        assert inspect.iscoroutinefunction(func.__call__)
        assert asyncio.run(func(answers, **columns)) == expected

    def test_no_prompt_is_an_error_that_says_so(self, url: str) -> None:
        with pytest.raises(InvalidInput, match="messages"):
            ms_swift.RewardCluster()(["4"])


class BaseTextEnv:
    """The part of SkyRL's class that matters here."""

    def __init__(self) -> None:
        self.turns, self.max_turns = 0, 1

    def close(self) -> None:
        self.turns = -1


class TestSkyRL:
    def test_an_episode_is_one_turn_with_the_services_reward(self, url: str, reward: Any) -> None:
        made: Any = skyrl.environment(BaseTextEnv)
        env: Any = made(env_config={"failed": -1.0}, extras={"reward_spec": {"ground_truth": "4"}})
        assert issubclass(made, BaseTextEnv)  # skyrl_gym.make asks for it
        prompt, info = env.init(PROMPT)
        assert (prompt, info) == (PROMPT, {})
        output = env.step("4")
        assert output["reward"] == reward((PROMPT, "4"))
        assert output["done"]
        assert output["observations"] == []
        assert env.step(LONG)["reward"] == -1.0
        env.close()
        assert env.turns == -1


class TestVerifiers:
    """A rubric passes what the signature names, or all; plural names mean a group."""

    @staticmethod
    def is_group(func: Any) -> bool:
        """As `Rubric._is_group_func`."""
        plural = {"states", "prompts", "completions", "answers", "tasks", "infos"}
        return bool(set(inspect.signature(func).parameters) & plural)

    def test_a_rollout_and_a_group_get_the_services_rewards(
        self, url: str, scorer: FakeScorer, reward: Any
    ) -> None:
        state: dict[str, Any] = {"answer": "4", "state": {}, "info": {}, "task": None}
        answers = [[{"role": "assistant", "content": a}] for a in ("4", "5", LONG)]
        func = verifiers.reward_func(failed=-4.0)
        assert not self.is_group(func)
        found = asyncio.run(func(prompt=PROMPT, completion=answers[0], **state))
        assert found == reward((PROMPT, "4"))
        group = verifiers.group_reward_func(failed=-4.0)
        assert self.is_group(group)
        scorer.asked.clear()
        rewards = asyncio.run(group(prompts=[PROMPT] * 3, completions=answers, states=[{}] * 3))
        assert rewards == [reward((PROMPT, "4")), reward((PROMPT, "5")), -4.0]
        assert len(scorer.asked) == 1
        assert func.__name__ == "reward_cluster"  # the metric's name

    def test_messages_of_a_trace_are_objects(self, url: str, reward: Any) -> None:
        message = partial(SimpleNamespace, tool_calls=None)
        said = [message(role="user", content=QUESTION), message(role="assistant", content="4")]
        found = asyncio.run(verifiers.trace_reward(SimpleNamespace(messages=said)))
        assert found == reward((PROMPT, "4"))


class TestNemoRL:
    def test_a_step_ends_every_episode_with_the_services_rewards(
        self, url: str, reward: Any
    ) -> None:
        env = nemo_rl.RewardModel({"failed": -6.0})
        ids = torch.tensor([1, 2])
        logs: list[list[dict[str, Any]]] = [
            [
                {"role": "user", "content": QUESTION, "token_ids": ids},
                {"role": "assistant", "content": answer, "token_ids": ids},
            ]
            for answer in ("4", "5", LONG)
        ]
        result = env.step(logs, [{"n": 0}, {"n": 1}, None])
        observations, metadata, stops, rewards, terminateds, answers = result
        expected = [reward((PROMPT, "4")), reward((PROMPT, "5")), -6.0]
        assert torch.equal(rewards, torch.tensor(expected, dtype=torch.float32))
        assert terminateds.dtype == torch.bool
        assert terminateds.all()
        assert [o["role"] for o in observations] == ["environment"] * 3
        assert metadata == [{"n": 0}, {"n": 1}, None]
        assert stops == [None] * 3
        assert answers == ["4", "5", LONG]
        _, metrics = env.global_post_process_and_metrics({"rewards": rewards})
        assert metrics["reward_cluster/max"] == pytest.approx(max(expected))

    def test_its_actor_class_is_made_as_the_trainer_makes_it(self) -> None:
        assert callable(nemo_rl.RewardClusterEnvironment.options)


def test_an_answer_in_parts_is_scored_as_its_text(scorer: FakeScorer) -> None:
    parts = [{"type": "text", "text": "there"}]
    answer = {"role": "assistant", "content": parts}
    wanted = scorer.encoder.encode((PROMPT, "there")).input_ids.tolist()
    for made in (chat(PROMPT, [answer]), whole_chat([*PROMPT, answer])):
        assert scorer.encoder.encode(made).input_ids.tolist() == wanted
