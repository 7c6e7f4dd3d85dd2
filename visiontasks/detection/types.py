"""What passes through detection: boxes with labels, in original pixels (NumPy) or network pixels (torch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from visiontasks.ops.boxes import box_area

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

IGNORED: Final = -1  # the label of a window that is neither an object's nor background


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The true boxes of one picture, in original pixels.

    boxes: (N, 4) float64 xyxy. labels: (N,) class indices.
    crowd: (N,) a group in one box (COCO's iscrowd): not trained on, an ignore region in evaluation.
    difficult: (N,) VOC's flag: trained on; in VOC's evaluation neither hit nor miss.
    area: (N,) what COCO's size bands go by: the file's `area` (of the mask), else the box's.
    """

    boxes: Floats
    labels: Ints
    crowd: Flags
    difficult: Flags
    area: Floats

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was found on one picture, best first.

    boxes: (N, 4) float64 xyxy in original pixels. labels: (N,) class indices. scores: (N,) in [0, 1].
    """

    boxes: Floats
    labels: Ints
    scores: Floats

    def __len__(self) -> int:
        return len(self.labels)

    def as_truth(self) -> Boxes:
        """The boxes, as if all were true: none is difficult or of a crowd."""
        none = np.zeros(len(self), dtype=np.bool_)
        return Boxes(self.boxes, self.labels, none, none, box_area(self.boxes))


class Tensors:
    """A dataclass of nothing but tensors, which move together."""

    __slots__ = ()

    def to(self, device: Any, *, non_blocking: bool = False) -> Self:
        return self._moved(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        return self._moved(lambda tensor: tensor.pin_memory())

    def _moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        names = type(self).__dataclass_fields__  # type: ignore[attr-defined]
        return type(self)(*(move(getattr(self, name)) for name in names))


@dataclass(frozen=True, slots=True, eq=False)
class BoxTarget(Tensors):
    """The boxes of one picture that a network is trained on, in network pixels.

    boxes: (N, 4) float32 xyxy. labels: (N,) int64 class indices. No crowds, no empty boxes.
    """

    boxes: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class WindowTarget(Tensors):
    """What the windows of one picture show.

    labels: (W,) int64: a class index, K for background, IGNORED for windows that the loss leaves out.
    offsets: (W, 4) float32: from the window's core to the object's box, see `models/box_deltas.py`; else 0.
    """

    labels: Tensor
    offsets: Tensor


@dataclass(slots=True, eq=False)
class Annotations:
    """The boxes of a whole data set or results file, packed into arrays: M boxes on N pictures.

    files: (N,) paths of the pictures, relative to the data's root, with forward slashes.
    image_ids: (N,) what a picture is called in evaluation: COCO's number, else its path.
    sizes: (N, 2) height and width in px; 0 where the file does not say.
    picture: (M,) the picture of each box, ascending: boxes of picture i are at starts[i]:starts[i + 1].
    boxes: (M, 4) float64 xyxy. labels: (M,). crowd, difficult: (M,). area: (M,).
    scores: (M,) of predictions; None for truth.
    records: (M,) which record of the file each box is (COCO: index in `annotations`, else a line number);
        for messages.
    """

    files: Sequence[str]
    image_ids: Sequence[int | str]
    sizes: Ints
    picture: Ints
    boxes: Floats
    labels: Ints
    crowd: Flags
    difficult: Flags
    area: Floats
    scores: Floats | None = None
    records: Ints | None = None
    starts: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.starts = np.searchsorted(self.picture, np.arange(len(self.files) + 1)).astype(np.int64)

    def __len__(self) -> int:
        return len(self.files)

    def truth(self, index: int) -> Boxes:
        """The boxes of picture `index`."""
        part = slice(int(self.starts[index]), int(self.starts[index + 1]))
        return Boxes(
            self.boxes[part], self.labels[part], self.crowd[part], self.difficult[part], self.area[part]
        )
