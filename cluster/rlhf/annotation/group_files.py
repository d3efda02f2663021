"""Files of annotated rows to files that trainers read: best of n, and preference pairs.

Invariant: a file in which nothing is usable raises InvalidInput with the reasons, and leaves OUT
unchanged; a broken row is in the rejects and does not affect the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from cluster.data.groups import ResponseGroup, read_groups
from cluster.data.jsonl import to_json_line
from cluster.data.rejects import Rejects
from cluster.data.row_writer import row_writer
from cluster.errors import InvalidInput
from cluster.rlhf.annotation.best_of_n import Candidates, Picked, Selector, TopK, sft_chat
from cluster.rlhf.annotation.dpo_pairs import DropReason, PairRule, choose_pair, dpo_row


@dataclass(slots=True)
class SelectionReport:
    """Counts and sums of raw rewards: of all candidates, of each row's first, and of the kept."""

    n_rows: int = 0
    n_empty: int = 0
    n_all: int = 0
    n_kept: int = 0
    n_broken: int = 0
    all_: float = 0.0
    first: float = 0.0
    kept: float = 0.0

    def counted(
        self, groups: Iterable[ResponseGroup], allowed: Candidates
    ) -> Iterator[ResponseGroup]:
        """The groups reduced to their candidates, counted as they pass."""
        for group in map(allowed.of, groups):
            self.n_rows += 1
            self.n_all += len(group.responses)
            self.all_ += sum(response.reward for response in group.responses)
            if group.responses:
                self.first += group.responses[0].reward
                yield group
            else:
                self.n_empty += 1

    def keep(self, picked: Picked) -> None:
        """Count a selected response."""
        self.n_kept += 1
        self.kept += picked.response.reward

    def lines(self) -> Iterator[str]:
        """How much was kept, and how that changed the mean reward."""
        empty = f", {self.n_empty} rows without any candidate" if self.n_empty else ""
        yield f"kept {self.n_kept} of {self.n_all} responses of {self.n_rows} rows{empty}"
        if self.n_kept:
            first = self.first / (self.n_rows - self.n_empty)
            yield (
                f"mean reward: first of a row {first:.4f}, all {self.all_ / self.n_all:.4f}, "
                f"kept {self.kept / self.n_kept:.4f}"
            )


def best_of_n_file(
    source: str,
    out: Path,
    *,
    selector: Selector | None = None,
    candidates: Candidates | None = None,
    to_row: Callable[[Picked], dict[str, Any]] = sft_chat,
    rejects: Rejects | None = None,
) -> SelectionReport:
    """Write the responses of `source` that `selector` picks (the best of each row) to `out`.

    Raises InvalidInput where none is kept, and at the first broken row where `rejects` is strict.
    """
    report, broken = SelectionReport(), rejects or Rejects(None)
    with row_writer(out) as sink, broken:
        groups = report.counted(broken.keep_valid(read_groups(source)), candidates or Candidates())
        for picked in (selector or TopK()).pick(groups):
            sink.write(to_json_line(to_row(picked)))
            report.keep(picked)
        report.n_broken = broken.n
        if not report.n_kept:
            _nothing(source, "response is kept", [*report.lines()], broken)
    return report


@dataclass(slots=True)
class PairsReport:
    """dropped: rows without a pair, by reason. margin: the sum over the pairs."""

    n_pairs: int = 0
    n_broken: int = 0
    margin: float = 0.0
    dropped: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """How many rows became pairs, and why the others did not."""
        n_rows = self.n_pairs + self.dropped.total() + self.n_broken
        reasons = "".join(
            f", {self.dropped[why]} {why}" for why in get_args(DropReason) if self.dropped[why]
        )
        mean = f"; mean margin {self.margin / self.n_pairs:.4f}" if self.n_pairs else ""
        return f"{self.n_pairs} pairs of {n_rows} rows{reasons}, {self.n_broken} broken{mean}"


def dpo_pairs_file(
    source: str, out: Path, rule: PairRule | None = None, rejects: Rejects | None = None
) -> PairsReport:
    """Write one preference pair per row of `source` to `out`, as TRL's DPOTrainer reads them.

    Raises InvalidInput where there is none, and at the first broken row where `rejects` is strict.
    """
    report, broken = PairsReport(), rejects or Rejects(None)
    with row_writer(out) as sink, broken:
        for group in broken.keep_valid(read_groups(source)):
            pair = choose_pair(group, rule or PairRule())
            if isinstance(pair, str):
                report.dropped[pair] += 1
                continue
            sink.write(to_json_line(dpo_row(pair)))
            report.n_pairs += 1
            report.margin += pair.margin
        report.n_broken = broken.n
        if not report.n_pairs:
            _nothing(source, "pair", [report.line()], broken)
    return report


def _nothing(source: str, what: str, counts: list[str], broken: Rejects) -> None:
    told = "; ".join([*counts, *broken.lines()[:3]])
    raise InvalidInput(f"{source}: no {what}, so nothing is written ({told})")
