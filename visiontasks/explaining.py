"""Joins a model to `visiontasks.explain`, as `api` joins tasks to the engine; imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import PIL.Image

from visiontasks.errors import Interrupted, UsageError, number_of
from visiontasks.io.images import MAX_PIXELS
from visiontasks.ledger import Ledger
from visiontasks.model import Model, as_image, data_section
from visiontasks.types import Batch, Image, Source, Transform

if TYPE_CHECKING:
    from visiontasks.engine.infer import Setting
    from visiontasks.engine.log import Report
    from visiontasks.engine.signals import Stop
    from visiontasks.explain.attack import Attack, Predict
    from visiontasks.explain.attacked_pictures import AttackedPicture, Victim
    from visiontasks.explain.maximise import Maximised, Priors
    from visiontasks.explain.robustness import Robustness
    from visiontasks.explain.top_patches import TopPatches
    from visiontasks.ops.layers import LayerRow


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
    transform = model.task.build_transform(opened.input, None, opened.classes, None)
    return Victim(
        model.task,
        opened.network,
        opened.classes,
        transform,
        setting.mean,
        setting.std,
        predictor_of(opened.network, setting),
        model,
    )


def predictor_of(network: Any, setting: Setting, stop: Stop | None = None) -> Predict:
    """The network's predictions for batches of uint8 pictures, as every command makes them.

    stop: looked at before each. Raises: Interrupted.
    """
    import torch

    from visiontasks.engine.infer import forward

    @torch.inference_mode()
    def predict(pictures: Batch) -> Sequence[Any]:
        if stop is not None and stop.signum:
            raise Interrupted(stop.signum, "attack stopped")
        batch, raw = forward(network, pictures, setting)
        predictions: Sequence[Any] = network.decode(raw, batch.infos, setting.options)
        return predictions

    return predict


def pictures_of(
    model: Model[Any],
    source: Source[Any],
    title: str,
    stop: Stop,
    report: Report,
    *,
    batch_size: int | None,
    workers: int | None,
    places: Sequence[int] | None = None,
    transform: Transform[Any] | None = None,
) -> Iterator[tuple[Batch, Sequence[Any]]]:
    """A data set in batches, as the model is fed with it; see `batches_of`.

    Args:
        batch_size: None = the task's. transform: None = the model's own.
    """
    from visiontasks.engine.distributed import Group
    from visiontasks.engine.infer import batches_of

    opened, task = model.opened, model.task
    return batches_of(
        task,
        source,
        transform or task.build_transform(opened.input, None, opened.classes, None),
        opened.setting.device,
        batch_size=task.batch_size if batch_size is None else batch_size,
        workers=workers,
        group=Group(),
        stop=stop,
        report=report,
        title=title,
        places=places,
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
        data: a DATA.yaml (the `data:` section of a config); None = the data that the model was trained with.
        out: folder for robustness.csv, robustness.png and attack.json; None = write nothing.
        max_images: so many pictures, chosen by the attack's seed; None = all.
        batch_size, workers, max_skip, strict, report: as `api.measure`.

    Returns:
        The numbers of each strength; those of strength 0 are `api.measure`'s, but for the loss.

    Raises:
        UsageError, DataError, RunError, Interrupted: with what to do.
    """
    from visiontasks.engine.faults import run_faults
    from visiontasks.engine.log import Report
    from visiontasks.engine.results import make_result_folder
    from visiontasks.engine.signals import stop_signals
    from visiontasks.explain.attack import Attack
    from visiontasks.explain.robustness import choose_pictures, measure_robustness, write_robustness

    if out is not None:
        make_result_folder(Path(out))
    opened, task, how, report = model.opened, model.task, how or Attack(), report or Report(speaks=False)
    source = task.open_source(data_section(model, data, {}), split, Ledger(strict), opened.classes)
    places = choose_pictures(len(source), max_images, how.seed)
    setting = replace(opened.setting, options={**opened.setting.options, **task.evaluate_options})
    fewer = "" if max_images is not None else "; --max-images N takes fewer"
    count = f"{len(places)} of {number_of(len(source), 'picture')}"
    report.line(f"{model.name} on {split}: {count}, {setting.device}{fewer}")
    with stop_signals() as stop, run_faults("lower --batch-size"):
        batches = pictures_of(
            model, source, "attack", stop, report, batch_size=batch_size, workers=workers, places=places
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
    account(source, len(places), max_skip, report)
    if out is not None:
        write_robustness(Path(out), found, model.name)
    return found


def top_patches(
    model: Model[Any],
    layer: str,
    k: int = 9,
    split: str = "test",
    *,
    data: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    max_skip: float = 0.01,
    strict: bool = False,
    report: Report | None = None,
) -> tuple[TopPatches, LayerRow, Source[Any]]:
    """For all units of a layer the pictures of a data set that excite them most, in one pass.

    Args:
        model: a loaded model. layer: dotted name. k: pictures a unit.
        split, data, batch_size, workers, max_skip, strict, report: as `api.measure`.

    Returns:
        (what was found, what the layer sees of a picture, the data set).

    Raises:
        UsageError, DataError, RunError, Interrupted: with what to do.
    """
    from visiontasks.engine.faults import run_faults
    from visiontasks.engine.log import Report
    from visiontasks.engine.signals import stop_signals
    from visiontasks.explain.features import receptive_field
    from visiontasks.explain.top_patches import Numbered, find_top

    opened, task, setting = model.opened, model.task, model.opened.setting
    report = report or Report(speaks=False)
    source = task.open_source(data_section(model, data, {}), split, Ledger(strict), opened.classes)
    report.line(f"{model.name} on {split}: {number_of(len(source), 'picture')}, {setting.device}")
    with stop_signals() as stop, run_faults("lower --batch-size"), setting.device.autocast():
        field = receptive_field(opened.network, layer, opened.input.size)
        batches = pictures_of(
            model, Numbered(source), "top patches", stop, report, batch_size=batch_size, workers=workers
        )
        loaded = (setting.device.load(batch, setting.mean, setting.std) for batch, _ in batches)
        found = find_top(opened.network, layer, loaded, k, field)
    account(source, len(source), max_skip, report)
    return found, field, source


def account(source: Source[Any], count: int, max_skip: float, report: Report) -> None:
    """Say what was skipped. count: pictures that were asked for. Raises: DataError where it is too much."""
    source.ledger.check_skips(count, max_skip)
    for line in source.ledger.summary():
        report.line(line)


def maximise(
    model: Model[Any],
    *,
    layer: str | None = None,
    unit: int | None = None,
    target: str | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    priors: Priors | None = None,
) -> Maximised:
    """Grow the picture that a unit, or what `Model.explain` calls a target, answers to most.

    Args:
        model: a loaded model; for pictures that can be reproduced in fp32.
        layer, unit: a layer's dotted name and a channel of it; or
        target: as for `Model.explain`; what must be on the picture is looked for on grey noise.
        size: (height, width) of the picture, pixels; None = the model's own.
        seed, priors: see `visiontasks.explain.maximise`.

    Raises:
        UsageError: both or neither are given; no such layer, unit or target. RunError: memory ran out.
    """
    from visiontasks.engine.faults import run_faults
    from visiontasks.explain import maximise as room

    if (layer is None) != (unit is None) or (unit is None) == (target is None):
        raise UsageError(
            "expected either a layer with a unit or a target to maximise, found "
            f"layer={layer}, unit={unit}, target={target}; give --layer and --unit, or --target CLASS"
        )
    opened, setting = model.opened, model.opened.setting
    size = size or (opened.input.size[0], opened.input.size[1])
    with run_faults("take a smaller --size"):
        if layer is not None and unit is not None:
            objective = room.unit_objective(opened.network, layer, unit)
        else:
            objective = room.target_objective(
                model.task,
                opened.network,
                target,
                size,
                setting.options,
                opened.classes,
                device=setting.device.device,
            )
        return room.maximise(
            objective,
            size,
            mean=setting.mean,
            std=setting.std,
            seed=seed,
            priors=priors,
            device=setting.device.device,
        )
