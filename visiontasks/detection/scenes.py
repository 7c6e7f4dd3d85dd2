"""A picture with the boxes on it, somewhere between original and network pixels: sizes, cuts, shifts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from visiontasks.detection.config import InputConfig, RegionsConfig
from visiontasks.detection.proposals import Proposals, propose, read_proposals
from visiontasks.detection.types import Boxes, BoxTarget, Flags, Floats, Ints
from visiontasks.errors import DataError
from visiontasks.ops.boxes import box_area, clip_boxes, scale_boxes
from visiontasks.ops.pictures import resize, scaled_size, to_tensor
from visiontasks.types import Example, Image, ImageInfo, Sample

MULTIPLE: Final = 32  # heights and widths of batches are multiples of it: the stride of most backbones
PROPOSAL: Final = -1  # the label of a region that is no truth, on its way through a transform
REMEMBERED: Final = 2000  # pictures whose regions are kept, about 64 MB
FindRegions = Callable[[Sample[Boxes]], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture and the boxes on it, somewhere between original and network pixels.

    image: (H, W, 3) uint8. boxes: (N, 4) float64 xyxy. labels: (N,).
    """

    image: Image
    boxes: Floats
    labels: Ints

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self.image.shape[0], self.image.shape[1]


def scene_of(sample: Sample[Boxes], find_regions: FindRegions | None) -> Scene:
    """What can be learnt from a picture, and the regions that the network is handed, labelled `PROPOSAL`.

    Of the true boxes: without crowds, cut at the picture's edges, empty ones left out.

    Raises: DataError when the file of regions has none for the picture.
    """
    boxes, labels = np.zeros((0, 4)), np.zeros(0, dtype=np.int64)
    if sample.target is not None:
        learnt = ~sample.target.crowd
        boxes, labels = sample.target.boxes[learnt], sample.target.labels[learnt]
    if find_regions is not None:
        found = find_regions(sample)
        boxes = np.concatenate([boxes, found])
        labels = np.concatenate([labels, np.full(len(found), PROPOSAL)])
    boxes = clip_boxes(boxes, (sample.image.shape[0], sample.image.shape[1]))
    kept: Flags = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return Scene(sample.image, boxes[kept], labels[kept])


class RegionSearch:
    """Gives (M, 4) float64 xyxy regions of a sample, original pixels, by the config.

    keep: remember what was found on the pictures of a data set, whose ids differ; it takes a while.
    """

    def __init__(self, config: RegionsConfig, *, keep: bool) -> None:
        self.config, self.keep = config, keep
        self.found: dict[str, Proposals] = {}

    def __call__(self, sample: Sample[Boxes]) -> Floats:
        name = str(sample.image_id)
        if self.config.file is not None:
            return self._read(name).astype(np.float64)
        found = self.found.get(name)
        if found is None:
            found = propose(sample.image, self.config)
            if self.keep and len(self.found) < REMEMBERED:
                self.found[name] = found
        return found.astype(np.float64)

    def _read(self, name: str) -> Proposals:
        """Raises: DataError when the file has none for the picture."""
        assert self.config.file is not None
        path = Path(os.environ.get("VISIONTASKS_DATA", "")) / Path(self.config.file).expanduser()
        found = read_proposals(path).get(name)
        if found is None:
            raise DataError(
                f"{path}: expected regions of every picture, found none for '{name}'; add them, or "
                "set input.proposals.file: null to search the picture"
            )
        return found[: self.config.limit]


def fitted_size(size: tuple[int, int], input: InputConfig) -> tuple[int, int]:
    """The (height, width) that a picture of `size` is scaled to, at least 1 x 1."""
    return scaled_size(size, input.size, input.resize)


def canvas_size(size: tuple[int, int], input: InputConfig) -> tuple[int, int]:
    """The static (height, width) that training examples are padded to: input.size, multiples of 32.

    With the rule `shorter` it lies or stands as a picture of `size` does.
    """
    height, width = input.size
    if input.resize == "shorter":
        shorter, longer = sorted(input.size)
        height, width = (shorter, longer) if size[0] <= size[1] else (longer, shorter)
    return round_up(height), round_up(width)


def round_up(side: int) -> int:
    return -(-side // MULTIPLE) * MULTIPLE


def scaled(image: Image, size: tuple[int, int], input: InputConfig) -> Image:
    """A picture at another size; by the rule `shorter` interpolated as torchvision does when it shrinks."""
    if input.resize != "shorter" or image.shape[:2] == size:
        return resize(image, size)
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def rescaled(scene: Scene, factor: float, input: InputConfig) -> Scene:
    """A scene at the network's size, times a factor."""
    fitted = fitted_size(scene.size, input)
    size = max(1, round(fitted[0] * factor)), max(1, round(fitted[1] * factor))
    factors = size[0] / scene.size[0], size[1] / scene.size[1]
    return Scene(scaled(scene.image, size, input), scale_boxes(scene.boxes, factors), scene.labels)


def cut(scene: Scene, window: tuple[int, int, int, int], min_visible: float) -> Scene:
    """A part of a scene (left, top, right, bottom, pixels), with the boxes of which it shows enough.

    min_visible: the share of a box's area that must be left, in [0, 1].
    """
    left, top, right, bottom = window
    boxes = clip_boxes(moved(scene.boxes, -left, -top), (bottom - top, right - left))
    remaining, whole = box_area(boxes), box_area(scene.boxes)
    kept: Flags = np.logical_and(remaining > 0, remaining >= min_visible * whole)
    return Scene(scene.image[top:bottom, left:right], boxes[kept], scene.labels[kept])


def moved(boxes: Floats, right: float, down: float) -> Floats:
    """(N, 4) xyxy boxes, shifted by so many pixels."""
    shifted: Floats = boxes + np.array([right, down, right, down])
    return shifted


def to_example(
    image: Image, boxes: Floats, labels: Ints, info: ImageInfo, input: InputConfig
) -> Example[Boxes]:
    """A picture, with boxes (N, 4) in network pixels and labels (N,); `PROPOSAL`s are kept apart."""
    is_proposal = labels == PROPOSAL
    tensor = torch.from_numpy(boxes.astype(np.float32))
    true = torch.from_numpy(np.flatnonzero(~is_proposal))
    target = BoxTarget(tensor[true], torch.from_numpy(labels.astype(np.int64))[true])
    proposals = None if input.proposals is None else tensor[torch.from_numpy(is_proposal)]
    return Example(to_tensor(image), target, info, proposals=proposals)
