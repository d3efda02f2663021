"""Types of configuration fields with their bounds, checked by `parse_config`."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Interval, MinLen

Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, lt=1)]
"""From 0 to less than 1."""
Discount = Annotated[float, Interval(ge=0, le=1)]
Text = Annotated[str, MinLen(1)]
