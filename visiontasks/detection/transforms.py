"""Original pixels to network pixels with the boxes: the deterministic way, and batches of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from visiontasks.classes import ClassMap
from visiontasks.detection.augment import Augment
from visiontasks.detection.config import AugmentConfig, InputConfig
from visiontasks.detection.scenes import RegionSearch, fitted_size, round_up, scaled, scene_of, to_example
from visiontasks.detection.types import Boxes
from visiontasks.detection.windows import CutWindows
from visiontasks.ops.boxes import scale_boxes
from visiontasks.ops.pictures import stack
from visiontasks.types import Batch, Example, Fetch, ImageInfo, Sample, Transform


def build_transform(
    input: InputConfig,
    augment: AugmentConfig | None,
    classes: ClassMap,
    memory: Mapping[str, torch.Tensor] | None = None,
) -> Transform[Boxes]:
    """The way to the network's size; with `augment` the random one for training.

    memory: hard negatives, {image id: (M, 4) xyxy original pixels}, where windows are cut.
    """
    if augment is None:
        return Resize(input)
    return Augment(input, augment) if augment.windows is None else CutWindows(input, augment, classes, memory)


def collate(examples: Sequence[Example[Boxes]]) -> Batch:
    """Examples as a batch: pictures keep their upper left corner, padded with zeros to one size.

    Returns:
        images (B, 3, H, W) uint8, channels_last, H and W the largest ones rounded up to a multiple of 32;
        windows (W, 3, h, w) of B pictures are stacked as they are. targets: B objects, or none to predict.
    """
    infos = [example.info for example in examples]
    targets = [example.target for example in examples if example.target is not None]
    proposals = [example.proposals for example in examples if example.proposals is not None]
    images = [example.image for example in examples]
    if images[0].dim() == 3:
        height, width = (round_up(max(image.shape[axis] for image in images)) for axis in (1, 2))
        stacked = stack([_padded(image, height, width) for image in images])
    else:
        stacked = torch.stack(images)
    return Batch(stacked, infos, targets or (), proposals or None)


def _padded(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(3, h, w) -> (3, height, width) in the order of `to_tensor`, zeros to the right and below."""
    if image.shape[1:] == (height, width):
        return image
    padded = image.new_zeros(height, width, 3).permute(2, 0, 1)  # (3, height, width)
    padded[:, : image.shape[1], : image.shape[2]] = image
    return padded


class Resize:
    """The deterministic transform: scale a picture to the network's size, in its upper left corner."""

    def __init__(self, input: InputConfig) -> None:
        self.input = input
        self.regions = RegionSearch(input.proposals, keep=False) if input.proposals else None

    def __call__(
        self, sample: Sample[Boxes], rng: np.random.Generator, fetch: Fetch[Boxes] | None
    ) -> Example[Boxes]:
        scene = scene_of(sample, self.regions)
        (height, width), size = scene.size, fitted_size(scene.size, self.input)
        boxes = scale_boxes(scene.boxes, (size[0] / height, size[1] / width))
        image = scaled(sample.image, size, self.input)
        info = ImageInfo(sample.image_id, height, width, *size)
        example = to_example(image, boxes, scene.labels, info, self.input)
        target = None if sample.target is None else example.target
        return replace(example, target=target, truth=sample.target)
