"""`visiontasks models`: what is bundled and what can be had."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visiontasks.cli.options import json_option
from visiontasks.tasks import TASKS, load_task

if TYPE_CHECKING:
    from visiontasks.bundled import Notes
    from visiontasks.io.weights import ModelRecord


@click.command("models")
@json_option
def command(as_json: bool) -> None:
    """Bundled models with their measured figures, backbones, and official weights that can be downloaded."""
    from visiontasks import backbones
    from visiontasks.bundled import notes_of
    from visiontasks.io.download_sizes import DOWNLOAD_MB
    from visiontasks.io.weights import SHORT_NAMES, bundled_weights, read_record

    files = bundled_weights()
    records = {name: read_record(file) for name, file in files.items()}
    bundled = {name: (file, records[name], notes_of(records[name], file)) for name, file in files.items()}
    tasks = [load_task(task) for task in TASKS]
    short = {task.verb: {name: long[task.name] for name, long in SHORT_NAMES.items()} for task in tasks}
    downloads = {task.verb: tuple(task.official) for task in tasks}
    if as_json:
        content = {
            "bundled": {name: _content(*parts) for name, parts in bundled.items()},
            "backbones": backbones.names(),
            "torchvision_MB": {
                verb: {name: DOWNLOAD_MB[name] for name in names} for verb, names in downloads.items()
            },
            "short": short,
        }
        click.echo(json.dumps(content, indent=2))
        return
    if bundled:
        _show_table(bundled)
        click.echo(f"Cards, with figures by class and limits: {next(iter(files.values())).parent}/NAME.md")
    else:
        click.echo("Bundled models: none in this version; train one.")
    click.echo(f"Backbones (model.backbone, visiontasks inspect NAME):\n  {', '.join(backbones.names())}")
    click.echo("  timm/NAME, where that package is installed: pip install timm")
    click.echo("Official weights, downloaded when asked for by name (-w torchvision:NAME; in brackets MB):")
    for verb, names in downloads.items():
        click.echo(f"  {verb}: {', '.join(f'{name} ({DOWNLOAD_MB[name]:.0f})' for name in names)}")
    for verb, meanings in short.items():
        for name, long in meanings.items():
            click.echo(f"  {verb} -w {name} is short for {long}")


def _content(file: Path, record: ModelRecord, notes: Notes) -> dict[str, Any]:
    """All that is known of a bundled model."""
    from visiontasks.bundled import headline, megabytes

    split, metric, value = headline(record, notes)
    return {
        "task": record.task,
        "verb": load_task(record.task).verb,
        "headline": {"split": split, "metric": metric, "value": value},
        "file": str(file),
        "MB": megabytes(file),
        "card": str(file.with_suffix(".md")),
        "input": record.input,
        "options": record.options,
        "classes": list(record.classes),
        **notes.model_dump(mode="json"),
    }


def _show_table(bundled: Mapping[str, tuple[Path, ModelRecord, Notes]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from visiontasks.bundled import DEFAULTS, headline, megabytes

    table = Table(title="Bundled models (-w NAME; * without -w)", title_justify="left", box=None)
    table.padding = (0, 1, 0, 0)
    for column in ("name", "verb"):
        table.add_column(column, no_wrap=True)
    for column in ("classes", "figure", "MB", "M par."):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("data and its terms", overflow="fold", min_width=17)
    for name, (file, record, notes) in bundled.items():
        split, metric, value = headline(record, notes)
        cells: Sequence[str] = (
            f"{name}{' *' if DEFAULTS[record.task] == name else ''}",
            load_task(record.task).verb,
            str(len(record.classes)),
            f"{metric} {'undefined' if value is None else f'{value:.3f}'} ({split})",
            f"{megabytes(file):.1f}",
            f"{notes.parameters / 1e6:.1f}",
            f"{notes.data_name}: {notes.licence}",
        )
        table.add_row(*(Text(cell) for cell in cells))
    Console(highlight=False).print(table)
