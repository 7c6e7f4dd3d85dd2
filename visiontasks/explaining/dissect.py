"""Joins a model and a segmentation's data to `visiontasks.explain.dissect`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visiontasks.errors import UsageError, number_of
from visiontasks.explaining.pictures import pictures_of, tell_skipped
from visiontasks.ledger import Ledger
from visiontasks.model import Model, data_section
from visiontasks.tasks import load_task
from visiontasks.types import Batch, Image, Source, Transform

if TYPE_CHECKING:
    from torch import Tensor

    from visiontasks.engine.log import Report
    from visiontasks.explain.dissect import Dissection, Look


def dissect(
    model: Model[Any],
    layer: str | None = None,
    split: str = "test",
    *,
    data: str | Path | None = None,
    share: float | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    max_skip: float = 0.01,
    strict: bool = False,
    report: Report | None = None,
) -> tuple[Dissection, str, Look]:
    """Compare the units of a layer with the classes of a segmentation data set, in two passes.

    Args:
        model: a loaded model, of any task.
        layer: dotted name; None = the backbone's last level.
        data: a DATA.yaml or config of a segmentation; None = that which a segmentation was trained with.
        share: of the positions at which a unit counts as active; None = 0.005.
        split, batch_size, workers, max_skip, strict, report: as `api.measure`.

    Returns:
        (what was found, the layer's name, what the network is fed with of a picture by its place).

    Raises:
        UsageError, DataError, RunError, Interrupted: with what to do.
    """
    from visiontasks.engine.faults import run_faults
    from visiontasks.engine.log import Report
    from visiontasks.engine.signals import stop_signals
    from visiontasks.explain import dissect as room
    from visiontasks.explain.features import receptive_field
    from visiontasks.explain.grad_cam import find_layer, fitting_layer
    from visiontasks.explain.top_patches import Numbered

    opened, setting, segmentation = model.opened, model.opened.setting, load_task("segmentation")
    report = report or Report(speaks=False)
    if data is None and model.task is not segmentation:
        raise UsageError(
            "expected data of a segmentation, whose classes are the concepts, found none; "
            "give --data DATA.yaml"
        )
    layer = find_layer(opened.network, layer or fitting_layer(opened.network))[0]
    section = data_section(model, data, {}, segmentation)
    source = Numbered(segmentation.open_source(section, split, Ledger(strict), None))
    transform = opened.transform
    report.line(f"{model.name} on {split}: {number_of(len(source), 'picture')}, {setting.device}")
    seen: list[int] = []  # that could be read; the second pass looks at no others
    with stop_signals() as stop, run_faults("lower --batch-size"):

        def one_pass() -> Iterator[tuple[Batch, Sequence[Any]]]:
            title, places = ("intersections", sorted(seen)) if seen else ("thresholds", None)
            batches = pictures_of(
                model,
                source,
                title,
                stop,
                report,
                batch_size=batch_size,
                workers=workers,
                places=places,
                transform=room.WithMask(transform),
                max_skip=max_skip if places is None else None,
            )
            for batch, masks in batches:
                if places is None:
                    seen.extend(int(info.image_id) for info in batch.infos)
                yield setting.device.load(batch, setting.mean, setting.std), masks

        field = receptive_field(opened.network, layer, opened.input.size)
        share = room.ACTIVE if share is None else share
        found = room.dissect(opened.network, layer, one_pass, source.classes, share=share, field=field)
    tell_skipped(source, report)
    return found, layer, _looker(model, source, transform, layer)


def _looker(model: Model[Any], source: Source[Any], transform: Transform[Any], layer: str) -> Look:
    """What `draw_concepts` asks for a picture: network pixels, and a layer's output for them."""
    import torch

    from visiontasks.explain.dissect import maps_at

    setting = model.opened.setting

    @torch.inference_mode()
    def look(place: int) -> tuple[Image, Tensor]:
        example = transform(replace(source[place], target=None), np.random.default_rng(0), None)
        batch = model.task.collate([example])
        pixels = np.ascontiguousarray(batch.images[0].permute(1, 2, 0).numpy())  # (H, W, 3)
        loaded = setting.device.load(batch, setting.mean, setting.std)
        return pixels, maps_at(model.opened.network, layer, loaded)[0]

    return look
