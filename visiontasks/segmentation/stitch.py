"""Joins the class scores of tiles into one mask, in bands: the scores of a whole large picture never exist.

Tiles come in reading order. Where they overlap their scores are averaged, with weights that fade to the inner
borders of a tile as the eighth power of the distance: what a network says near a border, where it sees no
surroundings, yields to the neighbour's, and the change from one to the other is smooth, whatever the overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from visiontasks.segmentation.types import Mask, SegmentationMap
from visiontasks.types import ImageInfo, Window

FADE: Final = 8  # power of the distance to a border
FULL_PRECISION_BYTES: Final = 1 << 30  # of scores in a band; beyond, they are kept in half precision
ROWS: Final = 256  # of a band that are decided at once


class Blend:
    """A weighted mean of overlapping tiles, from the top down; finished rows are handed on and forgotten.

    Args:
        size: (height, width) of the picture, pixels.
        finish: receives finished rows from the top down: the number of the first, and their mean (K, h, W).
    """

    def __init__(self, size: tuple[int, int], finish: Callable[[int, Tensor], None]) -> None:
        self.height, self.width = size
        self.finish = finish
        self.top = 0  # first row that is not finished
        self.rows = 0  # that tiles have touched, from `top` on
        self.mean = torch.empty(0, 0, self.width)  # (K, capacity, W)
        self.weight = torch.empty(0, self.width)  # (capacity, W)

    @torch.inference_mode()
    def add(self, scores: Tensor, window: Window) -> None:
        """A tile. scores: (K, h, w) float, in the window's pixels."""
        left, top, right, bottom = window
        assert scores.shape[1:] == (bottom - top, right - left), (scores.shape, window)
        assert top >= self.top, "tiles come in reading order"
        self._finish_until(top)
        self._make_room(len(scores), bottom - self.top)
        rows, columns = slice(top - self.top, bottom - self.top), slice(left, right)
        weight = tile_weight(window, (self.height, self.width))
        total = self.weight[rows, columns].add_(weight)
        mean = self.mean[:, rows, columns]
        mean += (scores.to(device="cpu", dtype=torch.float32) - mean).mul_(weight / total).to(mean.dtype)

    @torch.inference_mode()
    def close(self) -> None:
        """Hand on the last rows."""
        self._finish_until(self.height)
        assert self.top == self.height, "tiles cover the picture"

    def _finish_until(self, row: int) -> None:
        """Rows above `row` are finished: no later tile touches them."""
        done = min(row - self.top, self.rows)
        if done <= 0:
            return
        assert bool((self.weight[:done] > 0).all()), "tiles cover the picture"
        for start in range(0, done, ROWS):
            self.finish(self.top + start, self.mean[:, start : min(start + ROWS, done)].float())
        rest = self.rows - done
        for held in (self.mean, self.weight[None]):  # (K, capacity, W), (1, capacity, W)
            held[:, :rest] = held[:, done : self.rows].clone()
            held[:, rest : self.rows] = 0
        self.top, self.rows = self.top + done, rest

    def _make_room(self, num_classes: int, rows: int) -> None:
        """Have `rows` rows from `top` on; tiles of one height need no more than the first did."""
        more = rows - self.mean.shape[1]
        if more > 0:
            fits = 4 * num_classes * rows * self.width <= FULL_PRECISION_BYTES
            held = self.mean if self.rows else self.mean.new_empty(num_classes, 0, self.width)
            room = held.new_zeros(num_classes, more, self.width)
            self.mean = torch.cat([held, room], dim=1).to(torch.float32 if fits else torch.float16)
            self.weight = torch.cat([self.weight, self.weight.new_zeros(more, self.width)])
        self.rows = max(self.rows, rows)


def tile_weight(window: Window, size: tuple[int, int]) -> Tensor:
    """How much each pixel of a tile counts: (h, w) float32, 1 at most; borders of the picture do not fade.

    Args:
        window: the tile, in a picture of `size` (height, width).
    """
    left, top, right, bottom = window
    longest = max(right - left, bottom - top)
    across = _distance(left, right, size[1], longest)
    down = _distance(top, bottom, size[0], longest)
    return (torch.minimum(across[None, :], down[:, None]) / longest) ** FADE  # (h, w)


def _distance(start: int, stop: int, length: int, longest: int) -> Tensor:
    """Of each pixel of a tile's side to its nearer end that is not the picture's own: (stop - start,)."""
    place = torch.arange(stop - start) + 0.5
    far = torch.full_like(place, longest)
    before = far if start == 0 else place
    after = far if stop == length else (stop - start) - place
    return torch.minimum(before, after)


class MaskStitcher:
    """A `Stitcher`: the mask of a picture from its tiles.

    Args:
        network: gives the scores of each class in a tile's own pixels, `scores(raw, infos)`.
        size: (height, width) of the picture, pixels.
    """

    def __init__(self, network: Any, size: tuple[int, int]) -> None:
        self.network = network
        self.mask: Mask = np.empty(size, dtype=np.uint8)
        self.blend = Blend(size, self._decide)

    def add(self, raw: Any, infos: Sequence[ImageInfo], windows: Sequence[Window]) -> None:
        """Some tiles, in reading order."""
        for scores, window in zip(self.network.scores(raw, infos), windows, strict=True):
            self.blend.add(scores, window)

    def result(self) -> SegmentationMap:
        """The prediction for the whole picture."""
        self.blend.close()
        return SegmentationMap(self.mask)

    def _decide(self, top: int, scores: Tensor) -> None:
        """scores: (K, h, W) of the rows from `top` on."""
        rows = scores.max(dim=0).indices.to(torch.uint8).numpy()  # many times faster than argmax
        self.mask[top : top + len(rows)] = rows
