"""Asyncio trainer: groups are scored concurrently, single results arrive as they complete.

Start a service first (`reward-cluster serve --local`), then run this file.
"""

import asyncio
import time
from typing import Any

from cluster import RewardError, Score, connect

PROMPTS = ["What is 7 + 5?", "Name a fruit.", "Is water wet?"]


async def responses_to(prompt: str) -> list[str]:
    """Stands in for the policy."""
    return ["7 + 5 = 12", "Bananas are yellow.", f"You asked: {prompt}"]


async def main() -> None:
    client: Any = connect()

    async def rollout(prompt: str) -> list[Score | RewardError]:
        responses = await responses_to(prompt)
        deadline = time.time() + 120  # the way to the actor counts too
        ref = client.score_group.remote(prompt, responses, deadline=deadline)
        results: list[Score | RewardError] = await ref
        return results

    for prompt, results in zip(PROMPTS, await asyncio.gather(*map(rollout, PROMPTS)), strict=True):
        print(prompt, [x.reward if isinstance(x, Score) else str(x) for x in results])

    chats = [(prompt, "It depends.") for prompt in PROMPTS]
    async for ref in client.score_stream.options(num_returns="streaming").remote(chats):
        index, result = await ref  # in the order of completion
        print("stream:", PROMPTS[index], result.reward if isinstance(result, Score) else result)


if __name__ == "__main__":
    asyncio.run(main())
