"""Run manifest: what a folder of results was made from, so that no run is continued as another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.data.jsonl import atomic_writer
from cluster.errors import ConfigError

NAME = "made_from.json"


def claim(folder: Path, made_from: Mapping[str, Any], instead: str = "give another folder") -> None:
    """Claim `folder` for results of `made_from`, JSON values.

    instead: what a user can do instead of resuming. Raises ConfigError, naming what differs, if the
    folder holds results of something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    wanted = json.loads(json.dumps(dict(made_from)))
    if path.exists():
        found = json.loads(path.read_text())
        other = sorted(key for key in found | wanted if found.get(key) != wanted.get(key))
        if other:
            raise ConfigError(
                f"{folder} holds a run with another {', '.join(other)} (see {path}); give the "
                f"same again to resume it, or {instead}"
            )
    with atomic_writer(path) as out:
        out.write(json.dumps(wanted, indent=1, sort_keys=True) + "\n")
