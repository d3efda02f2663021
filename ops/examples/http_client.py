"""Rewards over HTTP, without Ray: `python http_client.py [URL]`.

Start a service first (`reward-cluster serve --local`). If it requires a key, put the key into the
environment variable REWARD_API_KEY. For other languages, a running service documents its requests
at `/openapi.json`.
"""

import os
import sys

from cluster import Conversation, HttpClient, Score, rewards_of

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
CHATS: list[Conversation] = [
    ("What is 7 + 5?", "7 + 5 = 12"),
    ("What is 7 + 5?", "Bananas."),
    ("Hi", "Hello!"),  # a prompt or a whole chat may also be a list of messages
    [],  # cannot be scored: its result is an error
]


def main() -> None:
    with HttpClient(URL, os.environ.get("REWARD_API_KEY")) as client:
        served = client.model()
        results = client.score(CHATS)
    print(f"{served.model} at {served.revision}")
    for index, result in enumerate(results):
        print(index, result.reward if isinstance(result, Score) else f"no reward: {result}")
    print("lowest", min(rewards_of(results, failed=-100.0)))  # -100 for each error


if __name__ == "__main__":
    main()
