"""PPO-style trainer: rewards are futures that arrive while the policy generates.

Start a service first (`reward-cluster serve --local`), then run this file.
"""

from statistics import mean
from typing import Any

import ray

from cluster import Score, connect


def generate(prompt: str) -> list[str]:
    """Stands in for the policy: one right answer, three wrong ones."""
    a, b = (int(word.strip("?")) for word in prompt.split() if word.strip("?").isdigit())
    return [f"{a} + {b} = {a + b + error}" for error in (0, 1, 7, 20)]


def main() -> None:
    client: Any = connect()  # joins the service's Ray; the client actor ends with this job
    rollouts = []
    for a in range(3, 9):
        prompt = f"What is {a} + 5?"
        responses = generate(prompt)
        future = client.score_group.remote(prompt, responses)  # returns at once
        rollouts.append((prompt, responses, future))  # generation goes on meanwhile

    for prompt, responses, future in rollouts:
        results = ray.get(future)  # a Score or a RewardError per response, in order
        good = zip(responses, results, strict=True)
        scored = [(text, x.reward) for text, x in good if isinstance(x, Score)]
        baseline = mean(reward for _, reward in scored)
        best = max(scored, key=lambda pair: pair[1])
        print(f"{prompt} best: {best[0]!r}, advantage {best[1] - baseline:+.3f}")


if __name__ == "__main__":
    main()
