"""vLLM worker: scores lists of token ids in an interpreter of its own, and times it.

`bench engine --vllm PYTHON` runs it as a script, so it imports nothing of this project. A line on
stdin is the JSON of a list of lists of ids, or `reset` to empty the prefix cache. The first line on
stdout is {"version": ...}; then each list is answered with {"seconds": ..., "rewards": [...]}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


def main(checkpoint: str, max_tokens: int) -> None:
    """Answer until stdin is closed.  max_tokens: of the longest chat."""
    del sys.path[0]  # this folder: vLLM must not find its modules
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # run the engine in this process
    import vllm  # type: ignore[import-not-found, unused-ignore]
    from vllm.pooling_params import (  # type: ignore[import-not-found, unused-ignore]
        PoolingParams,
    )

    llm: Any = vllm.LLM(
        checkpoint,
        runner="pooling",
        convert="classify",
        dtype="bfloat16",
        enforce_eager=True,
        max_model_len=max_tokens,
        enable_prefix_caching=True,
    )
    params = PoolingParams(task="classify", use_activation=False)
    os.write(answers, json.dumps({"version": vllm.__version__}).encode() + b"\n")
    for line in sys.stdin:
        if line.strip() == "reset":
            llm.reset_prefix_cache()
            continue
        prompts = [vllm.TokensPrompt(prompt_token_ids=ids) for ids in json.loads(line)]
        started = time.perf_counter()
        outputs = llm.classify(prompts, pooling_params=params, use_tqdm=False)
        seconds = time.perf_counter() - started
        rewards = [float(o.outputs.probs[0]) for o in outputs]
        found = {"seconds": seconds, "rewards": rewards}
        os.write(answers, json.dumps(found).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
