"""`visiontasks data`: make and look after data sets."""

from __future__ import annotations

from pathlib import Path

import click

from visiontasks.cli.data_check import check
from visiontasks.cli.data_convert import convert
from visiontasks.cli.data_show import show
from visiontasks.cli.data_split import split
from visiontasks.cli.data_stats import stats

NOUNS = {"classify": "classification", "detect": "detection", "segment": "segmentation"}


@click.group("data")
def command() -> None:
    """Make and look after data sets.

    \b
    visiontasks data check photos/              what is wrong with it?
    visiontasks data show photos/               its pictures with their labels
    visiontasks data split photos/ -o lists     train, val and test without a picture in two of them
    visiontasks data sample shapes              draw a small one

    DATA is a folder, a file of labels, a DATA.yaml (the data: section of a config) or a config.
    """


@command.command("sample", short_help="Draw a small data set to train on.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--task", default="classify", show_default=True, type=click.Choice(list(NOUNS)), help="What to label."
)
@click.option("--n", default=200, show_default=True, type=click.IntRange(18), help="Number of pictures.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="The same seed draws the same."
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier drawn data set.")
def sample(out: Path, task: str, n: int, seed: int, overwrite: bool) -> None:
    """Draw a small data set into OUT: shapes on textured grounds, with labels, boxes or masks.

    \b
    visiontasks data sample shapes --task classify --n 600
    visiontasks train shapes/classification.yaml
    """
    from visiontasks.data.shapes import draw_shapes

    drawn = draw_shapes(out, NOUNS[task], n, seed, overwrite=overwrite)
    counts = ", ".join(f"{split} {count}" for split, count in drawn.counts.items())
    click.echo(
        f"{drawn.root}: {sum(drawn.counts.values())} pictures ({counts}), {len(drawn.classes)} classes",
        err=True,
    )
    click.echo(f"now: visiontasks train {drawn.config}", err=True)
    click.echo(drawn.root)


for verb in (check, show, stats, convert, split):
    command.add_command(verb)
