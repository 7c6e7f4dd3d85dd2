"""What `dream` and `stylize` share: the folder of the results, what is written there, how a stop ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visiontasks.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from visiontasks.explaining.dream import Grown

PREVIEW = "preview.png"  # in the folder of the results, until they are there


def result_folder(verb: str, out: Path | None, inputs: Sequence[Path]) -> Path:
    """OUT, or the next free runs/<verb>/NNN; made. Raises: UsageError where inputs or other files lie."""
    from visiontasks.engine.results import make_result_folder, next_free_folder

    folder = out or next_free_folder(Path("runs") / verb)
    if folder.resolve() in (path.resolve().parent for path in inputs):
        raise UsageError(f"the results' folder {folder} holds an input; choose another with -o")
    make_result_folder(folder)
    return folder


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
        click.echo((folder / f"{verb}.json").read_text(encoding="utf-8"), nl=False)
    click.echo(f"{line}; {picture}", err=as_json)
    if grown.stopped:
        raise Interrupted(grown.stopped, f"{verb} stopped after {taken} of {grown.steps} steps")
