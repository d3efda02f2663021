"""The Serve config file of `serve --local` with every key of `args` written out and explained."""

from __future__ import annotations

import re

import yaml

from cluster.config import ClusterConfig
from cluster.settings.files import packaged
from cluster.settings.parsing import parse_config
from cluster.settings.text import commented_yaml

_ARGS = re.compile(r"(?m)^( *)args:\n(?:\1 +.*\n)+")
"""The block `args:` of a Serve file with one application."""


def default_file() -> str:
    """A file that `reward-cluster serve` takes; it serves what `serve --local` serves."""
    text = packaged("serve_local.yaml").read_text()
    found = _ARGS.search(text)
    assert found is not None
    args = yaml.safe_load(found[0])["args"]
    indent = len(found[1])
    every_key = commented_yaml(ClusterConfig, parse_config(ClusterConfig, args), indent + 2)
    return text.replace(found[0], f"{found[1]}args:\n{every_key}")
