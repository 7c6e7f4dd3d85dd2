"""A share as a command-line value."""

from __future__ import annotations

import math
from typing import Any

import click


class Share(click.FloatRange):
    """A number in a range; `nan`, which compares with nothing, is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number
