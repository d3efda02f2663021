"""Random mixes of sequences as an engine meets them: none of their ids is the pad id."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from cluster.types import Encoding, TokenIds

PAD_ID = 5
"""`[PAD]` of the embedded model's tokenizer. transformers pools the last token that is not this,
the engine the last token, so on a mix that ends in it the two rightly differ."""


@st.composite
def encoding_mixes(draw: st.DrawFn, max_id: int = 300) -> list[Encoding]:
    """Groups under shared prompts, duplicates, prefixes of one another and loners, shuffled."""
    seed = draw(st.integers(0, 2**32 - 1))
    n_prompts = draw(st.integers(1, 3))
    longest = draw(st.sampled_from([3, 20, 90]))
    rng = np.random.default_rng(seed)
    ids = np.setdiff1d(np.arange(max_id, dtype=np.int32), [PAD_ID])

    def some_ids() -> TokenIds:
        return rng.choice(ids, rng.integers(1, longest + 1))

    mix: list[Encoding] = []
    for _ in range(n_prompts):
        prompt = some_ids()
        for _ in range(int(rng.integers(1, 5))):
            response = some_ids()
            split = len(prompt) if rng.random() < 0.8 else 0
            mix.append(Encoding(np.concatenate([prompt, response]), split))
        mix.append(Encoding(prompt, 0))
    mix.append(mix[int(rng.integers(len(mix)))])
    return [mix[i] for i in rng.permutation(len(mix))]
