"""OpenRLHF's reward server, written anew as a baseline: one request at a time, queries padded.

It does what OpenRLHF's `serve_rm` does. The handler computes inside the event loop, so requests
wait for each other. Texts lose pad and EOS tokens at their ends and get one EOS; they are cut at
2048 tokens, padded on the left to the longest of the request, and run through transformers' own
forward in bfloat16. Run as `python -m cluster.bench.openrlhf_loop MODEL PORT THREADS`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

import httpx
import torch
from fastapi import FastAPI, Request

from cluster.bench.http_client import free_port, wait_until_answering

MAX_TOKENS = 2048


class PaddedRewardModel:
    """OpenRLHF's `get_reward` for the checkpoint in `folder`."""

    def __init__(self, folder: str) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        load: Any = AutoModelForSequenceClassification.from_pretrained
        self._model = load(folder, dtype=torch.bfloat16).eval()
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._tokenizer = tokenizer

    @torch.no_grad()
    def get_reward(self, queries: Sequence[str]) -> list[float]:
        """One reward per query."""
        pad, eos = self._tokenizer.pad_token, self._tokenizer.eos_token
        inputs = self._tokenizer(
            [query.strip(pad).strip(eos) + eos for query in queries],
            return_tensors="pt",
            max_length=MAX_TOKENS,
            padding=True,
            truncation=True,
        )
        mask = inputs["attention_mask"]
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        hidden = self._model.base_model(
            inputs["input_ids"], attention_mask=mask, position_ids=positions
        ).last_hidden_state
        rewards: list[float] = self._model.score(hidden)[:, -1, 0].tolist()
        return rewards


def build_app(model: PaddedRewardModel) -> FastAPI:
    """The HTTP app; as in OpenRLHF, the event loop stands still while the model computes."""
    app = FastAPI()

    async def get_reward(request: Request) -> dict[str, list[float]]:
        data = await request.json()
        return {"rewards": model.get_reward(data["query"])}

    app.add_api_route("/get_reward", get_reward, methods=["POST"], response_model=None)
    return app


@contextmanager
def openrlhf_server(folder: str, threads: int) -> Iterator[str]:
    """The server in a process of its own, on loopback; yields its URL.

    threads: of torch.  Raises TimeoutError if it does not answer.
    """
    port = free_port()
    process = Popen([sys.executable, "-m", __name__, folder, str(port), str(threads)])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_answering(lambda: httpx.post(f"{url}/get_reward", json={"query": ["x"]}))
        yield url
    finally:
        process.terminate()
        process.wait()


def main(folder: str, port: str, threads: str) -> None:
    import uvicorn

    torch.set_num_threads(int(threads))
    app = build_app(PaddedRewardModel(folder))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")


if __name__ == "__main__":
    main(*sys.argv[1:])
