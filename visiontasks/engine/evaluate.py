"""Measures a network on a data set: every picture once, whatever the batches and processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from visiontasks.engine.distributed import Group
from visiontasks.engine.infer import Setting, infer
from visiontasks.engine.log import Report
from visiontasks.engine.signals import Stop
from visiontasks.types import Evaluator, Source, Task, Transform


@dataclass(frozen=True, slots=True)
class Measured:
    """numbers: the evaluator's, and `loss` where the network has one.

    The loss is a batch's, averaged over batches by their pictures: unlike the other numbers it depends on
    the batch size where a network's loss is not a mean over pictures.
    """

    numbers: dict[str, float]
    evaluator: Evaluator[Any, Any]


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
        task, network, source, transform, setting, batch_size, workers, stop, report: as `infer`.
        max_skip: largest tolerated share of unreadable pictures.
        group: the processes that share the work; each gets the merged result.

    Raises:
        DataError: more pictures than `max_skip` are unreadable, or a label is wrong.
        Interrupted: a signal came.
        RunError: a worker was killed.
    """
    evaluator = task.build_evaluator(source.classes)
    loss_sum, images = 0.0, 0
    for inferred in infer(
        task,
        network,
        source,
        transform,
        setting,
        batch_size=batch_size,
        workers=workers,
        group=group,
        stop=stop,
        report=report,
        title="evaluation",
    ):
        evaluator.update(inferred.predictions, inferred.truths, inferred.infos)
        if inferred.losses:
            loss_sum += sum(inferred.losses.values()) * len(inferred.infos)
            images += len(inferred.infos)
    source.ledger.check_skips(len(source), max_skip)
    (evaluator, loss_sum, images), *others = group.gather((evaluator, loss_sum, images))
    for other, other_loss, other_images in others:  # in the order of ranks: every process gets the same sums
        evaluator.merge(other)
        loss_sum, images = loss_sum + other_loss, images + other_images
    loss = {"loss": loss_sum / images} if images else {}
    return Measured({**loss, **evaluator.compute()}, evaluator)
