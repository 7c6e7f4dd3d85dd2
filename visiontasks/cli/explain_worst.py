"""`visiontasks explain --worst N`: the errors of a model on a data set that cost most, on a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from visiontasks.cli.explain_network import METHODS as NETWORK_METHODS
from visiontasks.cli.options import Share, echo_file
from visiontasks.errors import UsageError, number_of

if TYPE_CHECKING:
    from visiontasks.explain.worst import Worst

F = TypeVar("F", bound=Callable[..., Any])

OF_DATA: Final = ("data", "split", "batch_size", "workers", "max_skip", "max_images")
OF_MAPS: Final = ("method", "layer", "steps", "patch", "stride")  # of each error's maps
MOST: Final = 100  # errors on a sheet


def worst_options(command: F) -> F:
    """--worst and the flags of its data set; each is None where it is not given."""
    options = [
        click.option(
            "--worst",
            metavar="N",
            type=click.IntRange(1, MOST),
            help="Without IMAGE: the N errors on a data set that cost most.",
        ),
        click.option("--max-images", type=click.IntRange(1), help="Of --worst: at most so many pictures."),
        click.option(
            "--workers",
            type=click.IntRange(0),
            help="Of top-patches, dissect and --worst: processes that read pictures. "
            "[default: by the machine]",
        ),
        click.option(
            "--max-skip",
            type=Share(0, 1),
            help="Of top-patches, dissect and --worst: largest share of unreadable pictures. [default: 0.01]",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def run_worst(
    n: int,
    image: str | None,
    weights: str | None,
    confidence: float | None,
    out: Path | None,
    device: str,
    as_json: bool,
    given: Mapping[str, Any],
) -> None:
    """Find the errors, write worst.png and worst.json, print a line an error.

    Args:
        n: how many. image, weights, confidence, out, device, as_json: as typed.
        given: the other options that were typed.

    Raises:
        UsageError: a picture, or an option that does not fit; and what `api.worst` raises.
    """
    if image is not None:
        raise UsageError(f"expected no picture with --worst, found {image}; leave it out")
    for name in given:
        if name not in (*OF_DATA, *OF_MAPS):
            raise UsageError(f"expected no --{name.replace('_', '-')} with --worst, found one; leave it out")
    if given.get("method") in NETWORK_METHODS:
        raise UsageError(
            f"expected a method for pictures with --worst, found {given['method']}; leave one of them out"
        )
    from visiontasks import api
    from visiontasks.cli.predict import default_model
    from visiontasks.engine.log import Report
    from visiontasks.engine.results import result_folder
    from visiontasks.explain.picture import Method

    maps = {name: given[name] for name in OF_MAPS if name in given}
    maps["name"] = maps.pop("method", None)
    about_data = {name: given[name] for name in OF_DATA if name in given}
    options = {} if confidence is None else {"confidence": confidence}
    model = api.load(weights or default_model("classification"), device=device, options=options)
    folder = result_folder("explain", out)
    found = api.worst(model, n, method=Method(**maps), out=folder, report=Report(), **about_data)
    if as_json:
        echo_file(folder / "worst.json")
    for number, error in enumerate(found.errors, start=1):
        click.echo(_line(number, error, found.unit), err=as_json)
    click.echo(_total(found, folder), err=True)


def _line(number: int, error: Mapping[str, Any], unit: str) -> str:
    """`3  scan_7.jpg  wrong class: RBC 0.97, truth WBC  costs AP50 0.0046`."""
    score = "" if error["score"] is None else f" {error['score']:.2f}"
    said = f"{error['predicted'] or 'nothing'}{score}, truth {error['truth'] or 'nothing'}"
    return f"{number:>3}  {error['file']}  {error['kind']}: {said}  costs {unit} {error['cost']:.2g}"


def _total(found: Worst, folder: Path) -> str:
    skipped = f", skipped {len(found.skipped)}" if found.skipped else ""
    looked_at = f"{number_of(found.images, 'picture')}{skipped}"
    if not found.rows:
        return f"no errors on {looked_at}; {folder}"
    return f"{looked_at}; {found.meaning}; {folder / 'worst.png'}"
