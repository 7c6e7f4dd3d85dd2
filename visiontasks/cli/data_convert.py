"""`visiontasks data convert`: the same data set in another format."""

from __future__ import annotations

from pathlib import Path

import click

from visiontasks.cli.data_input import data_options, open_named, split_option


@click.command("convert", short_help="The same data in another format.")
@data_options
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="New folder.")
@click.option("--to", required=True, metavar="FORMAT", help="Format to write; an unknown one lists them.")
@split_option
@click.option("--link", is_flag=True, help="Hard links to the pictures instead of copies.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier conversion.")
def convert(
    data: str,
    task: str | None,
    data_format: str | None,
    out: Path,
    to: str,
    splits: tuple[str, ...],
    link: bool,
    overwrite: bool,
) -> None:
    """Write DATA (a folder, file of labels, DATA.yaml or config) into a folder, in another format.

    Pictures are copied byte for byte; DATA is left as it is. What the format cannot carry is listed.

    \b
    visiontasks data convert shapes -o shapes-yolo --to yolo
    """
    from visiontasks.data import converting

    opened = open_named(data, task, data_format)
    done = converting.convert(opened, out, to, splits=splits, link=link, overwrite=overwrite)
    for line in done.ledger.summary():
        click.echo(line, err=True)
    counts = ", ".join(f"{split} {count}" for split, count in done.pictures.items())
    click.echo(f"{done.root}: {sum(done.pictures.values())} pictures ({counts})", err=True)
    click.echo(done.config)
