"""What passes between the rooms: samples, examples, batches, and the protocols of data, networks and metrics.

Two pixel spaces only: *original* (files, `Sample`, predictions, metrics) and *network* (`Example`, loss).
Images are RGB uint8; sizes are (height, width); class indices are 0..K-1. This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.ledger import Ledger

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")  # a task's ground truth in original pixels: an int, boxes with labels, a mask
P = TypeVar("P")  # a task's prediction in original pixels
T_contra = TypeVar("T_contra", contravariant=True)
P_contra = TypeVar("P_contra", contravariant=True)
P_co = TypeVar("P_co", covariant=True)

Image = NDArray[np.uint8]  # (H, W, 3) RGB


@dataclass(frozen=True, slots=True)
class Sample(Generic[T]):
    """What a data-set adapter yields: one picture with its truth, in original pixels.

    image: (H, W, 3) uint8 RGB, EXIF orientation applied.
    image_id: unique in the data set; the path as the data set writes it, or COCO's number.
    """

    image: Image
    target: T
    image_id: int | str


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The way from network pixels back to original pixels.

    original = (network - (pad_left, pad_top)) * (width / resized_width, height / resized_height);
    a centre crop is a negative padding.
    """

    image_id: int | str
    height: int
    width: int
    resized_height: int
    resized_width: int
    pad_left: int = 0
    pad_top: int = 0


@dataclass(frozen=True, slots=True)
class Example(Generic[T]):
    """One picture as the network is fed with it: the result of a transform.

    image: (3, H, W) uint8, normalised later on the device.
    target: the truth in network pixels, in the form that the task's `collate` expects; None to predict.
    truth: the truth in original pixels, kept for evaluation only.
    """

    image: Tensor
    target: Any
    info: ImageInfo
    truth: T | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Several examples in one tensor: made by `Task.collate`, padded to one size (masks with 255).

    images: (B, 3, H, W) uint8.
    targets: what the task's `loss` expects; a tensor or objects with `.to(device)`; empty to predict.
    """

    images: Tensor
    infos: Sequence[ImageInfo]
    targets: Any = ()


Fetch = Callable[[int], Sample[T]]  # a partner for mixup or mosaic: any index, taken modulo the size


class Transform(Protocol[T]):
    """original -> network. A pure function of its arguments: the same `rng` state gives the same example."""

    def __call__(self, sample: Sample[T], rng: np.random.Generator, fetch: Fetch[T] | None) -> Example[T]: ...


class Source(Protocol[T]):
    """A data set, opened: what an adapter returns.

    fingerprint: hash of the pictures' names, their labels and the class names; resuming compares it.
    ledger: what was skipped, dropped or repaired while reading.
    `source[i]` raises ImageError for a picture that cannot be read, DataError for a label that is wrong.
    """

    classes: ClassMap
    fingerprint: str
    ledger: Ledger

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample[T]: ...


class Backbone(Protocol):
    """The shared CNN. Level i is a tensor (B, channels[i], ~H/strides[i], ~W/strides[i]), finest first.

    channels, strides: one entry a level. Strides are approximate (AlexNet: 224 -> 55, 27, 13).
    minimum_size: smallest height and width that the network accepts.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    minimum_size: int

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]: ...


class TaskModel(Protocol[P_co]):
    """A network for a task; an `nn.Module`. `raw` is private to the task; forward does not decode.

    loss: named terms, each a scalar tensor; the training step minimises their sum.
    decode: predictions in original pixels, one a picture; `options` are the operating point
        (confidence, temperature, ...) that a weights file stores and a command line overrides.
    """

    def __call__(self, batch: Batch) -> Any: ...
    def loss(self, raw: Any, batch: Batch) -> dict[str, Tensor]: ...
    def decode(
        self, raw: Any, infos: Sequence[ImageInfo], options: Mapping[str, float]
    ) -> Sequence[P_co]: ...


class Evaluator(Protocol[T_contra, P_contra]):
    """A protocol's numbers: one a run. Refuses an image id twice; order and sharding change nothing."""

    protocol: str

    def update(
        self, predictions: Sequence[P_contra], truths: Sequence[T_contra], infos: Sequence[ImageInfo]
    ) -> None: ...
    def merge(self, other: Self) -> None: ...
    def compute(self) -> dict[str, float]:
        """{name: fraction in [0, 1]} (losses excepted); nan = undefined; intervals as name@low, name@high."""
        ...

    def tables(self) -> dict[str, Any]:
        """JSON-ready detail: curves, confusion matrix, one row a picture."""
        ...


class Output(Protocol[P_contra]):
    """One format that a prediction command can write: takes results as they come, writes the rest last."""

    def add(self, file: str, size: tuple[int, int], prediction: P_contra) -> None:
        """One picture: its path as typed, its (height, width), what was found."""
        ...

    def close(self) -> Sequence[Path]:
        """The files that were written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[T, P]):
    """Everything that the engine and the command line need to know about a task: data, not a base class.

    Adding a task is one folder with a `TASK = Task(...)` in it and one line in `visiontasks.tasks.TASKS`.
    Its `__init__` imports no torch; `build_transform`, `collate` and `build_model` import it when called.

    name: the noun (`classification`), the folder's and the JSON's name. verb: the command (`classify`).
    config: the pydantic model of a run; sections data, input, augment, model, loss, train (config.py).
    headline: the metric that picks the best epoch; larger is better.
    decode_options: the default operating point: {name: value}.
    open_source(data, split, strict, classes): opens `split` ("train", "val", "test") of a data section; with
        `classes` its names must be the same ones, and indices are those of `classes`.
    build_transform(input, augment, classes): `augment` None: evaluation and prediction (deterministic).
    collate: examples -> batch.
    build_model(model, classes, loss, source): random weights; loss and source (the training data) are None
        where a finished model is rebuilt.
    build_evaluator(classes): a fresh evaluator.
    sample_weights(config, source): (N,) chance of each training picture, or None for each once an epoch.
    draw(image, prediction_or_truth, classes, title): the picture with the labels on it.
    draw_example(example, classes): what the network is fed with, drawn, with its target.
    plots(tables): {name: PNG bytes} of an evaluation, for the run's folder.
    describe(prediction, classes): what was found, in a few words for the terminal.
    record(prediction, classes, folder, name): the JSON fields of one picture in predictions.json (design
        section 7); may write further files of picture `name` (a mask) into the folder.
    outputs: further formats: {name: output(folder, classes)}.
    compare(truth, predictions, options): evaluates two files or folders; no model, no torch.
    adopt(found, tensors): a network that another library publishes, as (tensors, ModelRecord) of ours.
    """

    name: str
    verb: str
    config: type[Any]
    headline: str
    decode_options: Mapping[str, float]
    open_source: Callable[[Any, str, bool, ClassMap | None], Source[T]]
    build_transform: Callable[[Any, Any | None, ClassMap], Transform[T]]
    collate: Callable[[Sequence[Example[T]]], Batch]
    build_model: Callable[[Any, ClassMap, Any | None, Any | None], nn.Module]
    build_evaluator: Callable[[ClassMap], Evaluator[T, P]]
    sample_weights: Callable[[Any, Source[T]], NDArray[np.float64] | None]
    draw: Callable[[Image, Any, ClassMap, str], Image]
    draw_example: Callable[[Example[T], ClassMap], Image]
    plots: Callable[[Mapping[str, Any]], Mapping[str, bytes]]
    describe: Callable[[P, ClassMap], str]
    record: Callable[[P, ClassMap, Path, str], dict[str, Any]]
    outputs: Mapping[str, Callable[[Path, ClassMap], Output[P]]]
    compare: Callable[[Path, Path, Mapping[str, Any]], Evaluator[T, P]]
    adopt: Callable[[Any, Mapping[str, Any]], tuple[dict[str, Any], Any]]
