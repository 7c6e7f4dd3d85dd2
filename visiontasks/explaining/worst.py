"""Joins a model and a data set to `visiontasks.explain.worst`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiontasks.errors import Interrupted
from visiontasks.explaining.pictures import pictures_of, predictor_of, tell_skipped
from visiontasks.ledger import Ledger
from visiontasks.model import Model, data_section
from visiontasks.types import Aim, Mistakes, Sample, Source

if TYPE_CHECKING:
    from visiontasks.engine.log import Report
    from visiontasks.engine.signals import Stop
    from visiontasks.explain.picture import Explanation, Method
    from visiontasks.explain.worst import Row, Worst


def worst(
    model: Model[Any],
    n: int = 12,
    split: str = "test",
    *,
    method: Method | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    max_images: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    max_skip: float = 0.01,
    strict: bool = False,
    report: Report | None = None,
) -> Worst:
    """The errors on a data set that cost a model's metric most, each with maps of what it looked at.

    Args:
        model: a loaded model. n: how many errors. split: train, val or test.
        method: of the maps; None = as for `Model.explain`.
        data: a DATA.yaml (the `data:` section of a config) or a config; None = what the model was trained
            with.
        out: folder for worst.png and worst.json; None = write nothing.
        max_images: so many pictures, always the same ones; None = all.
        batch_size, workers, max_skip, strict, report: as `api.measure`.

    Raises: UsageError, DataError, RunError, Interrupted: with what to do.
    """
    from visiontasks.engine.faults import run_faults
    from visiontasks.engine.log import Report
    from visiontasks.engine.results import make_result_folder, write_skipped
    from visiontasks.engine.signals import stop_signals
    from visiontasks.explain.grad_cam import find_layer
    from visiontasks.explain.picture import Method
    from visiontasks.explain.robustness import choose_pictures
    from visiontasks.explain.top_patches import Numbered
    from visiontasks.explain.worst import Worst, write_worst

    if out is not None:
        make_result_folder(Path(out))
    opened, task, report = model.opened, model.task, report or Report(speaks=False)
    if method is not None and method.layer is not None:
        find_layer(opened.network, method.layer)  # before the long part
    source = task.open_source(data_section(model, data, {}), split, Ledger(strict), opened.classes)
    places = choose_pictures(len(source), max_images, 0)
    setting = opened.evaluation_setting
    report.line(f"{model.name} on {split}: {len(places)} of {len(source)} pictures, {setting.device}")
    mistakes, predict = task.build_mistakes(opened.classes, n), predictor_of(opened.network, setting)
    with stop_signals() as stop, run_faults("lower --batch-size"):
        batches = pictures_of(
            model,
            Numbered(source),
            "worst errors",
            stop,
            report,
            batch_size=batch_size,
            workers=workers,
            places=places,
            max_skip=max_skip,
        )
        for batch, truths in batches:
            mistakes.update(predict(batch), truths, batch.infos)
        rows = _show(model, source, mistakes, method or Method(), stop, report)
    tell_skipped(source, report)
    skipped = _skipped(source.ledger)
    result = Worst(mistakes.unit, mistakes.meaning, len(places) - len(skipped), rows, skipped)
    if out is not None:
        write_worst(Path(out), result, {"task": task.name, "model": model.name, "split": split})
        write_skipped(Path(out), {split: source.ledger})
    return result


def _skipped(ledger: Ledger) -> list[dict[str, str]]:
    """`file` and `reason` of each picture that could not be used."""
    entries = (entry for entry in ledger.entries if entry.action == "skipped")
    return [{"file": entry.file, "reason": entry.reason} for entry in entries]


def _show(
    model: Model[Any],
    source: Source[Any],
    mistakes: Mistakes[Any, Any],
    method: Method,
    stop: Stop,
    report: Report,
) -> list[Row]:
    """The worst errors, each drawn and explained; their pictures are read again. Raises: Interrupted."""
    from visiontasks.explain.worst import show_mistake

    found, rows = mistakes.worst(), []
    with report.progress("explaining", len(found)) as meter:
        for mistake in found:
            if stop.signum:
                raise Interrupted(stop.signum, "explaining stopped")
            place = int(mistake.image_id)
            sample = source[place]
            explain = _explainer(model, sample, method)
            rows.append(
                show_mistake(
                    model.task, mistake, source.files[place], sample, model.classes, mistakes.unit, explain
                )
            )
            meter.advance(1)
    return rows


def _explainer(model: Model[Any], sample: Sample[Any], method: Method) -> Callable[[Aim], Explanation]:
    """Maps of one place on a picture, at the model's operating point."""
    from visiontasks.explain.picture import explain_picture
    from visiontasks.explain.target import ask

    opened, task, setting = model.opened, model.task, model.opened.setting
    batch = opened.batch_of(sample.image, sample.image_id)

    def explain(aim: Aim) -> Explanation:
        subject = ask(task, opened.network, batch, aim, setting.options, opened.classes)
        return explain_picture(sample.image, subject, method)

    return explain
