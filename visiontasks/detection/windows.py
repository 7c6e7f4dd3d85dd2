"""The windows that a sliding-window detector is trained on: cut from each picture anew every epoch.

Source: slides 2, "Sliding windows": tightly cropped examples of the objects, and as many sections of the
pictures that hold none (the background).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
import torchvision
from torch import Tensor

from visiontasks.classes import ClassMap
from visiontasks.detection.config import AugmentConfig, InputConfig, WindowsConfig
from visiontasks.detection.models.box_deltas import encode_boxes
from visiontasks.detection.scenes import fitted_size, scaled
from visiontasks.detection.types import IGNORED, Boxes, Flags, Floats, Ints, WindowTarget
from visiontasks.ops.boxes import (
    crowd_overlap_matrix,
    cxcywh_to_xyxy,
    iou_matrix,
    scale_boxes,
    xyxy_to_cxcywh,
)
from visiontasks.ops.pictures import to_tensor
from visiontasks.types import Example, Fetch, ImageInfo, Sample

TRIES: Final = 8  # random windows drawn for each that is wanted; the first that will do is taken
NEAR_SHIFT: Final = 0.8  # of windows beside objects, as a share of the object's sides
NEAR_STRETCH: Final = 2.0  # largest factor on their sides
HARD_SHIFT: Final = 0.05  # of hard negatives, so that no two epochs show the same pixels
LARGEST_CROWD_SHARE: Final = 0.5  # of a background window that may lie in a crowd
GREY: Final = (0.299, 0.587, 0.114)  # luma of red, green, blue (ITU-R BT.601)


class CutWindows:
    """The random transform for training; the same `rng` state gives the same example.

    Args:
        input: the size of pictures, and the colour around them.
        augment: mirrors, turns and colours, of each window on its own; `augment.windows` is filled.
        classes: the K classes.
        hard: {image id as text: (M, 4) float32 xyxy original pixels}, boxes that were found but are none.
    """

    def __init__(
        self,
        input: InputConfig,
        augment: AugmentConfig,
        classes: ClassMap,
        hard: Mapping[str, Tensor] | None = None,
    ) -> None:
        assert augment.windows is not None
        self.input, self.augment, self.windows = input, augment, augment.windows
        self.num_classes = len(classes)
        self.fill = tuple(255 * mean for mean in input.mean)
        self.hard = hard or {}

    def __call__(
        self, sample: Sample[Boxes], rng: np.random.Generator, fetch: Fetch[Boxes] | None
    ) -> Example[Boxes]:
        height, width = sample.image.shape[:2]
        hard = self.hard.get(str(sample.image_id))
        known = np.zeros((0, 4)) if hard is None else hard.numpy().astype(np.float64)
        image, truth = sample.image, sample.target
        size = fitted_size((height, width), self.input)
        if size[0] < height or size[1] < width:  # a search does not see the picture any sharper
            image = scaled(image, size, self.input)
            factors = size[0] / height, size[1] / width
            known, boxes = scale_boxes(known, factors), scale_boxes(truth.boxes, factors)
            truth = replace(truth, boxes=boxes)
        windows = self.windows
        assert windows.size is not None and windows.context is not None
        cores, target = sample_windows(truth, image.shape[:2], known, windows, self.num_classes, rng)
        images = cut_windows(to_tensor(image), _enlarged(cores, windows.context), windows.size, self.fill)
        images, offsets = _mirrored(images, target.offsets, self.augment, rng)
        if self.augment.color_jitter:
            images = _recoloured(images, self.augment.color_jitter, rng)
        target = WindowTarget(target.labels, offsets)
        return Example(images, target, ImageInfo(sample.image_id, height, width, *image.shape[:2]))


def sample_windows(
    truth: Boxes,
    size: tuple[int, int],
    hard: Floats,
    config: WindowsConfig,
    num_classes: int,
    rng: np.random.Generator,
) -> tuple[Floats, WindowTarget]:
    """Choose the windows of one picture: objects (each class as often), their surroundings, background.

    Args:
        truth: the boxes of the picture, pixels.
        size: (height, width) of the picture, pixels.
        hard: (M, 4) xyxy, known hard negatives.
        config: how many of each, and what counts as which.
        num_classes: K, the label of background.
        rng: draws.

    Returns:
        Cores (W, 4) float64 xyxy, pixels, and what they show.
    """
    learnt = ~truth.crowd & (truth.boxes[:, 2:] > truth.boxes[:, :2]).all(axis=1)
    boxes, labels = truth.boxes[learnt], truth.labels[learnt]
    num_objects = (
        0 if not len(boxes) else config.count if config.crops else round(config.count * config.positives)
    )
    num_background = config.count - num_objects
    wholes = np.array([[0, 0, size[1], size[0]]], dtype=np.float64)
    parts = []
    if num_objects:
        parts.append(_around(_balanced(boxes, labels, num_objects, rng), config.shift, config.stretch, rng))
    if config.crops and num_background:
        parts.append(_around(wholes.repeat(num_background, axis=0), config.shift, config.stretch, rng))
    elif num_background:
        parts.append(_background(boxes, hard, size, config, num_background, rng))
    tries = np.concatenate(parts)  # (W, TRIES, 4)
    wanted = np.arange(config.count) < num_objects
    cores, best, overlaps = _first_that_fits(tries, boxes, wanted, config)
    found = np.full(config.count, IGNORED)
    found[overlaps <= config.negative_iou] = num_classes
    shows = overlaps >= config.positive_iou
    found[shows] = labels[best[shows]]
    if truth.crowd.any():
        shares = crowd_overlap_matrix(cores, truth.boxes[truth.crowd]).max(axis=1)
        found[(shares > LARGEST_CROWD_SHARE) & ~shows] = IGNORED
    offsets = torch.zeros(config.count, 4)
    offsets[shows] = encode_boxes(_to_tensor(boxes[best[shows]]), _to_tensor(cores[shows]))
    return cores, WindowTarget(torch.from_numpy(found), offsets)


def _balanced(boxes: Floats, labels: Ints, count: int, rng: np.random.Generator) -> Floats:
    """(count, 4) of the boxes, drawn so that each class on the picture comes as often."""
    _, compact, counts = np.unique(labels, return_inverse=True, return_counts=True)
    chances = 1 / counts[compact]
    drawn: Floats = boxes[rng.choice(len(boxes), count, p=chances / chances.sum())]
    return drawn


def _background(
    boxes: Floats,
    hard: Floats,
    size: tuple[int, int],
    config: WindowsConfig,
    count: int,
    rng: np.random.Generator,
) -> Floats:
    """(count, TRIES, 4) windows that may be background: hard negatives, beside objects, anywhere."""
    num_hard = min(len(hard), round(count * config.hard))
    num_near = round((count - num_hard) * config.near) if len(boxes) else 0
    known = hard[rng.permutation(len(hard))[:num_hard]]
    beside = boxes[rng.integers(len(boxes), size=num_near)] if num_near else np.zeros((0, 4))
    return np.concatenate(
        [
            _around(known, HARD_SHIFT, 1.0, rng),
            _around(beside, NEAR_SHIFT, NEAR_STRETCH, rng),
            _anywhere(count - num_hard - num_near, size, config, rng),
        ]
    )


def _around(boxes: Floats, shift: float, stretch: float, rng: np.random.Generator) -> Floats:
    """(N, 4) -> (N, TRIES, 4): each box shifted and stretched at random."""
    boxes = xyxy_to_cxcywh(boxes)[:, None].repeat(TRIES, axis=1)
    centres, sides = boxes[..., :2], boxes[..., 2:]
    centres = centres + sides * rng.uniform(-shift, shift, sides.shape)
    sides = sides * stretch ** rng.uniform(-1, 1, sides.shape)
    return cxcywh_to_xyxy(np.concatenate([centres, sides], axis=-1))


def _anywhere(count: int, size: tuple[int, int], config: WindowsConfig, rng: np.random.Generator) -> Floats:
    """(count, TRIES, 4): any place, sides from log-uniform to those of the config."""
    low, high = np.log(config.sizes)
    side = min(size) * np.exp(rng.uniform(low, high, (count, TRIES, 1)))
    sides = side * config.stretch ** rng.uniform(-1, 1, (count, TRIES, 2))
    centres = rng.uniform(0, (size[1], size[0]), (count, TRIES, 2))
    return cxcywh_to_xyxy(np.concatenate([centres, sides], axis=-1))


def _first_that_fits(
    tries: Floats, boxes: Floats, wanted: Flags, config: WindowsConfig
) -> tuple[Floats, Ints, Floats]:
    """Of the tries for each window the first that shows what it shall; else the one nearest to that.

    Args:
        tries: (W, TRIES, 4). boxes: (N, 4). wanted: (W,) whether an object shall be seen.

    Returns:
        Cores (W, 4), the box that each overlaps most (W,), and that overlap (W,); 0 without boxes.
    """
    if not len(boxes):
        return tries[:, 0], np.zeros(len(tries), dtype=np.int64), np.zeros(len(tries))
    overlaps = iou_matrix(tries.reshape(-1, 4), boxes).reshape(*tries.shape[:2], len(boxes))  # (W, TRIES, N)
    most = overlaps.max(axis=2)  # (W, TRIES)
    fits = np.where(wanted[:, None], most >= config.positive_iou, most <= config.negative_iou)
    nearest = np.where(wanted, most.argmax(axis=1), most.argmin(axis=1))
    chosen = np.where(fits.any(axis=1), fits.argmax(axis=1), nearest)
    rows = np.arange(len(tries))
    return tries[rows, chosen], overlaps[rows, chosen].argmax(axis=1), most[rows, chosen]


def _to_tensor(boxes: Floats) -> Tensor:
    return torch.from_numpy(boxes.astype(np.float32))


def _enlarged(boxes: Floats, factor: float) -> Floats:
    """(N, 4) xyxy boxes, their sides times a factor, around their centres."""
    boxes = xyxy_to_cxcywh(boxes)
    return cxcywh_to_xyxy(np.concatenate([boxes[:, :2], factor * boxes[:, 2:]], axis=1))


def cut_windows(image: Tensor, windows: Floats, size: tuple[int, int], fill: Sequence[float]) -> Tensor:
    """Parts of a picture, each stretched to one size, all at once; shrinking averages, enlarging is bilinear.

    Args:
        image: (3, H, W) uint8.
        windows: (W, 4) xyxy, pixels, fractions too; what lies outside the picture gets the colour `fill`.
        size: (height, width) of the result.
        fill: red, green, blue, 0..255.

    Returns:
        (W, 3, height, width) uint8.
    """
    shade = torch.tensor(fill, dtype=torch.float32).view(3, 1, 1)
    rows = _to_tensor(windows)
    rois = torch.cat([rows.new_zeros(len(rows), 1), rows], dim=1)
    cut: Tensor = torchvision.ops.roi_align((image - shade)[None], rois, size, aligned=True)
    return (cut + shade).round_().clamp_(0, 255).to(torch.uint8)


def _mirrored(
    images: Tensor, offsets: Tensor, augment: AugmentConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Each window mirrored and, if square, turned by chance, with the way to its box."""
    chances = (augment.flip, augment.vertical_flip, augment.rotate90)
    flips = torch.from_numpy(rng.random((3, len(images))) < np.array(chances)[:, None])  # (3, W)
    for axis, chosen in enumerate(flips[:2]):  # along x, then along y
        images = torch.where(chosen[:, None, None, None], images.flip(3 - axis), images)  # (W, 3, h, w)
        signs = torch.ones(4)
        signs[axis] = -1
        offsets = torch.where(chosen[:, None], offsets * signs, offsets)  # (W, 4)
    if augment.rotate90 and images.shape[2] == images.shape[3]:
        turned = images.transpose(2, 3).flip(3)  # clockwise: x' = -y, y' = x
        images = torch.where(flips[2][:, None, None, None], turned, images)
        moved = offsets[:, [1, 0, 3, 2]] * torch.tensor([-1.0, 1, 1, 1])
        offsets = torch.where(flips[2][:, None], moved, offsets)
    return images, offsets


def _recoloured(images: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and saturation of each window (W, 3, h, w) uint8, by factors 1 +- strength."""
    factors = torch.from_numpy(rng.uniform(1 - strength, 1 + strength, (3, len(images), 1, 1, 1))).float()
    weights = torch.tensor(GREY).view(1, 3, 1, 1)
    values = images * factors[0]
    grey = (values * weights).sum(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    values = grey + (values - grey) * factors[2]
    values = mean + (values - mean) * factors[1]
    return values.round_().clamp_(0, 255).to(torch.uint8)
