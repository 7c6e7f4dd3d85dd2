"""The number that an explanation of a segmentation is about: the mean logit of a class over a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visiontasks.classes import BACKGROUND, ClassMap
from visiontasks.errors import UsageError
from visiontasks.ops.pictures import resize_map
from visiontasks.types import Aim, ImageInfo


def settle_aim(
    network: Any,
    raw: Tensor,
    infos: Sequence[ImageInfo],
    aim: Aim,
    options: Mapping[str, float],
    classes: ClassMap,
) -> Aim:
    """A class and the network pixels that are predicted as it, or the one pixel under a point.

    Without a class it is the one under the point, or the one with the most pixels, `background` last.

    Args:
        network: not looked at. raw: logits (B, K, H, W). options: not looked at.
        infos: the first counts. aim: see `Aim`; of a place all network pixels that show any of it.
        classes: the K classes.

    Raises:
        UsageError: a detection, a point outside of the picture, a class that no pixel is predicted as.
    """
    if aim.detection is not None:
        raise UsageError(
            "expected a class or a point Y,X as the target of a segmentation, found detection "
            f"#{aim.detection}; give a class's name"
        )
    info, best = infos[0], raw[0].argmax(dim=0)
    where = torch.zeros_like(best, dtype=torch.bool)
    if aim.point is not None:
        row, column = _network_pixel(aim.point, info)
        where[row, column] = True
        chosen = int(best[row, column]) if aim.class_index is None else aim.class_index
        return Aim(chosen, point=aim.point, where=where)
    top, left = info.pad_top, info.pad_left
    shown = slice(top, top + info.resized_height), slice(left, left + info.resized_width)
    if aim.place is not None:
        share = resize_map(aim.place.astype(np.float32), (info.resized_height, info.resized_width))
        where[shown] = torch.from_numpy(share > 0).to(where.device)
        return replace(aim, where=where)
    counts = best[shown].flatten().bincount(minlength=raw.shape[1]).tolist()
    largest = max(
        range(len(counts)), key=lambda k: (counts[k] > 0, classes.names[k] != BACKGROUND, counts[k])
    )
    chosen = largest if aim.class_index is None else aim.class_index
    if not counts[chosen]:
        raise UsageError(
            f"expected a class that some pixel of {info.image_id} is predicted as, found "
            f"'{classes.names[chosen]}' on none; '{classes.names[largest]}' has the most; "
            "give it, or a point Y,X"
        )
    where[shown] = best[shown] == chosen
    return Aim(chosen, where=where)


def target_score(network: Any, raw: Tensor, infos: Sequence[ImageInfo], aim: Aim) -> Tensor:
    """(B,) float32: the mean logit of the class over the aim's pixels. raw: logits (B, K, H, W).

    Source: Vinogradova et al. 2020 (arXiv 2002.11434, section 2; a sum there).
    """
    assert aim.class_index is not None and aim.where is not None
    return raw[:, aim.class_index][:, aim.where].float().mean(dim=1)


def _network_pixel(point: tuple[int, int], info: ImageInfo) -> tuple[int, int]:
    """The network pixel (row, column) that shows an original pixel (y, x). Raises: UsageError outside."""
    y, x = point
    if not (0 <= y < info.height and 0 <= x < info.width):
        raise UsageError(
            f"expected a point Y,X inside of {info.image_id} (height {info.height}, width {info.width}), "
            f"found {y},{x}"
        )
    row = int((y + 0.5) * info.resized_height / info.height)
    column = int((x + 0.5) * info.resized_width / info.width)
    return row + info.pad_top, column + info.pad_left


def anywhere(size: tuple[int, int]) -> NDArray[np.bool_]:
    """All pixels of a picture of (height, width)."""
    return np.ones(size, dtype=np.bool_)
