"""Random changes to training pictures that move their boxes along.

Turns, mirrors, crops and colours are albumentations' (imported for training only); scaling to the network's
size and mosaics are ours, so that a picture is interpolated once.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from visiontasks.detection.config import AugmentConfig, InputConfig
from visiontasks.detection.scenes import (
    RegionSearch,
    Scene,
    canvas_size,
    cut,
    moved,
    rescaled,
    scene_of,
    to_example,
)
from visiontasks.detection.types import Boxes, Flags
from visiontasks.types import Example, Fetch, ImageInfo, Sample

if TYPE_CHECKING:
    import albumentations as A

MOSAIC_CENTRE: Final = (0.25, 0.75)  # where four pictures meet, as a share of the canvas


class Augment:
    """The random transform for training; the same `rng` state gives the same example.

    Every example has one static size, `canvas_size`: kernels that are tuned to a size are used again.
    """

    def __init__(self, input: InputConfig, augment: AugmentConfig) -> None:
        self.input, self.augment = input, augment
        self.regions = RegionSearch(input.proposals, keep=True) if input.proposals else None
        self.steps: dict[tuple[str, tuple[int, int]], A.Compose] = {}  # made in the worker that uses them

    def __call__(
        self, sample: Sample[Boxes], rng: np.random.Generator, fetch: Fetch[Boxes] | None
    ) -> Example[Boxes]:
        augment = self.augment
        is_mosaic = augment.mosaic and fetch is not None and rng.random() < augment.mosaic
        partners = [fetch(int(rng.integers(2**31))) for _ in range(3)] if is_mosaic and fetch else []
        scenes = [self._turned(scene_of(one, self.regions), rng) for one in (sample, *partners)]
        canvas = canvas_size(scenes[0].size, self.input)
        if partners:
            scene = self._mosaic(scenes, canvas, rng)
        elif augment.crop and rng.random() < augment.crop:
            scene = self._apply("crop", scenes[0], rng, canvas)
        else:
            scene = self._scaled(scenes[0], canvas, rng)
        scene = self._apply("finish", scene, rng)
        height, width = scene.size
        top = left = 0
        if augment.scale is not None:
            top, left = int(rng.integers(canvas[0] - height + 1)), int(rng.integers(canvas[1] - width + 1))
        image = np.zeros((*canvas, 3), dtype=np.uint8)
        image[top : top + height, left : left + width] = scene.image
        is_large: Flags = np.all(scene.boxes[:, 2:] - scene.boxes[:, :2] >= augment.min_side, axis=1)
        boxes, labels = moved(scene.boxes[is_large], left, top), scene.labels[is_large]
        original = sample.image.shape
        info = ImageInfo(sample.image_id, original[0], original[1], height, width, left, top)
        return to_example(image, boxes, labels, info, self.input)

    def _turned(self, scene: Scene, rng: np.random.Generator) -> Scene:
        return self._apply("turn", scene, rng) if self.augment.rotate90 else scene

    def _scaled(self, scene: Scene, canvas: tuple[int, int], rng: np.random.Generator) -> Scene:
        """The picture at the network's size, larger or smaller by chance, cut to what the canvas holds."""
        factor = 1.0 if self.augment.scale is None else rng.uniform(*self.augment.scale)
        scene = rescaled(scene, factor, self.input)
        height, width = min(scene.size[0], canvas[0]), min(scene.size[1], canvas[1])
        top = int(rng.integers(scene.size[0] - height + 1))
        left = int(rng.integers(scene.size[1] - width + 1))
        return cut(scene, (left, top, left + width, top + height), self.augment.min_visible)

    def _mosaic(self, scenes: Sequence[Scene], canvas: tuple[int, int], rng: np.random.Generator) -> Scene:
        """Four pictures that meet at a random point; what leaves the canvas is cut, gaps are mean-coloured.

        Source: Bochkovskiy et al. 2020 (arXiv 2004.10934, section 3.3).
        """
        image = np.empty((*canvas, 3), dtype=np.uint8)
        image[:] = np.array([255 * mean for mean in self.input.mean]).round().astype(np.uint8)
        y, x = (round(rng.uniform(*MOSAIC_CENTRE) * side) for side in canvas)
        boxes, labels = [], []
        for place, scene in enumerate(scenes):
            scene = rescaled(scene, rng.uniform(*self.augment.mosaic_scale), self.input)
            (height, width), (is_below, is_right) = scene.size, divmod(place, 2)
            height = min(height, canvas[0] - y if is_below else y)
            width = min(width, canvas[1] - x if is_right else x)
            left, top = (
                (0 if is_right else scene.size[1] - width),
                (0 if is_below else scene.size[0] - height),
            )
            part = cut(scene, (left, top, left + width, top + height), self.augment.min_visible)
            left, top = (x if is_right else x - width), (y if is_below else y - height)
            image[top : top + height, left : left + width] = part.image
            boxes.append(moved(part.boxes, left, top))
            labels.append(part.labels)
        return Scene(image, np.concatenate(boxes), np.concatenate(labels))

    def _apply(
        self, name: str, scene: Scene, rng: np.random.Generator, size: tuple[int, int] = (0, 0)
    ) -> Scene:
        """One of albumentations' pipelines; boxes go in with their row numbers, as labels become float32."""
        if (name, size) not in self.steps:
            self.steps[name, size] = build_compose(name, size, self.augment)
        compose = self.steps[name, size]
        compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        done = compose(image=scene.image, bboxes=scene.boxes, rows=np.arange(len(scene.labels)))
        rows = np.asarray(done["rows"], dtype=np.int64)
        boxes = np.asarray(done["bboxes"], dtype=np.float64).reshape(-1, 4)  # (N, 4)
        return Scene(done["image"], boxes, scene.labels[rows])


def build_compose(name: str, size: tuple[int, int], augment: AugmentConfig) -> A.Compose:
    """An albumentations pipeline: pictures (H, W, 3) uint8, `bboxes` (N, 4) xyxy in pixels, `rows` (N,).

    Args:
        name: turn, crop (to `size`, boxes that are left with too little area are dropped) or finish (mirrors
            and colours).
    """
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import calls the network
    import albumentations as A

    steps: list[Any] = []
    if name == "turn":
        steps.append(A.RandomRotate90(p=augment.rotate90))
    if name == "crop":
        low, high = (size[1] / size[0] * ratio for ratio in augment.crop_ratio)
        steps.append(A.RandomResizedCrop(size, scale=augment.crop_scale, ratio=(low, high), p=1))
    if name == "finish":
        steps += [A.HorizontalFlip(p=augment.flip), A.VerticalFlip(p=augment.vertical_flip)]
        if augment.color_jitter:
            jitter = (1 - augment.color_jitter, 1 + augment.color_jitter)
            hue = (-augment.color_jitter / 4, augment.color_jitter / 4)
            steps.append(A.ColorJitter(jitter, jitter, jitter, hue, p=1))
    return A.Compose(
        steps,
        bbox_params=A.BboxParams(
            "pascal_voc",
            label_fields=["rows"],
            min_visibility=augment.min_visible if name == "crop" else 0,
            min_width=0,
            min_height=0,
            clip=True,
            filter_invalid_bboxes=True,
        ),
    )
