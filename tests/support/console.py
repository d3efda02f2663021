"""What tests of the console share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

KEY = "open-sesame"

Serving = Callable[[], AbstractContextManager[None]]
"""`with serving():` the service is there."""
