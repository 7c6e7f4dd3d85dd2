"""`visiontasks data split`: divide a data set anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from visiontasks.cli.data_input import data_options, open_named

if TYPE_CHECKING:
    from visiontasks.data.splitting import Division

MOST_CLASSES = 30  # that the report shows


@click.command("split", short_help="Divide into train, val and test, as lists.")
@data_options
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the lists.")
@click.option(
    "--ratios", default="train=0.8,val=0.1,test=0.1", show_default=True, help="Shares; their sum is 1."
)
@click.option(
    "--group",
    metavar="REGEX",
    help="What its first group (else all of it) finds in paths, a video's name say, holds pictures together.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Another one divides anew."
)
@click.option(
    "--stratify/--no-stratify", default=True, show_default=True, help="Each part has its share of classes."
)
@click.option(
    "--near-duplicates/--ignore-near-duplicates",
    "keep_alike",
    default=True,
    show_default=True,
    help="Pictures that look the same stay together (all are read).",
)
@click.option("--overwrite", is_flag=True, help="Replace earlier lists in OUT.")
def split(
    data: str,
    task: str | None,
    data_format: str | None,
    out: Path,
    ratios: str,
    group: str | None,
    seed: int,
    stratify: bool,
    keep_alike: bool,
    overwrite: bool,
) -> None:
    """Divide all pictures of DATA into train, val and test, as lists; nothing is moved or copied.

    \b
    visiontasks data split photos/ -o parts --ratios train=0.8,val=0.2
    visiontasks data split camvid.yaml -o parts --group '([^/]+)_'
    """
    from visiontasks.data.splitting import parse_ratios, split_data

    shares = parse_ratios(ratios)
    opened = open_named(data, task, data_format)
    if keep_alike:
        click.echo("looking for pictures that look the same", err=True)
    division = split_data(
        opened,
        out,
        shares,
        group=group,
        seed=seed,
        stratify=stratify,
        keep_alike=keep_alike,
        overwrite=overwrite,
    )
    _report(division, opened.task.data.counted)
    for written in division.written:
        click.echo(written)


def _report(division: Division, counted: str) -> None:
    """How many pictures and how much of each class a part has; of many classes those furthest off."""
    total = sum(division.pictures.values())
    if division.num_groups < total:
        click.echo(f"{total} pictures in {division.num_groups} groups that stay together", err=True)
    if division.unmatched:
        click.echo(
            f"{division.unmatched} pictures do not match --group: each is a group of its own", err=True
        )
    parts = division.pictures.values()
    off = {
        name: max(
            abs(int(n) / max(int(held.sum()), 1) - part / total) for n, part in zip(held, parts, strict=True)
        )
        for name, held in division.classes.items()
    }
    shown = sorted(off, key=lambda name: -off[name])[:MOST_CLASSES] if len(off) > MOST_CLASSES else list(off)
    width = max(map(len, ["pictures", *shown]))
    rows = [("pictures", list(parts)), *((name, division.classes[name].tolist()) for name in shown)]
    digits = max(len(f"{sum(row):,}") for _, row in rows)
    heads = "".join(f"  {part:>{digits + 7}}" for part in division.pictures)
    click.echo(f"{'':<{width}}  {'all':>{digits}}{heads}", err=True)
    for name, row in rows:
        cells = "".join(f"  {n:>{digits},} {n / max(sum(row), 1):>6.1%}" for n in row)
        click.echo(f"{name:<{width}}  {sum(row):>{digits},}{cells}", err=True)
    elided = f"; of {len(off)} classes those whose shares differ most" if len(off) > len(shown) else ""
    click.echo(f"(a class is counted in {counted}{elided})", err=True)
