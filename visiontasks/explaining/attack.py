"""Joins a model, and its data, to `visiontasks.explain.attack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import PIL.Image

from visiontasks.errors import number_of
from visiontasks.explaining.pictures import pictures_of, predictor_of, tell_skipped
from visiontasks.io.images import MAX_PIXELS
from visiontasks.ledger import Ledger
from visiontasks.model import Model, as_image, data_section
from visiontasks.types import Image

if TYPE_CHECKING:
    from visiontasks.engine.log import Report
    from visiontasks.explain.attack import Attack
    from visiontasks.explain.attacked_pictures import AttackedPicture, Victim
    from visiontasks.explain.robustness import Robustness


def attack(
    model: Model[Any],
    image: str | Path | Image | PIL.Image.Image,
    how: Attack | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> AttackedPicture:
    """Change a picture a little so that a model no longer says of it what it says now.

    Args:
        model: a loaded model.
        image: a path, an (H, W, 3) uint8 RGB array, or a Pillow picture.
        how: method and strengths; None = the fast gradient sign method with those that an attack has.
        max_pixels: pictures with more are refused.

    Raises:
        ImageError: it cannot be read. RunError: memory ran out.
    """
    from visiontasks.engine.faults import run_faults
    from visiontasks.explain.attack import Attack
    from visiontasks.explain.attacked_pictures import attack_picture

    name = str(image) if isinstance(image, str | Path) else "array"
    with run_faults("attack a model with a smaller input"):
        return attack_picture(victim_of(model), as_image(image, max_pixels), name, how or Attack())


def victim_of(model: Model[Any]) -> Victim:
    """What an attack on a picture needs of a model."""
    from visiontasks.explain.attacked_pictures import Victim

    opened, setting = model.opened, model.opened.setting
    return Victim(
        model.task,
        opened.network,
        opened.classes,
        opened.transform,
        setting.mean,
        setting.std,
        predictor_of(opened.network, setting),
        model,
    )


def robustness(
    model: Model[Any],
    how: Attack | None = None,
    split: str = "test",
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    max_images: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    max_skip: float = 0.01,
    strict: bool = False,
    report: Report | None = None,
) -> Robustness:
    """Measure a model on a data set that is attacked, picture by picture, away from its truth.

    Args:
        model: a loaded model.
        how: method and strengths; None = the fast gradient sign method with those that an attack has.
        split: train, val or test.
        data: a DATA.yaml (the `data:` section of a config) or a config; None = what the model was trained
            with.
        out: folder for robustness.csv, robustness.png, attack.json and skipped.json; None = write nothing.
        max_images: so many pictures, chosen by the attack's seed; None = all.
        batch_size, workers, max_skip, strict, report: as `api.measure`.

    Returns:
        The numbers of each strength; those of strength 0 are `api.measure`'s, but for the loss.

    Raises:
        UsageError, DataError, RunError, Interrupted: with what to do.
    """
    from visiontasks.engine.faults import run_faults
    from visiontasks.engine.log import Report
    from visiontasks.engine.results import make_result_folder, write_skipped
    from visiontasks.engine.signals import stop_signals
    from visiontasks.explain.attack import Attack
    from visiontasks.explain.robustness import choose_pictures, measure_robustness, write_robustness

    if out is not None:
        make_result_folder(Path(out))
    opened, task, how, report = model.opened, model.task, how or Attack(), report or Report(speaks=False)
    source = task.open_source(data_section(model, data, {}), split, Ledger(strict), opened.classes)
    places = choose_pictures(len(source), max_images, how.seed)
    setting = opened.evaluation_setting
    fewer = "" if max_images is not None else "; --max-images N takes fewer"
    count = f"{len(places)} of {number_of(len(source), 'picture')}"
    report.line(f"{model.name} on {split}: {count}, {setting.device}{fewer}")
    with stop_signals() as stop, run_faults("lower --batch-size"):
        batches = pictures_of(
            model,
            source,
            "attack",
            stop,
            report,
            batch_size=batch_size,
            workers=workers,
            places=places,
            max_skip=max_skip,
        )
        found = measure_robustness(
            opened.network,
            batches,
            [task.build_evaluator(source.classes) for _ in how.epsilons],
            predictor_of(opened.network, setting, stop),
            setting.mean,
            setting.std,
            how,
            task.headline,
        )
    tell_skipped(source, report)
    if out is not None:
        frame = {"task": task.name, "model": model.name, "split": split, "of": len(source)}
        write_robustness(Path(out), found, frame if max_images is None else {**frame, "seed": how.seed})
        write_skipped(Path(out), {split: source.ledger})
    return found
