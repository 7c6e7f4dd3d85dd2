"""`visiontasks data show`: a contact sheet of pictures with their labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visiontasks.cli.data_input import data_options, guard_data, open_named, tell_faults
from visiontasks.errors import DataError, UsageError, unknown_name
from visiontasks.ledger import Ledger

if TYPE_CHECKING:
    from visiontasks.data.opening import OpenedData
    from visiontasks.data.sheets import Sheet
    from visiontasks.types import Source


@click.command("show", short_help="Pictures with their labels, on one sheet.")
@data_options
@click.option("-o", "--out", type=click.Path(path_type=Path), help="PNG. [default: runs/data/NNN/sheet.png]")
@click.option(
    "--split",
    metavar="[train|val|test]",
    help="Only this one. [default: the first there is; with --only all]",
)
@click.option("--n", default=16, show_default=True, type=click.IntRange(1, 400), help="Number of pictures.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Which pictures.")
@click.option("--columns", type=click.IntRange(1), help="Pictures a row. [default: about a square]")
@click.option("--class", "class_name", metavar="NAME", help="Only pictures that show this class.")
@click.option("--as-trained", is_flag=True, help="As the network sees them; DATA is a config for train.")
@click.option("--only", metavar="FINDING", help="Only pictures with this finding of `data check`.")
def show(
    data: str,
    task: str | None,
    data_format: str | None,
    out: Path | None,
    split: str | None,
    n: int,
    seed: int,
    columns: int | None,
    class_name: str | None,
    as_trained: bool,
    only: str | None,
) -> None:
    """Draw pictures of DATA (a folder, file of labels, DATA.yaml or config) with their labels on one sheet.

    The pictures are chosen by the seed so that each class has its turn.

    \b
    visiontasks data show shapes -o sheet.png
    visiontasks data show configs/detection/bccd_faster_rcnn.yaml --as-trained
    visiontasks data show shapes --only box-outside
    """
    from visiontasks.engine.results import next_free_folder
    from visiontasks.io.files import write_atomic
    from visiontasks.io.images import encode

    if only is not None and (as_trained or class_name is not None):
        raise UsageError("expected --only without --as-trained and --class, found both; leave one out")
    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"expected -o to name a .png file, found '{out}'")
    opened = open_named(data, task, data_format)
    if out is not None:
        guard_data(opened, data, out)
    tell_faults(opened)
    if split is not None and split not in opened.ledgers:
        raise UsageError(unknown_name("split", split, opened.ledgers))
    if only is not None:
        sheet = _show_findings(opened, only, split, n, columns)
    else:
        sheet = _show_pictures(
            opened, split or next(iter(opened.ledgers)), n, seed, columns, class_name, as_trained
        )
    for fault in sheet.faults:
        click.echo(f"not shown: {fault}", err=True)
    if sheet.image is None:
        raise DataError(
            f"expected pictures to show, found {len(sheet.faults)} that can't be read; "
            "visiontasks data check lists why"
        )
    path = out or next_free_folder(Path("runs") / "data") / "sheet.png"
    write_atomic(path, encode(sheet.image, ".png"))
    click.echo(f"{sheet.shown} picture{'s' * (sheet.shown != 1)}", err=True)
    click.echo(path)


def _show_pictures(
    opened: OpenedData,
    split: str,
    n: int,
    seed: int,
    columns: int | None,
    class_name: str | None,
    as_trained: bool,
) -> Sheet:
    from visiontasks.data.sheets import choose, draw_as_trained, draw_pictures

    source = _training_pictures(opened, split) if as_trained else _pictures(opened, split)
    if class_name is not None and class_name not in source.classes.names:
        raise UsageError(unknown_name("class", class_name, source.classes.names))
    label = None if class_name is None else source.classes.index(class_name)
    chosen = choose(opened.task.data.count(source), source.files, n, seed, label).tolist()
    if as_trained:
        return draw_as_trained(opened.task, opened.run, source, chosen, seed, columns)
    return draw_pictures(opened.task, source, chosen, columns)


def _pictures(opened: OpenedData, split: str) -> Source[Any]:
    if split in opened.failed:
        raise opened.failed[split]
    return opened.sources[split]


def _training_pictures(opened: OpenedData, split: str) -> Source[Any]:
    """As `train` opens them: boxes clipped, a part held out."""
    if opened.run is None:
        raise UsageError(
            "expected a config that `train` takes for --as-trained, found data alone; name the config"
        )
    if split != "train":
        raise UsageError(f"expected the training split for --as-trained, found --split {split}; leave it out")
    source: Source[Any] = opened.task.open_source(opened.run.data, "train", Ledger(), None)
    return source


def _show_findings(opened: OpenedData, only: str, split: str | None, n: int, columns: int | None) -> Sheet:
    from visiontasks.data.check import check
    from visiontasks.data.sheets import draw_findings

    found = [finding for finding in check(opened, quick=False).findings if split in (None, finding.split)]
    kinds = Counter(finding.kind for finding in found)
    if only not in kinds:
        there = ", ".join(f"{kind} ({count})" for kind, count in kinds.items()) or "none at all"
        raise UsageError(f"expected pictures with the finding '{only}', found: {there}")
    about = [finding for finding in found if finding.kind == only and finding.picture]
    if not about:
        raise UsageError(f"expected a finding about pictures, found '{only}'; `data check` says what it is")
    return draw_findings(opened, about, n, columns)
