"""Original pixels to network pixels with the masks: one deterministic way, and augmentation to train.

Scaling and cutting are ours, so that a picture is interpolated once and only the part that is kept; turns,
mirrors and colours are albumentations' (imported for training only). Masks are always resampled by nearest
neighbour: no index appears that was not there, but 255 (ignore) where a turn shows nothing.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor

from visiontasks.classes import ClassMap
from visiontasks.ops.pictures import resize, scaled_size, stack, to_tensor
from visiontasks.segmentation.config import AugmentConfig, InputConfig
from visiontasks.segmentation.types import IGNORE, Mask
from visiontasks.types import Batch, Example, Fetch, Image, ImageInfo, Sample, Transform

if TYPE_CHECKING:
    import albumentations as A


def build_transform(
    input: InputConfig, augment: AugmentConfig | None, classes: ClassMap, memory: Any | None = None
) -> Transform[Mask]:
    """The way to the network's size; with `augment` the random one for training."""
    return Resize(input) if augment is None else Augment(input, augment)


def collate(examples: Sequence[Example[Mask]]) -> Batch:
    """Examples as a batch: all keep their upper left corner and are padded to the largest height and width.

    Returns:
        images (B, 3, H, W) uint8, channels_last, padded with 0; targets (B, H, W) uint8, padded with 255, or
        none to predict.
    """
    height, width = (max(example.image.shape[axis] for example in examples) for axis in (1, 2))
    padded_images = [_padded(example.image.permute(1, 2, 0), height, width, 0) for example in examples]
    images = stack([pixels.permute(2, 0, 1) for pixels in padded_images])
    targets = [
        _padded(example.target, height, width, IGNORE) for example in examples if example.target is not None
    ]
    return Batch(images, [example.info for example in examples], torch.stack(targets) if targets else ())


def _padded(pixels: Tensor, height: int, width: int, fill: int) -> Tensor:
    """(h, w, ...) -> (height, width, ...), filled to the right and below."""
    if pixels.shape[:2] == (height, width):
        return pixels
    padded = pixels.new_full((height, width, *pixels.shape[2:]), fill)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    return padded


class Resize:
    """The deterministic transform: to the size that the config's rule gives; the collate pads."""

    def __init__(self, input: InputConfig) -> None:
        self.input = input

    def __call__(
        self, sample: Sample[Mask], rng: np.random.Generator, fetch: Fetch[Mask] | None
    ) -> Example[Mask]:
        height, width = sample.image.shape[:2]
        size = network_size(height, width, self.input)
        target = None if sample.target is None else torch.from_numpy(resize_mask(sample.target, size))
        info = ImageInfo(sample.image_id, height, width, *size)
        return Example(to_tensor(resize(sample.image, size)), target, info, truth=sample.target)


class Augment:
    """The random transform for training; the same `rng` state gives the same example."""

    def __init__(self, input: InputConfig, augment: AugmentConfig) -> None:
        self.input, self.augment = input, augment
        self.compose: A.Compose | None = None  # made in the worker that uses it

    def __call__(
        self, sample: Sample[Mask], rng: np.random.Generator, fetch: Fetch[Mask] | None
    ) -> Example[Mask]:
        if self.compose is None:
            self.compose = build_compose(self.input, self.augment)
        image, mask = zoomed_part(sample.image, sample.target, self.input, self.augment.scale, rng)
        self.compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        changed = self.compose(image=image, mask=mask)
        image, mask = changed["image"], np.ascontiguousarray(changed["mask"])
        info = ImageInfo(sample.image_id, *sample.image.shape[:2], *image.shape[:2])
        return Example(to_tensor(image), torch.from_numpy(mask), info, truth=sample.target)


def build_compose(input: InputConfig, augment: AugmentConfig) -> A.Compose:
    """The albumentations pipeline for an augmentation config: (H, W, 3) and (H, W) uint8 keep their size."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import calls the network
    import albumentations as A

    steps: list[Any] = []
    if augment.rotate:
        fill = tuple(round(255 * mean) for mean in input.mean)
        steps.append(
            A.Rotate(
                augment.rotate,
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST,
                border_mode=cv2.BORDER_CONSTANT,
                fill=fill,
                fill_mask=IGNORE,
                p=1,
            )
        )
    if augment.flip:
        steps.append(A.HorizontalFlip(p=augment.flip))
    if augment.vertical_flip:
        steps.append(A.VerticalFlip(p=augment.vertical_flip))
    if augment.color_jitter:
        strength = augment.color_jitter
        span = (1 - strength, 1 + strength)
        steps.append(A.ColorJitter(span, span, span, (-strength / 4, strength / 4), p=1))
    return A.Compose(steps)


def network_size(height: int, width: int, input: InputConfig) -> tuple[int, int]:
    """(height, width) in network pixels of a whole picture of that size."""
    size = height, width
    return size if input.resize == "none" else scaled_size(size, input.size, input.resize)


def zoomed_part(
    image: Image,
    mask: Mask,
    input: InputConfig,
    scale: tuple[float, float] | None,
    rng: np.random.Generator,
) -> tuple[Image, Mask]:
    """A random part of at most input.size of the picture, which is resized by the rule and a random factor.

    Args:
        image: (H, W, 3) uint8. mask: (H, W) uint8.
        input: size and rule.
        scale: [min, max] of the factor, drawn so that halving is as likely as doubling; None = 1.
        rng: source of the factor and the place.

    Returns:
        (h, w, 3) and (h, w), h and w at most input.size, smaller where the resized picture is.
    """
    factor = 1.0 if scale is None else float(np.exp(rng.uniform(np.log(scale[0]), np.log(scale[1]))))
    height, width = image.shape[:2]
    full = [max(1, round(side * factor)) for side in network_size(height, width, input)]
    spans, part = [], []
    for side, full_side, limit in zip((height, width), full, input.size, strict=True):
        kept = min(full_side, limit)
        start = int(rng.integers(full_side - kept + 1))
        first, last = start * side // full_side, -(-(start + kept) * side // full_side)
        spans.append(slice(first, last))  # the pixels of the file that the part is made from
        part.append(kept)
    size = (part[0], part[1])
    return resize(image[spans[0], spans[1]], size), resize_mask(mask[spans[0], spans[1]], size)


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Scale (H, W) uint8 to (height, width), each pixel that of its centre; contiguous."""
    if mask.shape != size:
        mask = np.asarray(
            cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8
        )
    return np.require(mask, requirements=("C", "W"))
