"""Joins a model, and its data, to what the units of its layers look for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiontasks.errors import UsageError, number_of
from visiontasks.explaining.pictures import pictures_of, tell_skipped
from visiontasks.ledger import Ledger
from visiontasks.model import Model, data_section
from visiontasks.types import Source

if TYPE_CHECKING:
    from visiontasks.engine.log import Report
    from visiontasks.explain.maximise import Maximised, Priors
    from visiontasks.explain.top_patches import TopPatches
    from visiontasks.ops.layers import LayerRow


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
    from visiontasks.explain.top_patches import Numbered, Unlabelled, find_top

    opened, task, setting = model.opened, model.task, model.opened.setting
    report = report or Report(speaks=False)
    source = task.open_source(data_section(model, data, {}), split, Ledger(strict), None)
    report.line(f"{model.name} on {split}: {number_of(len(source), 'picture')}, {setting.device}")
    with stop_signals() as stop, run_faults("lower --batch-size"), setting.device.autocast():
        field = receptive_field(opened.network, layer, opened.input.size)
        batches = pictures_of(
            model,
            Numbered(source),
            "top patches",
            stop,
            report,
            batch_size=batch_size,
            workers=workers,
            transform=Unlabelled(opened.transform),
            max_skip=max_skip,
        )
        loaded = (setting.device.load(batch, setting.mean, setting.std) for batch, _ in batches)
        found = find_top(opened.network, layer, loaded, k, field)
    tell_skipped(source, report)
    return found, field, source


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
