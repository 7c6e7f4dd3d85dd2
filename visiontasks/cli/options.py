"""Options that several commands have, and a share as a command-line value."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource


class Share(click.FloatRange):
    """A number in a range; `nan`, which compares with nothing, is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


LARGEST_SIDE = 30_000  # px, of a picture that is made
SEED = click.IntRange(0, 2**63 - 1)

device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
)
precision_option = click.option(
    "--precision", default="auto", show_default=True, help="auto, fp32, bf16 or fp16."
)
max_pixels_option = click.option(
    "--max-pixels", default=100_000_000, show_default=True, help="A larger picture is refused."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on stdout.")


def is_given(parameter: str) -> bool:
    """Whether a parameter of the running command was typed."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is ParameterSource.COMMANDLINE


def echo_file(file: Path) -> None:
    """Print a JSON file that was written, for --json."""
    click.echo(file.read_text(encoding="utf-8"), nl=False)
