"""Rewards over HTTP, without Ray: `python http_client.py [URL]`.

Start a service first (`reward-cluster serve --local`). A service with keys reads the key from the
header; here it comes from REWARD_API_KEY.
"""

import os
import sys

import httpx

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
KEY = os.environ.get("REWARD_API_KEY")
RETRY = (429, 503)  # full, or starting: the answer says in Retry-After how long to wait

CONVERSATIONS = [
    {"prompt": "What is 7 + 5?", "responses": ["7 + 5 = 12", "7 + 5 = 13", "Bananas."]},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]},
    {"messages": []},  # cannot be scored: answered with an error in its place
]


def main() -> None:
    headers = {"Authorization": f"Bearer {KEY}"} if KEY else {}
    with httpx.Client(base_url=URL, headers=headers, timeout=330) as client:
        answer = client.post("/v1/score", json={"conversations": CONVERSATIONS})
    if answer.status_code in RETRY:
        sys.exit(f"ask again in {answer.headers.get('Retry-After', '1')} s")
    answer.raise_for_status()
    body = answer.json()
    print(f"{body['model']} at {body['revision']}")
    for result in body["results"]:
        place = (result["item"], result.get("response"))
        print(place, result.get("reward", result.get("error", {}).get("message")))


if __name__ == "__main__":
    main()
