"""Files of generated preference pairs."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.rlhf.synthetic.preferences import Split, groups, of_each


def write_pairs(path: Path, split: Split, of_each_kind: int) -> str:
    """All pairs of `of_each_kind` groups of every kind, in `chosen` + `rejected` rows."""
    rows = [
        {
            "prompt": list(group.prompt),
            "chosen": group.responses[better],
            "rejected": group.responses[worse],
        }
        for group in groups(split, of_each(of_each_kind), 0)
        for better, worse in group.pairs()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
