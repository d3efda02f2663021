"""Token total of a call, bounded: more is refused while it is counted, before ids are built."""

from __future__ import annotations

from collections.abc import Callable

from cluster.errors import TooLong


def bounded_count(max_total_tokens: int | None) -> Callable[[int], None]:
    """Adds up the tokens it is called with. Raises TooLong beyond the bound."""
    total = 0

    def count(n_tokens: int) -> None:
        nonlocal total
        total += n_tokens
        if max_total_tokens is not None and total > max_total_tokens:
            raise TooLong(
                f"the conversations have more than {max_total_tokens} tokens in all, a shared "
                "prompt counted for each of its responses; split the call"
            )

    return count
