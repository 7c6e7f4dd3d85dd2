"""What the prediction verbs share: their flags, and the way from pictures to a folder of results."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from visiontasks.errors import Interrupted, UsageError

F = TypeVar("F", bound=Callable[..., Any])


def prediction_options(*, formats: Sequence[str]) -> Callable[[F], F]:
    """The flags that every prediction verb has."""
    options = [
        click.argument("images", nargs=-1, required=True),
        click.option("-w", "--weights", help="A bundled name, weights file, run folder or torchvision:NAME."),
        click.option(
            "-o", "--out", type=click.Path(), help="Folder of the results. [default: runs/<verb>/NNN]"
        ),
        click.option(
            "--format",
            "formats",
            multiple=True,
            type=click.Choice(formats),
            help="Formats beside predictions.json.",
        ),
        click.option("--no-draw", is_flag=True, help="Draw no pictures."),
        click.option(
            "--batch-size", default=8, show_default=True, type=click.IntRange(1), help="Pictures a step."
        ),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
        click.option("--precision", default="auto", show_default=True, help="auto, fp32, bf16 or fp16."),
        click.option(
            "--max-pixels", default=100_000_000, show_default=True, help="Larger pictures are skipped."
        ),
        click.option("--strict", is_flag=True, help="Stop at the first picture that cannot be read."),
        click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on stdout."),
    ]

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def run_prediction(
    task: str,
    images: Sequence[str],
    weights: str | None,
    out: str | None,
    formats: Sequence[str],
    no_draw: bool,
    batch_size: int,
    device: str,
    precision: str,
    max_pixels: int,
    strict: bool,
    as_json: bool,
) -> None:
    """Predict, print a line a picture, write the folder of results; exit 1 when pictures were skipped."""
    from visiontasks.io.files import list_inputs

    paths = list_inputs(images)
    from visiontasks import api
    from visiontasks.engine.results import ResultFolder, next_free_folder
    from visiontasks.engine.signals import stop_signals

    model = api.load(weights or default_model(task), task=task, device=device, precision=precision)
    folder = Path(out) if out else next_free_folder(Path("runs") / model.task.verb)
    if any(folder.resolve() in (path.resolve().parent, path.parent.resolve()) for path in paths):
        raise UsageError(f"the results' folder {folder} holds inputs; choose another with -o")
    results = ResultFolder(
        folder,
        model.task,
        model.classes,
        model.name,
        formats=[f for f in formats if f != "json"],
        draw=not no_draw,
    )
    began = time.perf_counter()
    with stop_signals() as stop:
        for predicted in model.stream(paths, batch_size=batch_size, max_pixels=max_pixels):
            if predicted.fault is not None:
                if strict:
                    raise predicted.fault
                results.skip(str(predicted.name), predicted.fault)
                click.echo(f"skipped: {predicted.fault}", err=True)
            else:
                assert predicted.image is not None
                results.add(str(predicted.name), predicted.image, predicted.prediction)
                found = model.task.describe(predicted.prediction, model.classes)
                click.echo(f"{predicted.name}  {found}  {predicted.milliseconds:.0f} ms", err=as_json)
            if stop.signum:
                path = results.close()
                raise Interrupted(stop.signum, f"{path} holds the {len(results.records)} pictures so far")
    path = results.close()
    if as_json:
        click.echo(json.dumps(results.content()))
    skipped = f", skipped {len(results.skipped)}" if results.skipped else ""
    click.echo(
        f"{len(results.records)} pictures{skipped} in {time.perf_counter() - began:.1f} s; {path}", err=True
    )
    sys.exit(1 if results.skipped else 0)


def default_model(task: str) -> str:
    """The name of the bundled model that a verb uses without -w. Raises: UsageError where there is none."""
    from visiontasks.io.weights import bundled_weights, read_record

    names: list[str] = [name for name, path in bundled_weights().items() if read_record(path).task == task]
    if not names:
        raise UsageError(
            f"no model for {task} is bundled with this version; say which with -w: a weights file, a run's "
            "folder or torchvision:NAME (visiontasks models lists them)"
        )
    return names[0]
