"""Regions that may hold an object, found cheaply and without a class: what Fast R-CNN looks at.

Merged extremal regions: the picture's green and saturation are cut at several levels; each connected part
that is brighter or darker than its level is a region (Matas et al. 2002, "Robust wide baseline stereo from
maximally stable extremal regions"). Parts that hang together are taken apart by erosion with several radii
and grown back (Serra 1982, "Image analysis and mathematical morphology", granulometry). Regions of nearly
the same box are merged; those that were found most often, the stable ones, come first.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visiontasks.detection.config import RegionsConfig
from visiontasks.detection.types import Floats
from visiontasks.errors import DataError
from visiontasks.io.files import read_document
from visiontasks.ops.boxes import box_area
from visiontasks.ops.pictures import resize
from visiontasks.types import Image

Proposals = NDArray[np.float32]  # (M, 4) xyxy, pixels

MAX_FILE_BYTES: Final = 1 << 30  # of proposals: 1500 on each of 10,000 pictures take about 600 MB
QUANTILES: Final = (0.03, 0.97)  # of a channel's values, between which the levels lie
LEAST_PIXELS: Final = 9  # of a region, at the working size
SIZE_STEP: Final = 2**0.25  # factor between the sides of boxes that are merged
PLACE_STEP: Final = 0.15  # of a box's sides, between the centres of boxes that are merged


def propose(image: Image, config: RegionsConfig) -> Proposals:
    """The regions of a picture, the most stable first.

    Args:
        image: (H, W, 3) uint8 RGB.
        config: how many, and how they are searched for.

    Returns:
        (M, 4) float32 xyxy, pixels of the picture, M at most `config.limit`; none on a plain picture.
    """
    height, width = image.shape[:2]
    factor = min(1.0, config.side / max(height, width))
    small = resize(image, (max(1, round(height * factor)), max(1, round(width * factor))))
    parts = [_regions(channel, config) for channel in _channels(small)]
    boxes = np.concatenate(parts) * np.tile([width / small.shape[1], height / small.shape[0]], 2)
    boxes = np.clip(boxes, 0, np.array([width, height] * 2))
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= config.least * min(height, width)).all(axis=1)]
    return merge_regions(boxes)[: config.limit].astype(np.float32)


def _channels(image: Image) -> list[NDArray[np.uint8]]:
    """What regions are told apart by: green (most of the brightness) and saturation, a little smoothed."""
    saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[:, :, 1]
    return [np.asarray(cv2.GaussianBlur(c, (3, 3), 0), np.uint8) for c in (image[:, :, 1], saturation)]


def _regions(channel: NDArray[np.uint8], config: RegionsConfig) -> Floats:
    """(M, 4) boxes of the connected parts of every level and radius, pixels of the channel (h, w).

    The masks of all levels lie below each other in one tall picture, with a row between them that belongs to
    none, so that each radius is one call.
    """
    height, width = channel.shape
    levels = np.unique(np.quantile(channel, np.linspace(*QUANTILES, config.levels)).astype(np.uint8))
    brighter = channel[None] > levels[:, None, None]  # (levels, h, w)
    masks = np.zeros((2 * len(levels), height + 2, width + 2), dtype=np.uint8)
    masks[:, 1:-1, 1:-1] = np.concatenate([brighter, ~brighter])
    tall = masks.reshape(-1, width + 2)  # (2 * levels * (h + 2), w + 2)
    inside = cv2.distanceTransform(tall, cv2.DIST_L2, 3)
    parts = []
    for share in config.radii:
        radius = share * min(height, width)
        mask = (inside > radius).astype(np.uint8) if radius else tall
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4, ltype=cv2.CV_32S)
        x, y, sides_x, sides_y, pixels = stats[1:].astype(np.float64).T
        y = y % (height + 2)
        boxes = np.stack([x - 1, y - 1, x - 1 + sides_x, y - 1 + sides_y], axis=1)
        boxes += np.array([-radius, -radius, radius, radius])
        parts.append(boxes if radius else boxes[pixels >= LEAST_PIXELS])
    return np.concatenate(parts)


def merge_regions(boxes: Floats) -> Floats:
    """The mean of each group of boxes of about one size at about one place.

    The largest group comes first, and of equal ones that of the largest box.

    Args:
        boxes: (N, 4) xyxy, sides above 0.

    Returns:
        (M, 4), M <= N.
    """
    if not len(boxes):
        return boxes
    sides = boxes[:, 2:] - boxes[:, :2]
    size = np.round(np.log(sides) / np.log(SIZE_STEP))
    step = PLACE_STEP * SIZE_STEP**size
    place = np.round((boxes[:, :2] + boxes[:, 2:]) / 2 / step)
    keys = np.concatenate([size, place], axis=1).astype(np.int64)
    _, group, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(group.ravel(), edge, len(counts)) for edge in boxes.T], axis=1)  # (M, 4)
    merged = sums / counts[:, None]
    merged = merged[np.lexsort((-box_area(merged), -counts))]
    return merged


@lru_cache(maxsize=4)
def read_proposals(path: Path) -> dict[str, Proposals]:
    """The regions that another program found: JSON {image id: [[x1, y1, x2, y2], ...]}, original pixels.

    Returns:
        {image id: (M, 4) float32}.

    Raises:
        DataError: the file cannot be read, or an entry is no list of finite boxes with x2 >= x1, y2 >= y1.
    """
    content = read_document(path, max_bytes=MAX_FILE_BYTES)
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: expected {{image id: [[x1, y1, x2, y2], ...]}}, found {type(content).__name__}"
        )
    return {key: _checked(rows, path, key) for key, rows in content.items()}


def _checked(rows: object, path: Path, key: str) -> Proposals:
    """The boxes of one picture. Raises: DataError naming the picture."""
    try:
        boxes = np.array(rows, dtype=np.float32).reshape(-1, 4) if rows else np.zeros((0, 4), np.float32)
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"{path}: picture '{key}': expected boxes [x1, y1, x2, y2], found {str(rows)[:60]}"
        ) from None
    wrong = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if wrong.any():
        number = int(np.argmax(wrong))
        raise DataError(
            f"{path}: picture '{key}', box {number}: expected finite x1 <= x2 and y1 <= y2, "
            f"found {boxes[number].tolist()}; mend or remove it"
        )
    return boxes
