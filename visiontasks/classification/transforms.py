"""Original pixels to network pixels: one deterministic way to the network's size, and augmentation to train.

Rotation, crops that scale, colours and cutout are albumentations' (imported for training only). Shifts and
mirror images, all that small pictures need, are ours; so are mixup and cutmix, which need a partner.
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
from visiontasks.classification.config import AugmentConfig, InputConfig
from visiontasks.ops.pictures import resize, stack, to_tensor
from visiontasks.types import Batch, Example, Fetch, Image, ImageInfo, Sample, Transform

if TYPE_CHECKING:
    import albumentations as A


def build_transform(input: InputConfig, augment: AugmentConfig | None, classes: ClassMap) -> Transform[int]:
    """The way to the network's size; with `augment` the random one for training."""
    if augment is None:
        return Resize(input, len(classes))
    return Augment(input, augment, len(classes))


def collate(examples: Sequence[Example[int]]) -> Batch:
    """Examples of one size as a batch: images (B, 3, H, W) uint8, channels_last; targets (B, K) float32."""
    images = stack([example.image for example in examples])
    infos = [example.info for example in examples]
    targets = [example.target for example in examples if example.target is not None]
    return Batch(images, infos, torch.stack(targets) if targets else ())


class Resize:
    """The deterministic transform: stretch, crop or pad to the network's size."""

    def __init__(self, input: InputConfig, num_classes: int) -> None:
        self.input, self.num_classes = input, num_classes

    def __call__(
        self, sample: Sample[int], rng: np.random.Generator, fetch: Fetch[int] | None
    ) -> Example[int]:
        image, info = fit_image(sample.image, sample.image_id, self.input)
        target = None if sample.target is None else one_hot(sample.target, self.num_classes)
        return Example(to_tensor(image), target, info, truth=sample.target)


class Augment:
    """The random transform for training; the same `rng` state gives the same example."""

    def __init__(self, input: InputConfig, augment: AugmentConfig, num_classes: int) -> None:
        self.input, self.augment, self.num_classes = input, augment, num_classes
        self.needs_compose = bool(
            augment.crop_scale or augment.rotate or augment.color_jitter or augment.cutout
        )
        self.compose: A.Compose | None = None  # made in the worker that uses it

    def __call__(
        self, sample: Sample[int], rng: np.random.Generator, fetch: Fetch[int] | None
    ) -> Example[int]:
        image, info = self._augmented(sample, rng)
        target = one_hot(sample.target, self.num_classes)
        mixes = [mix for mix in (self.augment.mixup, self.augment.cutmix) if mix > 0]
        if mixes and fetch is not None:
            partner = fetch(int(rng.integers(2**31)))
            other, _ = self._augmented(partner, rng)
            use_mixup = self.augment.mixup > 0 and (len(mixes) == 1 or rng.random() < 0.5)
            mix, alpha = (mixup, self.augment.mixup) if use_mixup else (cutmix, self.augment.cutmix)
            image, share = mix(image, other, rng.beta(alpha, alpha), rng)
            target = share * target + (1 - share) * one_hot(partner.target, self.num_classes)
        return Example(to_tensor(image), target, info, truth=sample.target)

    def _augmented(self, sample: Sample[int], rng: np.random.Generator) -> tuple[Image, ImageInfo]:
        image = sample.image
        if self.augment.crop_scale is None:
            image, _ = fit_image(image, sample.image_id, self.input)
        if self.augment.pad_crop:
            image = pad_and_crop(image, self.augment.pad_crop, rng)
        if self.needs_compose:
            image = self._composed(image, rng)
        if self.augment.flip and rng.random() < self.augment.flip:
            image = image[:, ::-1]
        if self.augment.vertical_flip and rng.random() < self.augment.vertical_flip:
            image = image[::-1]
        image = np.ascontiguousarray(image)
        (height, width), (new_height, new_width) = sample.image.shape[:2], image.shape[:2]
        return image, ImageInfo(sample.image_id, height, width, new_height, new_width)

    def _composed(self, image: Image, rng: np.random.Generator) -> Image:
        if self.compose is None:
            self.compose = build_compose(self.input, self.augment)
        self.compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        return np.asarray(self.compose(image=image)["image"], dtype=np.uint8)


def pad_and_crop(image: Image, pad: int, rng: np.random.Generator) -> Image:
    """Reflect `pad` pixels onto each side of (H, W, 3), then cut (H, W, 3) from anywhere in it."""
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
    top, left = rng.integers(2 * pad + 1, size=2).tolist()
    return np.asarray(padded[top : top + height, left : left + width], dtype=np.uint8)


def build_compose(input: InputConfig, augment: AugmentConfig) -> A.Compose:
    """The albumentations pipeline for an augmentation config; pictures in and out are (H, W, 3) uint8."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import calls the network
    import albumentations as A

    height, width = input.size
    steps: list[Any] = []
    if augment.crop_scale is not None:
        steps.append(A.RandomResizedCrop((height, width), scale=augment.crop_scale, ratio=augment.crop_ratio))
    if augment.rotate:
        steps.append(A.Rotate(augment.rotate, border_mode=cv2.BORDER_REFLECT_101, p=1))
    if augment.color_jitter:
        strength = augment.color_jitter
        steps.append(
            A.ColorJitter(
                (1 - strength, 1 + strength),
                (1 - strength, 1 + strength),
                (1 - strength, 1 + strength),
                (-strength / 4, strength / 4),
                p=1,
            )
        )
    if augment.cutout:
        hole = (augment.cutout, augment.cutout)
        steps.append(A.CoarseDropout((1, 1), hole, hole, fill=tuple(255 * m for m in input.mean), p=1))
    return A.Compose(steps)


def mixup(image: Image, other: Image, share: float, rng: np.random.Generator) -> tuple[Image, float]:
    """The blend share * image + (1 - share) * other. Source: Zhang et al. 2018 (arXiv 1710.09412, eq. 1)."""
    return np.asarray(cv2.addWeighted(image, share, other, 1 - share, 0), dtype=np.uint8), share


def cutmix(image: Image, other: Image, share: float, rng: np.random.Generator) -> tuple[Image, float]:
    """A box of `other` with area 1 - share, pasted at a random place; returns the share that stayed.

    Source: Yun et al. 2019 (arXiv 1905.04899, section 3.1).
    """
    height, width = image.shape[:2]
    cut = np.sqrt(1 - share)
    centre_y, centre_x = rng.integers(height), rng.integers(width)
    top, bottom = (
        np.clip([centre_y - cut * height / 2, centre_y + cut * height / 2], 0, height).round().astype(int)
    )
    left, right = (
        np.clip([centre_x - cut * width / 2, centre_x + cut * width / 2], 0, width).round().astype(int)
    )
    mixed = image.copy()
    mixed[top:bottom, left:right] = other[top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def fit_image(image: Image, image_id: int | str, input: InputConfig) -> tuple[Image, ImageInfo]:
    """Bring a picture to the network's size by the config's rule.

    Args:
        image: (H, W, 3) uint8.
        image_id: for the returned ImageInfo.
        input: size (height, width) and rule: stretch; crop (scaled until the size is `crop_fraction` of it,
            then its centre); pad (scaled to fit, the rest filled with the mean colour).

    Returns:
        (height, width, 3) uint8 and the way back to original pixels.
    """
    (height, width), (target_height, target_width) = image.shape[:2], input.size
    ratios = (target_height / height, target_width / width)
    if input.resize == "stretch":
        scaled = (target_height, target_width)
    else:
        ratio = min(ratios) if input.resize == "pad" else max(ratios) / input.crop_fraction
        scaled = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    resized = resize(image, scaled)
    pad_top, pad_left = (target_height - scaled[0]) // 2, (target_width - scaled[1]) // 2
    info = ImageInfo(image_id, height, width, *scaled, pad_left, pad_top)
    if input.resize == "pad":
        fill = np.array([255 * m for m in input.mean]).round().astype(np.uint8)
        canvas = np.broadcast_to(fill, (target_height, target_width, 3)).copy()
        canvas[pad_top : pad_top + scaled[0], pad_left : pad_left + scaled[1]] = resized
        return canvas, info
    top, left = max(0, -pad_top), max(0, -pad_left)
    return resized[top : top + target_height, left : left + target_width], info


def one_hot(index: int, num_classes: int) -> Tensor:
    """(K,) float32 with a one at the index."""
    target = torch.zeros(num_classes)
    target[index] = 1.0
    return target
