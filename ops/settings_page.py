"""A hook of mkdocs: puts a table of every key in place of `<!-- settings: NAME -->`.

NAME is a name of `reward-cluster config`. The tables are made from the config classes when the site
is built, so that no text of a setting stands twice.
"""

from __future__ import annotations

import re
from typing import Any

from cluster.cli.config import config_class
from cluster.settings.text import markdown_table

MARKER = re.compile(r"<!-- settings: ([a-z-]+)(?: without ([a-z.]+))? -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """`markdown` with its tables."""
    return MARKER.sub(lambda m: markdown_table(config_class(m[1]), without=m[2]), markdown)
