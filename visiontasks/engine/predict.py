"""Applies a network to pictures: decoding in threads, bounded memory, one bad picture stops nothing."""

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
from visiontasks.engine.infer import Setting, forward
from visiontasks.engine.loader import by_size
from visiontasks.errors import ImageError
from visiontasks.types import Example, Image, Sample, Task, Transform, Window

Name = TypeVar("Name")

PIXELS = 120_000_000  # of decoded pictures that wait for the network, about; 3 bytes each


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


@dataclass(frozen=True, slots=True)
class Tiling:
    """How large pictures are cut: squares of `size` original pixels; neighbours share `overlap` of it."""

    size: int
    overlap: float


@dataclass(frozen=True, slots=True)
class _Read(Generic[Name]):
    name: Name
    image: Image | None
    fault: ImageError | None = None
    example: Example[Any] | None = None


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
    tiling: Tiling | None = None,
) -> Iterator[Predicted[Name]]:
    """Predictions in the order of the pictures.

    Args:
        task: what the network does.
        network: in evaluation mode, on the setting's device.
        pictures: names of pictures, taken as they are needed.
        read: gives a picture by name; runs in threads; may raise ImageError.
        transform: the deterministic one.
        setting: device, normalisation, operating point.
        batch_size: pictures, or tiles, a step.
        tiling: cut pictures into tiles and join what is found on them; the task has a `stitcher`.
    """

    def load(name: Name) -> _Read[Name]:
        try:
            image = read(name)
        except ImageError as error:
            return _Read(name, None, error)
        return _Read(name, image, None, None if tiling else _example(image, str(name), transform))

    with ThreadPoolExecutor(num_cores()) as threads:
        for group in _batches(threads, load, pictures, batch_size):
            began = time.perf_counter()
            readable = [item for item in group if item.image is not None]
            if tiling is None:
                predictions = _predict_batch(task, network, [item.example for item in readable], setting)
            else:
                predictions = [
                    _predict_tiled(task, network, item.image, transform, setting, batch_size, tiling)
                    for item in readable
                ]
            milliseconds = 1000 * (time.perf_counter() - began) / max(1, len(readable))
            results = iter(predictions)
            for item in group:
                if item.image is None:
                    yield Predicted(item.name, None, None, item.fault, 0.0)
                else:
                    yield Predicted(item.name, item.image, next(results), None, milliseconds)


def _example(image: Image, image_id: str, transform: Transform[Any]) -> Example[Any]:
    rng = np.random.default_rng(0)  # the deterministic transform draws nothing
    return transform(Sample(image=image, target=None, image_id=image_id), rng, None)


def _predict_batch(
    task: Task[Any, Any], network: Any, examples: Sequence[Any], setting: Setting
) -> Sequence[Any]:
    predictions: list[Any] = [None] * len(examples)
    for places in by_size(examples):
        batch, raw = forward(network, task.collate([examples[i] for i in places]), setting)
        found = network.decode(raw, batch.infos, setting.options)
        for place, prediction in zip(places, found, strict=True):
            predictions[place] = prediction
    return predictions


def _predict_tiled(
    task: Task[Any, Any],
    network: Any,
    image: Any,
    transform: Transform[Any],
    setting: Setting,
    batch_size: int,
    tiling: Tiling,
) -> Any:
    assert task.stitcher is not None
    height, width = image.shape[:2]
    stitcher = task.stitcher(network, (height, width), setting.options)
    windows = tile_windows(height, width, tiling)
    for start in range(0, len(windows), batch_size):
        part = windows[start : start + batch_size]
        examples = [
            _example(np.ascontiguousarray(image[top:bottom, left:right]), "tile", transform)
            for left, top, right, bottom in part
        ]
        batch, raw = forward(network, task.collate(examples), setting)
        stitcher.add(raw, batch.infos, part)
    return stitcher.result()


def tile_windows(height: int, width: int, tiling: Tiling) -> list[Window]:
    """The tiles of a picture in reading order: (left, top, right, bottom), half open, original pixels.

    They cover the picture; neighbours share at least `overlap` of the tile's size. All are squares of the
    tile's size but where the picture itself is smaller.
    """
    return [
        (left, top, min(left + tiling.size, width), min(top + tiling.size, height))
        for top in _starts(height, tiling)
        for left in _starts(width, tiling)
    ]


def _starts(length: int, tiling: Tiling) -> list[int]:
    """Where tiles begin along one side, evenly spaced from edge to edge."""
    if length <= tiling.size:
        return [0]
    hop = max(1, int(tiling.size * (1 - tiling.overlap)))
    count = -(-(length - tiling.size) // hop) + 1
    return [round(i * (length - tiling.size) / (count - 1)) for i in range(count)]


def _batches(
    threads: ThreadPoolExecutor, load: Callable[[Name], _Read[Name]], names: Iterable[Name], size: int
) -> Iterator[list[_Read[Name]]]:
    """Up to `size` pictures at a time, in order; the next are read meanwhile, fewer where they are large."""
    waiting: deque[Future[_Read[Name]]] = deque()
    remaining, largest = iter(names), 1

    def limit(count: int) -> int:
        return max(1, min(count, PIXELS // (2 * largest)))

    while True:
        for name in itertools.islice(remaining, max(0, limit(2 * size) - len(waiting))):
            waiting.append(threads.submit(load, name))
        group: list[_Read[Name]] = []
        while waiting and len(group) < limit(size):
            item = waiting.popleft().result()
            group.append(item)
            if item.image is not None:
                largest = max(largest, item.image.shape[0] * item.image.shape[1])
        if not group:
            return
        yield group
