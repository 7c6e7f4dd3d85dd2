"""Measures a network on a data set: every picture once, whatever the batches and processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from visiontasks.engine.distributed import Group
from visiontasks.engine.infer import Setting, batches_of, forward, infer
from visiontasks.engine.log import Report
from visiontasks.engine.signals import Stop
from visiontasks.types import Evaluator, ImageInfo, Source, Task, Transform


@dataclass(frozen=True, slots=True)
class Measured:
    """numbers: the evaluator's, and `loss` where the network has one.

    The loss is a batch's, averaged over batches by their pictures: unlike the other numbers it depends on
    the batch size where a network's loss is not a mean over pictures. predictions, truths: in original
    pixels, this process's, where they were kept.
    """

    numbers: dict[str, float]
    evaluator: Evaluator[Any, Any]
    predictions: Sequence[Any] = ()
    truths: Sequence[Any] = ()


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
    keep: bool = False,
) -> Measured:
    """Run a network over a data set and compare its predictions with the truth.

    Args:
        task, network, source, transform, setting, batch_size, workers, stop, report: as `infer`.
        max_skip: largest tolerated share of unreadable pictures, and of unusable labels.
        group: the processes that share the work; each gets the merged result.
        keep: hand out predictions and truths too.

    Raises:
        DataError: more pictures than `max_skip` are unreadable, or a label is wrong.
        Interrupted: a signal came.
        RunError: a worker was killed.
    """
    evaluator = task.build_evaluator(source.classes)
    loss_sum, images = 0.0, 0
    predictions: list[Any] = []
    truths: list[Any] = []
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
        if keep:
            predictions += inferred.predictions
            truths += inferred.truths
    source.ledger.check_skips(len(source), max_skip)
    (evaluator, loss_sum, images), *others = group.gather((evaluator, loss_sum, images))
    for other, other_loss, other_images in others:  # in the order of ranks: every process gets the same sums
        evaluator.merge(other)
        loss_sum, images = loss_sum + other_loss, images + other_images
    loss = {"loss": loss_sum / images} if images else {}
    return Measured({**loss, **evaluator.compute()}, evaluator, predictions, truths)


@torch.inference_mode()
def adjust(
    task: Task[Any, Any],
    network: Any,
    source: Source[Any],
    transform: Transform[Any],
    setting: Setting,
    *,
    batch_size: int,
    workers: int | None,
    stop: Stop,
    report: Report,
) -> str | None:
    """Change a finished network as its task knows how, so that it suits pictures it was not trained on.

    Args: as `evaluate`.

    Returns: what was done, and told to the report; None where nothing was.

    Raises: DataError where a label is wrong; Interrupted, RunError: as `evaluate`.
    """
    if task.adjust is None:
        return None

    def outputs() -> Iterator[tuple[Any, Sequence[Any], Sequence[ImageInfo]]]:
        for pictures, truths in batches_of(
            task,
            source,
            transform,
            setting.device,
            batch_size=batch_size,
            workers=workers,
            group=Group(),
            stop=stop,
            report=report,
            title="adjustment",
        ):
            batch, raw = forward(network, pictures, setting)
            yield raw, truths, batch.infos

    done = task.adjust(network, outputs(), source.classes, len(source))
    if done is not None:
        report.line(f"adjusted to val: {done}")
    return done


def was_trained_on(source: Source[Any], train: Source[Any]) -> bool:
    """Whether a data set has any of the training pictures, as they are or in composed scenes."""
    source, train = (getattr(one, "pictures", one) for one in (source, train))
    return source.root == train.root and not set(train.files).isdisjoint(source.files)
