"""What the prediction verbs share: their flags, and the way from pictures to a folder of results."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from visiontasks.cli.options import Share, device_option, json_option, precision_option
from visiontasks.errors import ImageError, Interrupted, UsageError, number_of

if TYPE_CHECKING:
    from visiontasks.engine.results import ResultFolder
    from visiontasks.engine.signals import Stop
    from visiontasks.io.video import VideoWriter
    from visiontasks.model import Model

F = TypeVar("F", bound=Callable[..., Any])


def prediction_options(*, formats: Sequence[str]) -> Callable[[F], F]:
    """The flags that every prediction verb has."""
    options = [
        click.argument("images", nargs=-1, required=True),
        click.option(
            "-w",
            "--weights",
            help="A bundled name, weights file, run folder, torchvision:NAME or coco (see: models).",
        ),
        click.option(
            "-o",
            "--out",
            type=click.Path(path_type=Path),
            help="Folder of the results. [default: runs/<verb>/NNN]",
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
            "--batch-size", default=8, show_default=True, type=click.IntRange(1), help="Pictures per step."
        ),
        device_option,
        precision_option,
        click.option(
            "--max-pixels", default=100_000_000, show_default=True, help="Larger pictures are skipped."
        ),
        click.option("--strict", is_flag=True, help="Stop at what would be skipped or repaired."),
        json_option,
    ]

    return _decorator(options)


def tile_options() -> Callable[[F], F]:
    """The flags of verbs that can look at large pictures part by part."""
    return _decorator(
        [
            click.option(
                "--tile",
                metavar="PX",
                type=click.IntRange(32),
                help="Look at squares of so many pixels: for pictures much larger than the network.",
            ),
            click.option(
                "--overlap",
                type=Share(0, 0.9),
                help="Share of a tile that its neighbour sees too. [default: 0.25]",
            ),
        ]
    )


def _decorator(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def run_prediction(
    task: str,
    images: Sequence[str],
    weights: str | None,
    out: Path | None,
    formats: Sequence[str],
    no_draw: bool,
    device: str,
    precision: str,
    strict: bool,
    as_json: bool,
    *,
    method: str | None = None,
    options: Mapping[str, float] | None = None,
    **how: Any,
) -> None:
    """Predict, print a line a picture, write the folder of results; exit 1 when something was skipped.

    Args:
        task: noun.
        images: files (videos too), folders, globs.
        method, options: see `load`.
        how: arguments of `Model.stream`: batch_size, max_pixels and, where the verb has them, tile, overlap.
    """
    from visiontasks.io.files import list_inputs
    from visiontasks.io.video import is_video

    if how.get("overlap") is not None and how.get("tile") is None:
        raise UsageError("expected --overlap beside --tile, found it alone; add --tile PX")
    how = {name: value for name, value in how.items() if value is not None}
    paths = list_inputs(images)
    pictures, videos = ([path for path in paths if is_video(path) == wanted] for wanted in (False, True))
    formats = [name for name in formats if name != "json"]
    if videos and formats:
        raise UsageError(
            f"expected pictures to write as {formats[0]}, found the video {videos[0]}, whose results are "
            "JSON lines; leave it or --format out"
        )
    from visiontasks import api
    from visiontasks.engine.results import ResultFolder, result_folder
    from visiontasks.engine.signals import stop_signals

    name = weights or default_model("classification" if method == "sliding-window" else task)
    model = api.load(name, task=task, device=device, precision=precision, method=method, options=options)
    folder = result_folder(model.task.verb, out, paths)
    results = ResultFolder(
        folder, model.task, model.classes, model.name, formats=formats, draw=not no_draw, strict=strict
    )
    began = time.perf_counter()
    with stop_signals() as stop:
        _predict_pictures(model, pictures, results, stop, strict=strict, as_json=as_json, how=how)
        frames = [
            _predict_video(model, path, results, stop, strict=strict, as_json=as_json, how=how)
            for path in videos
            if not stop.signum
        ]
    path = results.close()
    if stop.signum:
        done = number_of(len(results.records), "picture")
        raise Interrupted(stop.signum, f"{path} holds the {done} so far")
    if as_json and (pictures or not videos):
        click.echo(json.dumps(results.content()))
    counted = [number_of(len(results.records), "picture")] if pictures or not videos else []
    counted += [f"{sum(frames)} frames"] if videos else []
    _tell_total(results, counted, time.perf_counter() - began, path)
    sys.exit(1 if results.skipped else 0)


def _tell_total(results: ResultFolder, counted: list[str], seconds: float, path: Path) -> None:
    for line in results.ledger.summary():
        click.echo(line, err=True)
    counted += [f"skipped {len(results.skipped)}"] if results.skipped else []
    click.echo(f"{', '.join(counted)} in {seconds:.1f} s; {path}", err=True)


def _predict_pictures(
    model: Model[Any],
    paths: Sequence[Path],
    results: ResultFolder,
    stop: Stop,
    *,
    strict: bool,
    as_json: bool,
    how: Mapping[str, Any],
) -> None:
    for predicted in model.stream(paths, ledger=results.ledger, **how):
        if predicted.fault is not None:
            _skip(results, predicted.name, predicted.fault, strict)
        else:
            assert predicted.image is not None
            results.add(str(predicted.name), predicted.image, predicted.prediction)
            found = model.task.describe(predicted.prediction, model.classes)
            click.echo(f"{predicted.name}  {found}  {predicted.milliseconds:.0f} ms", err=as_json)
        if stop.signum:
            return


def _skip(results: ResultFolder, path: Path, fault: ImageError, strict: bool) -> None:
    if strict:
        raise fault
    results.skip(str(path), fault)
    click.echo(f"skipped: {fault}", err=True)


def _predict_video(
    model: Model[Any],
    path: Path,
    results: ResultFolder,
    stop: Stop,
    *,
    strict: bool,
    as_json: bool,
    how: Mapping[str, Any],
) -> int:
    """A video's frames as JSON lines and, unless pictures are not drawn, as an mp4; returns their number."""
    from visiontasks.engine.log import Report
    from visiontasks.io.files import free_stem, replacing
    from visiontasks.io.video import Video, write_video

    try:
        video = Video(path, max_pixels=how["max_pixels"])
    except ImageError as fault:
        _skip(results, path, fault, strict)
        return 0
    stem, task, began, frame = free_stem(path.stem, results.stems), model.task, time.perf_counter(), 0
    with ExitStack() as stack:
        lines = stack.enter_context(replacing(results.path / f"{stem}.jsonl"))
        file = stack.enter_context(open(lines, "x", encoding="utf-8", errors="backslashreplace"))
        meter = stack.enter_context(Report().progress(str(path), len(video)))
        writer: VideoWriter | None = None
        for predicted in model.stream(video.frames(), **how):
            assert predicted.image is not None
            height, width = predicted.image.shape[:2]
            found = task.record(predicted.prediction, model.classes, results.path, f"{stem}-{frame:06}.png")
            place = {"file": str(path), "frame": frame, "seconds": round(frame / video.rate, 3)}
            line = json.dumps({**place, "width": width, "height": height, **found}, ensure_ascii=False)
            file.write(f"{line}\n")
            if as_json:
                click.echo(line)
            if results.draw:
                drawn = task.draw(predicted.image, predicted.prediction, model.classes)
                size = drawn.shape[0], drawn.shape[1]
                writer = writer or stack.enter_context(
                    write_video(results.path / f"{stem}.mp4", video.rate, size)
                )
                writer.add(drawn)
            frame += 1
            meter.advance(1)
            if stop.signum:
                break
    if video.fault is not None:
        _skip(results, path, video.fault, strict)
    milliseconds = 1000 * (time.perf_counter() - began) / max(1, frame)
    click.echo(f"{path}  {frame} frames  {milliseconds:.0f} ms each", err=as_json)
    return frame


def default_model(task: str) -> str:
    """The bundled model that a verb uses without -w; says on stderr what it knows and what else there is.

    Raises: UsageError where it is not bundled.
    """
    from visiontasks import bundled

    name, line = bundled.default_model(task)
    click.echo(line, err=True)
    return name
