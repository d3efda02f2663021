"""Offline scoring, without Ray or a service: `python offline_scoring.py [MODEL]`."""

import sys

from cluster import EngineConfig, OfflineScorer, Score

PROMPT = "What is 7 + 5?"  # or a list of messages
RESPONSES = ["7 + 5 = 12", "7 + 5 = 13", "Bananas are yellow."]


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "tiny"  # built in, a folder, or a hub id
    scorer = OfflineScorer.load(EngineConfig(model=model, numerics="invariant"))
    print(scorer.info.model, scorer.info.revision, scorer.info.device)

    results = scorer.score([(PROMPT, response) for response in RESPONSES])
    for response, result in zip(RESPONSES, results, strict=True):
        print(f"{response!r}:", result.reward if isinstance(result, Score) else f"error: {result}")


if __name__ == "__main__":
    main()
