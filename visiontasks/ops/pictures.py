"""Pictures between NumPy and torch: scaling, and bytes in the order that both libraries like."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]  # (H, W, 3) RGB


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Scale to (height, width): area averaging to shrink, bilinear to enlarge; itself if it fits."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = height < image.shape[0] or width < image.shape[1]
    resized = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return np.asarray(resized, dtype=np.uint8)


def scaled_size(size: tuple[int, int], wanted: tuple[int, int], rule: str) -> tuple[int, int]:
    """The (height, width) that a picture is scaled to, at least 1 x 1.

    Args:
        size: (height, width) of the picture.
        wanted: the config's `input.size`. rule: its `input.resize`, one of "stretch", "fit", "shorter".

    Source of the rule `shorter`: torchvision, GeneralizedRCNNTransform, which rounds down.
    """
    if rule == "stretch":
        return wanted
    height, width = size
    if rule == "fit":
        ratio = min(wanted[0] / height, wanted[1] / width)
        return max(1, round(height * ratio)), max(1, round(width * ratio))
    ratio = min(min(wanted) / min(size), max(wanted) / max(size))
    return max(1, int(height * ratio)), max(1, int(width * ratio))


def resize_map(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Scale an (H, W) map to (height, width), each axis by itself: averages to shrink, linear to enlarge.

    OpenCV averages only where neither side grows.
    """
    for axis, side in enumerate(size):
        shrinks = side < values.shape[axis]
        height, width = (side, values.shape[1]) if axis == 0 else (values.shape[0], side)
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        values = np.asarray(cv2.resize(values, (width, height), interpolation=how), dtype=np.float32)
    return values


def to_tensor(image: Image) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) uint8, sharing memory where it is contiguous and may be written."""
    return torch.from_numpy(np.require(image, requirements=("C", "W"))).permute(2, 0, 1)


def stack(images: Sequence[Tensor]) -> Tensor:
    """B pictures (3, H, W) of one size as (B, 3, H, W) in channels_last order, without rearranging bytes."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
