"""A network in evaluation mode over a data set: what `evaluate` measures and `Task.refresh` looks at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from visiontasks.engine.device import Device, default_workers
from visiontasks.engine.distributed import Group
from visiontasks.engine.loader import Always, Pictures, build_loader, checked, evaluation_keys
from visiontasks.engine.log import Report
from visiontasks.engine.signals import Stop
from visiontasks.errors import Interrupted
from visiontasks.types import Batch, ImageInfo, Source, Task, Transform


@dataclass(frozen=True, slots=True)
class Setting:
    """What every use of a network needs beside its weights.

    mean, std: of the pictures, a number a channel, as fractions of 255. options: `decode`'s operating point.
    """

    device: Device
    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: dict[str, float]


@dataclass(frozen=True, slots=True)
class Inferred:
    """One batch: predictions and truths in original pixels, and the loss terms, {} where there are none."""

    predictions: Sequence[Any]
    truths: Sequence[Any]
    infos: Sequence[ImageInfo]
    losses: dict[str, float]


def forward(network: Any, batch: Batch, setting: Setting) -> tuple[Batch, Any]:
    """The batch on the device, and the network's raw output for it."""
    batch = setting.device.load(batch, setting.mean, setting.std)
    with setting.device.autocast():
        return batch, network(batch)


@torch.inference_mode()
def infer(
    task: Task[Any, Any],
    network: Any,
    source: Source[Any],
    transform: Transform[Any],
    setting: Setting,
    *,
    batch_size: int,
    workers: int | None,
    group: Group,
    stop: Stop,
    report: Report,
    title: str,
) -> Iterator[Inferred]:
    """Run over the share of a data set that this process has; unreadable pictures go to the ledger.

    Args:
        network: in evaluation mode, on the setting's device.
        setting: device, normalisation, operating point.
        task, source, transform, batch_size, workers, group, stop, report, title: as `batches_of`.

    Raises:
        DataError, Interrupted, RunError: as `batches_of`.
    """
    for pictures, truths in batches_of(
        task,
        source,
        transform,
        setting.device,
        batch_size=batch_size,
        workers=workers,
        group=group,
        stop=stop,
        report=report,
        title=title,
    ):
        batch, raw = forward(network, pictures, setting)
        losses = {name: float(value) for name, value in network.loss(raw, batch).items()}
        predictions = network.decode(raw, batch.infos, setting.options)
        yield Inferred(predictions, truths, batch.infos, losses)


def batches_of(
    task: Task[Any, Any],
    source: Source[Any],
    transform: Transform[Any],
    device: Device,
    *,
    batch_size: int,
    workers: int | None,
    group: Group,
    stop: Stop,
    report: Report,
    title: str,
    places: Sequence[int] | None = None,
) -> Iterator[tuple[Batch, Sequence[Any]]]:
    """The pictures of a data set as batches (uint8, not on the device yet), with their truths.

    Args:
        task: whose pictures they are.
        source: the data set; its ledger receives what was skipped.
        transform: the deterministic one.
        device: what waits for the batches.
        batch_size: pictures a step and process.
        workers: processes that read pictures; None = by the machine.
        group: the processes that share the work.
        stop: looked at after each batch.
        report, title: where progress goes, and its name.
        places: which pictures; None = all.

    Raises:
        DataError: a label is wrong.
        Interrupted: a signal came.
        RunError: a worker was killed.
    """
    places = range(len(source)) if places is None else places
    keys = evaluation_keys(len(places), batch_size, group.rank, group.world)
    keys = [[(epoch, int(places[index])) for epoch, index in batch] for batch in keys]
    workers = default_workers(device) if workers is None else workers
    loader = build_loader(
        Pictures(source, Always(transform), seed=0, replace=False),
        keys,
        task.collate,
        workers=min(workers, len(keys)),
        pin_memory=device.device.type == "cuda",
        evaluates=True,
    )
    with report.progress(title, len(keys)) as meter:
        for loaded in checked(loader, source):
            yield from zip(loaded.batches, loaded.truths, strict=True)
            meter.advance(loaded.images)
            if stop.signum:
                break
    if signum := group.any(stop.signum):
        raise Interrupted(signum, f"{title} stopped")
    for entries in group.gather(list(source.ledger.entries)):
        source.ledger.extend(entries)
