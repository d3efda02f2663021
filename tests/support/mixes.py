"""Random mixes of sequences as an engine meets them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from cluster.types import Encoding


@st.composite
def encoding_mixes(draw: st.DrawFn, max_id: int = 300) -> list[Encoding]:
    """Groups under shared prompts, duplicates, prefixes of one another and loners, shuffled."""
    seed = draw(st.integers(0, 2**32 - 1))
    n_prompts = draw(st.integers(1, 3))
    longest = draw(st.sampled_from([3, 20, 90]))
    rng = np.random.default_rng(seed)
    mix: list[Encoding] = []
    for _ in range(n_prompts):
        prompt = rng.integers(0, max_id, rng.integers(1, longest + 1), dtype=np.int32)
        for _ in range(int(rng.integers(1, 5))):
            response = rng.integers(0, max_id, rng.integers(1, longest + 1), dtype=np.int32)
            split = len(prompt) if rng.random() < 0.8 else 0
            mix.append(Encoding(np.concatenate([prompt, response]), split))
        mix.append(Encoding(prompt, 0))
    mix.append(mix[int(rng.integers(len(mix)))])
    return [mix[i] for i in rng.permutation(len(mix))]
