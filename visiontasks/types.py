"""What passes between the rooms: samples, examples, batches, and the protocols of data, networks and metrics.

Two pixel spaces only: *original* (files, `Sample`, predictions, metrics) and *network* (`Example`, loss).
Images are RGB uint8; sizes are (height, width); class indices are 0..K-1. This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.ledger import Ledger

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visiontasks.data_tools import DataTools
    from visiontasks.operating_point import OperatingPoint

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

    image: (3, H, W) uint8, normalised later on the device; or (W, 3, h, w), windows that were cut from it.
    target: the truth in network pixels, in the form that the task's `collate` expects; None to predict.
    info: also says which part of `image` shows the picture (the rest is padding): resized size and padding.
    truth: the truth in original pixels, kept for evaluation only.
    proposals: (M, 4) float32 xyxy network pixels, regions that may hold an object, for a network that
        wants them.
    """

    image: Tensor
    target: Any
    info: ImageInfo
    truth: T | None = None
    proposals: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Several examples in one tensor: made by `Task.collate`, padded to one size (masks with 255).

    images: (B, 3, H, W) uint8; after `Device.load` float32, normalised, 0 where there is only padding.
        Windows cut from B pictures: (B, W, 3, h, w).
    targets: what the task's `loss` expects, a tensor (B, ...) or B objects with `.to(device)` and
        `.pin_memory()`; empty to predict.
    proposals: B tensors, see `Example`; None where the network wants none.
    """

    images: Tensor
    infos: Sequence[ImageInfo]
    targets: Any = ()
    proposals: Sequence[Tensor] | None = None

    def part(self, pictures: slice) -> Batch:
        """Some of the pictures."""
        proposals = None if self.proposals is None else self.proposals[pictures]
        return Batch(self.images[pictures], self.infos[pictures], self.targets[pictures], proposals)

    def to(self, device: Any) -> Batch:
        """The batch on a torch device."""
        return self._moved(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in memory that a GPU can copy from while it computes; DataLoader calls it."""
        return self._moved(lambda tensor: tensor.pin_memory())

    def _moved(self, move: Callable[[Any], Any]) -> Batch:
        targets = self.targets
        targets = [move(target) for target in targets] if isinstance(targets, list | tuple) else move(targets)
        proposals = None if self.proposals is None else [move(tensor) for tensor in self.proposals]
        return replace(self, images=move(self.images), targets=targets, proposals=proposals)


Fetch = Callable[[int], Sample[T]]  # a partner for mixup or mosaic: any index, taken modulo the size


class Transform(Protocol[T]):
    """original -> network. A pure function of its arguments: the same `rng` state gives the same example."""

    def __call__(self, sample: Sample[T], rng: np.random.Generator, fetch: Fetch[T] | None) -> Example[T]: ...


class Source(Protocol[T]):
    """A data set, opened: what an adapter returns.

    root: the data's folder. files: the path of each picture below it, with forward slashes.
    fingerprint: hash of the pictures' names, their labels and the class names; resuming compares it.
    ledger: what was skipped, dropped or repaired while reading.
    `source[i]` raises ImageError for a picture that cannot be read, DataError for a label that is wrong.
    """

    classes: ClassMap
    fingerprint: str
    ledger: Ledger

    @property
    def root(self) -> Path: ...
    @property
    def files(self) -> Sequence[str]: ...
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

    loss: named terms, each a scalar tensor, a mean over the batch's pictures (a batch that is computed in
        parts, or by several processes, weighs its parts by their pictures); the training step minimises
        their sum. Works in evaluation mode too; without targets it is not called.
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


@dataclass(frozen=True, slots=True)
class Aim:
    """Which number of a prediction is explained; where nothing is given, what the network is surest of.

    class_index: detection and segmentation look at this class alone.
    detection: 0 = the best, in the order of `decode`.
    point: (y, x) in original pixels, of a segmentation.
    place: with a class, any place in original pixels, whatever is predicted there. Detection: (4,) float64
        xyxy. Segmentation: (H, W) bool.
    where: set by `Targets.settle_aim`, which finds it on the picture itself; kept when pixels are changed.
        Detection: (4,) float32 xyxy network pixels. Segmentation: (H, W) bool, network pixels. Else None.
    """

    class_index: int | None = None
    detection: int | None = None
    point: tuple[int, int] | None = None
    where: Tensor | None = None
    place: NDArray[Any] | None = None


Window = tuple[int, int, int, int]  # left, top, right, bottom in original pixels, half open


class Stitcher(Protocol[P_co]):
    """Joins what a network says of the tiles of one large picture, without ever holding all of it."""

    def add(self, raw: Any, infos: Sequence[ImageInfo], windows: Sequence[Window]) -> None:
        """Some tiles, in reading order (rows from the top). raw: the network's output for them, in `infos`
        the way from its pixels to the tile's.
        """
        ...

    def result(self) -> P_co:
        """The prediction for the whole picture, in its pixels."""
        ...


class Infer(Protocol):
    """Runs the network in evaluation mode over the training pictures: (prediction, truth, info) of each."""

    def __call__(self) -> Iterator[tuple[Any, Any, ImageInfo]]: ...


class Targets(Protocol):
    """The number that an explanation is about: a task's `targets.py`, which imports torch.

    settle_aim(network, raw, infos, aim, options, classes): what `aim` means on the first picture: its class
        and place are filled in. Raises: UsageError where the picture has no such thing.
    target_score(network, raw, infos, aim): (B,) float32, differentiable: the logit that a settled aim asks
        for, of each picture.
    anywhere(size): the `Aim.place` to look for a class on a picture of `size` (height, width) that is yet to
        show it; None where a class has no place.
    """

    def settle_aim(
        self,
        network: Any,
        raw: Any,
        infos: Sequence[ImageInfo],
        aim: Aim,
        options: Mapping[str, float],
        classes: ClassMap,
    ) -> Aim: ...
    def target_score(self, network: Any, raw: Any, infos: Sequence[ImageInfo], aim: Aim) -> Tensor: ...
    def anywhere(self, size: tuple[int, int]) -> NDArray[Any] | None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """One error of a model on a picture of a data set.

    kind: what went wrong, in words: `wrong class`, `missed`. cost: see `Mistakes`.
    predicted, truth: class indices; None = nothing there. score: of what was predicted, in [0, 1], if any.
    box: xyxy around the error, original pixels; None = the whole picture.
    place: where the classes are explained, see `Aim`.
    """

    image_id: int | str
    kind: str
    cost: float
    predicted: int | None
    truth: int | None
    score: float | None = None
    box: tuple[float, float, float, float] | None = None
    place: NDArray[Any] | None = None


class Mistakes(Protocol[T_contra, P_contra]):
    """Gathers the errors of a model as the pictures of a data set pass by; no picture and no mask is kept.

    unit: what a cost is counted in: `AP50`. meaning: how it is counted, in a sentence.
    """

    @property
    def unit(self) -> str: ...
    @property
    def meaning(self) -> str: ...
    def update(
        self, predictions: Sequence[P_contra], truths: Sequence[T_contra], infos: Sequence[ImageInfo]
    ) -> None: ...
    def worst(self) -> Sequence[Mistake]:
        """Those that cost most, first; none that cost nothing."""
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
    batch_size: pictures a step when a model is measured, unless the user says otherwise.
    decode_options: the default operating point of a prediction: {name: value}.
    evaluate_options: what of it an evaluation replaces, whatever a file stores (a low threshold).
    open_source(data, split, ledger, classes): opens `split` ("train", "val", "test") of a data section; with
        `classes` its names must be the same ones, and indices are those of `classes`. A ledger that collects
        faults gets all of them, and the source has what is sound.
    build_transform(input, augment, classes, memory): `augment` None: evaluation and prediction
        (deterministic). memory: the latest result of `refresh`, in training; else None.
    collate: examples -> batch.
    build_model(model, classes, loss, source): random weights; loss and source (the training data) are None
        where a finished model is rebuilt.
    build_evaluator(classes): a fresh evaluator.
    sample_weights(config, source): (N,) chance of each training picture, or None for each once an epoch.
    draw(image, prediction_or_truth, classes): the picture with the labels on it.
    draw_example(example, classes): what the network is fed with, drawn, with its target.
    plots(tables): {name: PNG bytes} of an evaluation, for the run's folder.
    describe(prediction, classes): what was found, in a few words for the terminal.
    record(prediction, classes, folder, name): the JSON fields of one picture in predictions.json (design
        section 7); may write further files of picture `name` (a mask) into the folder.
    as_truth(prediction): a prediction as the truth of its picture, as if all of it were right.
    outputs: further formats: {name: output(folder, classes)}.
    compare(truth, predictions, options): evaluates two files or folders; no model, no torch.
    official: {torchvision's name: adopt(found)}: its network, not fetched yet, as (ModelRecord of ours, what
        makes our tensors of its).
    convert(record, tensors): another task's model as one of this task's, as (tensors, record).
        Raises: UsageError where that cannot be.
    carry(record, tensors, classes): what a network that is to be trained takes over from another task's
        model beside the backbone: tensors under its own names.
    refresh(config, epoch, memory, infer): called between epochs, after `epoch` (0 = the first): looks at the
        training pictures and returns what the next epochs' transform shall know (tensors and strings: it is
        part of the run's state), or None where nothing changes.
    stitcher(network, size, options): joins the tiles of a picture of `size` (height, width).
    data: what the commands of `visiontasks data` ask of the task.
    targets(): the module that says what an explanation is about.
    build_mistakes(classes, n): gathers errors, for the n worst; fed with predictions as an evaluation is.
    cut(labels, window): a truth, or a prediction, of a part of its picture.
    operating_point(predictions, truths): the best options for pictures that were not trained on, predicted
        with `decode_options` and `evaluate_options`; None where they are too few to tell.
    adjust(network, outputs, classes, count): suits a finished network to `count` pictures that it was not
        trained on; outputs: (raw, truths, infos) of each batch. Says what was done; the same however often.
    """

    name: str
    verb: str
    config: type[Any]
    headline: str
    batch_size: int
    decode_options: Mapping[str, float]
    evaluate_options: Mapping[str, float]
    open_source: Callable[[Any, str, Ledger, ClassMap | None], Source[T]]
    build_transform: Callable[[Any, Any | None, ClassMap, Any | None], Transform[T]]
    collate: Callable[[Sequence[Example[T]]], Batch]
    build_model: Callable[[Any, ClassMap, Any | None, Any | None], nn.Module]
    build_evaluator: Callable[[ClassMap], Evaluator[T, P]]
    draw: Callable[[Image, Any, ClassMap], Image]
    draw_example: Callable[[Example[T], ClassMap], Image]
    plots: Callable[[Mapping[str, Any]], Mapping[str, bytes]]
    describe: Callable[[P, ClassMap], str]
    record: Callable[[P, ClassMap, Path, str], dict[str, Any]]
    as_truth: Callable[[P], T]
    outputs: Mapping[str, Callable[[Path, ClassMap], Output[P]]]
    compare: Callable[[Path, Path, Mapping[str, Any]], Evaluator[T, P]]
    official: Mapping[str, Callable[[Any], tuple[Any, Callable[[Mapping[str, Any]], dict[str, Any]]]]]
    data: DataTools[T]
    targets: Callable[[], Targets]
    build_mistakes: Callable[[ClassMap, int], Mistakes[T, P]]
    cut: Callable[[Any, Window], Any]
    convert: Callable[[Any, Mapping[str, Any]], tuple[dict[str, Any], Any]] | None = None
    carry: Callable[[Any, Mapping[str, Any], ClassMap], dict[str, Any]] | None = None
    refresh: Callable[[Any, int, Any | None, Infer], Any | None] | None = None
    sample_weights: Callable[[Any, Source[T]], NDArray[np.float64] | None] | None = None
    stitcher: Callable[[Any, tuple[int, int], Mapping[str, float]], Stitcher[P]] | None = None
    operating_point: Callable[[Sequence[P], Sequence[T]], OperatingPoint | None] | None = None
    adjust: Callable[[Any, Iterable[Any], ClassMap, int], str | None] | None = None
