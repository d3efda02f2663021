"""Doctor: the checks of a target, and what to type next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cluster.config import EngineConfig
from cluster.doctor.check import Check
from cluster.doctor.machine import machine_checks
from cluster.doctor.model import model_checks
from cluster.doctor.service import app_checks, url_checks
from cluster.engine.checkpoint import EMBEDDED

_HOST_AND_PORT = re.compile(r"[^/\s]+:\d+")


def kind(target: str) -> str:
    """`url`, `model` or `app`: a URL has :// or is host:port, a model is built in, a folder or
    owner/name."""
    if "://" in target or _HOST_AND_PORT.fullmatch(target):
        return "url"
    if target in EMBEDDED or "/" in target or Path(target).is_dir():
        return "model"
    return "app"


def examine(target: str, config: EngineConfig, key: str | None = None) -> Iterator[Check]:
    """The checks of a target, each as it is done. config: for a model; its `model` is the
    target."""
    what = kind(target)
    if what == "url":
        yield from url_checks(target, key)
    elif what == "app":
        yield from app_checks(target)
    else:
        yield from machine_checks()
        yield from model_checks(config)


def next_line(target: str, failed: bool) -> str:
    """What to type next; "" if the problems say it themselves."""
    if failed:
        return ""
    return {
        "url": f"HttpClient({target!r}).score(chats), or REWARD_CLUSTER_URL={target} for a trainer",
        "app": f"connect({target!r}), or REWARD_CLUSTER_APP={target} for a trainer",
        "model": f"reward-cluster verify --model {target}",
    }[kind(target)]
