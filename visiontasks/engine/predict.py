"""Applies a network to pictures: decoding in threads, constant memory, one bad picture stops nothing."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from visiontasks.engine.device import num_cores
from visiontasks.engine.evaluate import Setting
from visiontasks.errors import ImageError
from visiontasks.types import Example, Image, Sample, Task, Transform

Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class Predicted(Generic[Name]):
    """What became of one picture: a prediction with the picture itself, or why it could not be read.

    milliseconds: of the network and the decoding, a picture of the batch.
    """

    name: Name
    image: Image | None
    prediction: Any
    fault: ImageError | None
    milliseconds: float


@torch.inference_mode()
def predict(
    task: Task[Any, Any],
    network: Any,
    pictures: Iterable[Name],
    read: Callable[[Name], Image],
    transform: Transform[Any],
    setting: Setting,
    *,
    batch_size: int,
) -> Iterator[Predicted[Name]]:
    """Predictions in the order of the pictures.

    Args:
        task: what the network does.
        network: in evaluation mode, on the setting's device.
        pictures: names of pictures, taken as they are needed.
        read: gives a picture by name; runs in threads; may raise ImageError.
        transform: the deterministic one.
        setting: device, normalisation, operating point.
        batch_size: pictures a step.
    """

    def load(name: Name) -> tuple[Name, Image, Example[Any]] | tuple[Name, None, ImageError]:
        try:
            image = read(name)
        except ImageError as error:
            return name, None, error
        rng = np.random.default_rng(0)
        return name, image, transform(Sample(image=image, target=None, image_id=str(name)), rng, None)

    with ThreadPoolExecutor(num_cores()) as threads:
        for group in _batched(_ahead(threads, load, pictures, 2 * batch_size), batch_size):
            readable = [item for item in group if item[1] is not None]
            predictions, milliseconds = _forward(
                task, network, [example for _, _, example in readable], setting
            )
            results = iter(predictions)
            for name, image, outcome in group:
                if image is None:
                    yield Predicted(name, None, None, outcome, 0.0)
                else:
                    yield Predicted(name, image, next(results), None, milliseconds)


def _forward(
    task: Task[Any, Any], network: Any, examples: list[Example[Any]], setting: Setting
) -> tuple[Sequence[Any], float]:
    if not examples:
        return [], 0.0
    began = time.perf_counter()
    batch = setting.device.load(task.collate(examples), setting.mean, setting.std)
    with setting.device.autocast():
        raw = network(batch)
    predictions = network.decode(raw, batch.infos, setting.options)
    return predictions, 1000 * (time.perf_counter() - began) / len(examples)


def _ahead(
    threads: ThreadPoolExecutor, load: Callable[[Name], Any], names: Iterable[Name], ahead: int
) -> Iterator[Any]:
    """The results of `load`, in order, at most `ahead` of them started before they are taken."""
    waiting: deque[Future[Any]] = deque()
    for name in names:
        waiting.append(threads.submit(load, name))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    items = iter(items)
    while group := list(itertools.islice(items, size)):
        yield group
