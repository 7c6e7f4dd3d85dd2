"""`visiontasks data check`: what is wrong or suspicious in a data set."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from visiontasks.cli.data_input import data_options, guard_data, open_named
from visiontasks.cli.options import Share, json_option

WIDTH = 100  # columns of a report that goes to a file


@click.command("check", short_help="What is wrong with a data set.")
@data_options
@click.option("--quick", is_flag=True, help="Labels and headers only: decode no picture, find no copies.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="JSON file for the whole report.")
@json_option
@click.option(
    "--max-skip",
    default=0.01,
    show_default=True,
    type=Share(0, 1),
    help="Largest share of pictures that may be unusable.",
)
def check(
    data: str,
    task: str | None,
    data_format: str | None,
    quick: bool,
    out: Path | None,
    as_json: bool,
    max_skip: float,
) -> None:
    """Look for what is wrong in DATA: a folder, a file of labels, a DATA.yaml or a run's config.

    \b
    visiontasks data check photos/
    visiontasks data check annotations/instances_train.json --quick
    visiontasks data check my.yaml -o report.json

    A DATA.yaml is the data: section of a config; `visiontasks train --help` lists its keys.

    Exit code 1 when there is an error: something that training refuses. A warning is likely wrong, or is
    skipped, dropped or repaired; a note explains.
    """
    from rich.console import Console
    from rich.progress import Progress

    from visiontasks.data.check import check as check_data
    from visiontasks.data.report import print_report
    from visiontasks.io.files import write_json

    opened = open_named(data, task, data_format)
    if out is not None:
        guard_data(opened, data, out)
    total = sum(map(len, opened.sources.values()))
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        pictures = bar.add_task("pictures", total=total)
        report = check_data(
            opened, quick=quick, max_skip=max_skip, advance=lambda n: bar.advance(pictures, n)
        )
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
        print_report(report, console)
    if out is not None:
        write_json(out, report.as_json())
    sys.exit(1 if report.counts["error"] else 0)
