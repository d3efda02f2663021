"""Hub reachability, checked once before loading, so that an unreachable hub costs only seconds.

The hub's own client tries each file six times within 24 seconds where nothing answers, and has no
setting for that. Where the hub does not answer, models are loaded from the local cache alone, and a
data set, which is read as it comes, is refused.
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Literal

ANSWER_S = 5.0
"""Seconds within which the hub must answer."""
VALID_S = 60.0
"""Seconds for which an answer holds: one load asks for many files."""

Kind = Literal["model", "dataset"]
FILES = {"model": "config.json", "dataset": "README.md"}
"""A file to ask for. It need not exist: the hub answers either way."""


def hub_problem(model: str, revision: str | None) -> str:
    """Why `model` cannot be requested from the hub; "" if it can, or if `model` is a local folder.

    A model that the hub does not know, or does not give to this user, is not such a problem: the
    load itself reports it.
    """
    from huggingface_hub import constants

    if Path(model).is_dir():
        return ""
    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable(model, revision)


def unreachable(name: str, revision: str | None = None, kind: Kind = "model") -> str:
    """Why the hub cannot be asked for `name`; "" if it answers, whatever it says. Asks even where
    HF_HUB_OFFLINE is set."""
    return _asked(name, revision or "main", kind, int(time.monotonic() // VALID_S))


def is_cached(model: str, revision: str | None) -> bool:
    """Whether this machine has the config of `model` from an earlier load."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(model, "config.json", revision=revision), str)
    except HFValidationError:
        return False


@lru_cache(maxsize=16)
def _asked(name: str, revision: str, kind: Kind, _period: int) -> str:
    from huggingface_hub import constants, get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        url = hf_hub_url(name, FILES[kind], repo_type=kind, revision=revision)
        get_hf_file_metadata(url, token=get_token(), timeout=ANSWER_S)
    except (HfHubHTTPError, HFValidationError):
        return ""
    except Exception as error:
        # Of whichever HTTP library the hub's client is built on.
        return f"the hub at {constants.ENDPOINT} cannot be reached: {error or type(error).__name__}"
    return ""
