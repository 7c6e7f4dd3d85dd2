"""What `dream` and `stylize` share: what is written into the folder of the results, how a stop ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visiontasks.cli.options import echo_file
from visiontasks.errors import Interrupted

if TYPE_CHECKING:
    from visiontasks.explaining.dream import Grown

PREVIEW = "preview.png"  # in the folder of the results, until they are there


def finish(
    verb: str, folder: Path, about: Mapping[str, Any], grown: Grown, line: str, *, as_json: bool
) -> None:
    """Write <verb>.png and <verb>.json, and print the line.

    Args:
        about: the files and the model, first in the JSON. line: what was done, for the terminal.

    Raises: Interrupted, with everything written, where a signal stopped it.
    """
    from visiontasks.io.files import remove_quietly, write_atomic, write_json
    from visiontasks.io.images import encode

    picture = folder / f"{verb}.png"
    write_atomic(picture, encode(grown.image, ".png"))
    taken = min(map(len, grown.curves.values())) - 1
    record = {
        **about,
        **grown.settings,
        "steps_taken": taken,
        "curves": {name: list(values) for name, values in grown.curves.items()},
        "picture": picture.name,
    }
    write_json(folder / f"{verb}.json", record)
    remove_quietly(folder / PREVIEW)
    if as_json:
        echo_file(folder / f"{verb}.json")
    click.echo(f"{line}; {picture}", err=as_json)
    if grown.stopped:
        raise Interrupted(grown.stopped, f"{verb} stopped after {taken} of {grown.steps} steps")
