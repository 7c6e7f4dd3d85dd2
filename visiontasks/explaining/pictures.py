"""A data set as a model is fed with it, and what the model says of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from visiontasks.errors import Interrupted
from visiontasks.model import Model
from visiontasks.types import Batch, Source, Transform

if TYPE_CHECKING:
    from visiontasks.engine.infer import Setting
    from visiontasks.engine.log import Report
    from visiontasks.engine.signals import Stop
    from visiontasks.explain.attack import Predict


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
    max_skip: float | None = None,
) -> Iterator[tuple[Batch, Sequence[Any]]]:
    """A data set in batches, as the model is fed with it; see `batches_of`.

    Args:
        batch_size: None = the task's. transform: None = the model's own.
        max_skip: largest share of pictures that cannot be used; None = any.

    Raises: DataError at the end when it was more; and as `batches_of`.
    """
    from visiontasks.engine.distributed import Group
    from visiontasks.engine.infer import batches_of

    opened, task = model.opened, model.task
    yield from batches_of(
        task,
        source,
        transform or opened.transform,
        opened.setting.device,
        batch_size=task.batch_size if batch_size is None else batch_size,
        workers=workers,
        group=Group(),
        stop=stop,
        report=report,
        title=title,
        places=places,
    )
    if max_skip is not None:
        source.ledger.check_skips(len(source if places is None else places), max_skip)


def tell_skipped(source: Source[Any], report: Report) -> None:
    """What the ledger has of a data set's faults, in lines."""
    for line in source.ledger.summary():
        report.line(line)
