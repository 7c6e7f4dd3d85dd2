"""Measures a network on a data set: every picture once, whatever the batches and processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from visiontasks.engine.device import Device, default_workers
from visiontasks.engine.distributed import Group
from visiontasks.engine.loader import Always, Pictures, build_loader, checked, evaluation_keys
from visiontasks.engine.log import Report
from visiontasks.engine.signals import Stop
from visiontasks.errors import Interrupted
from visiontasks.types import Evaluator, Source, Task, Transform


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
class Measured:
    """numbers: the evaluator's, and `loss` (mean over pictures)."""

    numbers: dict[str, float]
    evaluator: Evaluator[Any, Any]


@torch.inference_mode()
def evaluate(
    task: Task[Any, Any],
    network: Any,
    source: Source[Any],
    transform: Transform[Any],
    setting: Setting,
    *,
    batch_size: int,
    workers: int | None,
    max_skip: float,
    group: Group,
    stop: Stop,
    report: Report,
) -> Measured:
    """Run a network over a data set and compare its predictions with the truth.

    Args:
        task: what the network does.
        network: in evaluation mode, on the setting's device.
        source: the data set; its ledger receives what was skipped.
        transform: the deterministic one.
        setting: device, normalisation, operating point.
        batch_size: pictures a step and process.
        workers: processes that read pictures; None = by the machine.
        max_skip: largest tolerated share of unreadable pictures.
        group: the processes that share the work; each gets the merged result.
        stop: looked at after each batch.
        report: where progress goes.

    Raises:
        DataError: more pictures than `max_skip` are unreadable, or a label is wrong.
        Interrupted: a signal came.
        RunError: a worker was killed.
    """
    evaluator = task.build_evaluator(source.classes)
    keys = evaluation_keys(len(source), batch_size, group.rank, group.world)
    pictures = Pictures(source, Always(transform), seed=0, replace=False)
    workers = default_workers(setting.device) if workers is None else workers
    loader = build_loader(
        pictures,
        keys,
        task.collate,
        workers=min(workers, len(keys)),
        pin_memory=setting.device.device.type == "cuda",
    )
    loss_sum, images = 0.0, 0
    with report.progress("evaluate", len(keys)) as meter:
        for loaded in checked(loader, source):
            if loaded.batch is not None:
                batch = setting.device.load(loaded.batch, setting.mean, setting.std)
                with setting.device.autocast():
                    raw = network(batch)
                losses = network.loss(raw, batch)
                evaluator.update(
                    network.decode(raw, batch.infos, setting.options), loaded.truths, batch.infos
                )
                loss_sum += float(sum(losses.values())) * len(batch.infos)
                images += len(batch.infos)
            meter.advance(loaded.images)
            if stop.signum:
                break
    if signum := group.any(stop.signum):
        raise Interrupted(signum, "evaluation stopped")
    for entries in group.gather(list(source.ledger.entries)):
        source.ledger.extend(entries)
    source.ledger.check_skips(len(source), max_skip)
    (evaluator, loss_sum, images), *others = group.gather((evaluator, loss_sum, images))
    for other, other_loss, other_images in others:  # in the order of ranks: every process gets the same sums
        evaluator.merge(other)
        loss_sum, images = loss_sum + other_loss, images + other_images
    return Measured({"loss": loss_sum / images if images else float("nan"), **evaluator.compute()}, evaluator)
