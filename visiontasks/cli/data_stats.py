"""`visiontasks data stats`: how much of what a data set has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from visiontasks.cli.data_input import data_options, open_named, split_option, tell_faults
from visiontasks.cli.options import json_option
from visiontasks.errors import one_line

if TYPE_CHECKING:
    from rich.table import Table

    from visiontasks.data.stats import SplitStatistics

WIDTH: Final = 100  # of tables that go elsewhere than to a terminal
CLASSES: Final = 30  # rows of the table of classes
ROWS: Final = 12  # of a task's tables


@click.command("stats", short_help="Counts, sizes, classes; what a config may say.")
@data_options
@split_option
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of stats.json and stats.png. [default: runs/data/NNN]",
)
@json_option
def stats(
    data: str,
    task: str | None,
    data_format: str | None,
    splits: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Pictures, sizes, classes and labels of DATA (a folder, file of labels, DATA.yaml or config).

    Suggests what a config may say: anchors, the size of the input, weights of classes.

    \b
    visiontasks data stats shapes
    """
    from visiontasks.data.stats import measure, plot, to_json
    from visiontasks.engine.results import next_free_folder
    from visiontasks.io.files import write_atomic, write_json

    opened = open_named(data, task, data_format)
    tell_faults(opened)
    measured = measure(opened, splits)
    counted = opened.task.data.counted
    content = to_json(opened, measured)
    folder = out or next_free_folder(Path("runs") / "data")
    write_json(folder / "stats.json", content)
    write_atomic(folder / "stats.png", plot(measured, counted))
    if as_json:
        click.echo(json.dumps(content))
    else:
        _print(measured, counted)
    click.echo(f"{folder / 'stats.json'}, {folder / 'stats.png'}", err=True)


def _print(measured: Mapping[str, SplitStatistics], counted: str) -> None:
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else WIDTH, highlight=False)
    console.print(_overview(measured, counted))
    console.print(_classes(measured, counted))
    first, one = next(iter(measured.items()))
    for title, rows in one.task.tables.items():
        if rows and not rows[0].keys() <= {"class", "pictures", counted, "share"}:  # shown already
            console.print(_task_table(f"{title} ({first})", rows))
    if one.task.suggestions:
        click.echo(f"suggested for a config, by {first}:")
        for key, value in one.task.suggestions.items():
            click.echo(f"  {key}: {json.dumps(value, ensure_ascii=False)}")


def _table(title: str, columns: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _add(table: Table, cells: Sequence[str]) -> None:
    """A row whose cells are shown as they are: names of classes may look like rich's markup."""
    from rich.text import Text

    table.add_row(*(Text(one_line(cell)) for cell in cells))


def _overview(measured: Mapping[str, SplitStatistics], counted: str) -> Table:
    from visiontasks.data.stats import aspect_ratios

    labels = [] if counted != "boxes" else ["boxes", "a picture"]
    table = _table("", ["split", "pictures", *labels, "width", "height", "width / height"])
    for split, one in measured.items():
        total = int(one.labels.sum())
        numbers = [f"{total:,}", f"{total / max(1, one.total):.1f}"] if labels else []
        height, width = (_range(one.sizes[:, side]) for side in (0, 1))
        unreadable = f" ({one.unreadable:,} unreadable)" if one.unreadable else ""
        pictures = f"{one.total:,}{unreadable}"
        _add(table, [split, pictures, *numbers, width, height, _range(aspect_ratios(one.sizes), ".2f")])
    return table


def _range(values: Any, form: str = ".0f") -> str:
    """`320 .. 640 .. 1024`: least, median, largest; one number where they agree."""
    import numpy as np

    if not len(values):
        return ""
    texts = [format(value, form) for value in np.quantile(values, [0, 0.5, 1]).tolist()]
    return texts[0] if len(set(texts)) == 1 else " .. ".join(texts)


def _classes(measured: Mapping[str, SplitStatistics], counted: str) -> Table:
    """A row a class, in their order; of very many only the most and the least frequent ones."""
    from visiontasks.data.stats import class_rows

    columns = ["pictures", *(["boxes"] if counted == "boxes" else []), "share"]
    heads = [
        f"{'' if number else split}\n{column}" for split in measured for number, column in enumerate(columns)
    ]
    table = _table("", ["\nclass", *heads])
    totals = {split: max(1, int(one.labels.sum())) for split, one in measured.items()}
    found: dict[str, dict[str, dict[str, Any]]] = {}  # class -> split -> row
    for split, one in measured.items():
        for row in class_rows(one, counted):
            found.setdefault(row["class"], {})[split] = {
                **row,
                "share": f"{100 * row[counted] / totals[split]:.1f}%",
            }
    names = list(found)
    if len(names) > CLASSES:
        names.sort(key=lambda name: -sum(row[counted] for row in found[name].values()))
    cells = [
        [
            name,
            *(_cell(found[name].get(split, {}).get(column, "-")) for split in measured for column in columns),
        ]
        for name in names
    ]
    half = CLASSES // 2
    left_out = len(cells) - 2 * half
    shown = cells if len(cells) <= CLASSES else [*cells[:half], [f"... {left_out} more"], *cells[-half:]]
    for texts in shown:
        _add(table, texts)
    return table


def _task_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(title, list(rows[0]))
    for row in rows[:ROWS]:
        first, *others = map(_cell, row.values())
        _add(table, [first or "all", *others])
    if len(rows) > ROWS:
        _add(table, [f"... {len(rows) - ROWS} more"])
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
