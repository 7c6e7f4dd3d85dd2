"""What the commands on data sets share: how one is named and opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from visiontasks.errors import DataError, UsageError

if TYPE_CHECKING:
    from visiontasks.data.opening import OpenedData

F = TypeVar("F", bound=Callable[..., Any])


def data_options(function: F) -> F:
    """DATA, and what says how to read it."""
    options = (
        click.argument("data", metavar="DATA"),
        click.option(
            "--task",
            metavar="[classify|detect|segment]",
            help="What DATA is labelled for. [default: by what is found]",
        ),
        click.option(
            "--format",
            "data_format",
            metavar="FORMAT",
            help="Format of DATA; an unknown one lists them. [default: by what is found]",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def split_option(function: F) -> F:
    """Which splits."""
    splits = click.Choice(["train", "val", "test"])
    return click.option("--split", "splits", multiple=True, type=splits, help="Only these. [default: all]")(
        function
    )


def open_named(data: str, task: str | None, data_format: str | None) -> OpenedData:
    """Open a data set as a user named it, and say on stderr what it was taken for.

    Raises: those of `open_data`; UsageError for a data set without splits.
    """
    from visiontasks.data.opening import open_data
    from visiontasks.tasks import TASKS, load_task

    opened = open_data(data, [load_task(name) for name in TASKS], task=task, data_format=data_format)
    if not opened.ledgers:
        raise UsageError(f"{data}: expected train, val or test, found none of them; say where one lies")
    click.echo(opened.how, err=True)
    return opened


def guard_data(opened: OpenedData, named: str, path: Path) -> None:
    """Keep a command from writing over a file of the data set that it was given.

    Raises: UsageError where `path` is what the user named the data by, or a file that exists in its root.
    """
    from visiontasks.io.location import data_root

    try:
        root = data_root(opened.config.root).resolve()
    except DataError:
        root = Path(named).resolve()
    if path.exists() and (path.samefile(named) or path.resolve().is_relative_to(root)):
        raise UsageError(f"expected a file apart from the data in {root}, found {path}; choose another")


def tell_faults(opened: OpenedData) -> None:
    """Say on stderr that what follows is about a part of the data, where records were left out."""
    for split, ledger in opened.ledgers.items():
        if ledger.num_faults:
            faults = "1 fault is" if ledger.num_faults == 1 else f"{ledger.num_faults:,} faults are"
            click.echo(f"{split}: {faults} left out; visiontasks data check lists them", err=True)
