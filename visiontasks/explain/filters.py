"""Filters as pictures: the weights of convolutions, tiled; and Gabor functions beside those of the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from visiontasks.drawing import DARK, contact_sheet
from visiontasks.errors import DataError
from visiontasks.explain.gabor import Gabors, gabor_functions
from visiontasks.types import Image

Array = NDArray[np.float64]

CLIPPED: Final = 0.5  # percent of the weights that may be beyond black and white
TILE: Final = 64  # side of a filter of the first layer, pixels, about
SHEET_CELL: Final = 448  # side of a layer on the sheet of all, pixels
PAIR: Final = 96  # side of a filter beside its fit, pixels, about
PAIRS_A_ROW: Final = 6


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions of a network by dotted name, in the order in which it was built.

    Raises: DataError where there is none.
    """
    found = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}
    if not found:
        raise DataError("expected a network with convolutions, found none; its filters cannot be shown")
    return found


def weights_of(layer: nn.Conv2d) -> Array:
    """(C_out, C_in / groups, M_h, M_w)."""
    weights: Array = layer.weight.detach().double().cpu().numpy()
    return weights


def draw_filters(weights: Array, tile: int = TILE, columns: int | None = None) -> Image:
    """Filters side by side, all to one scale: 0 is grey, the largest positive weight white.

    Args:
        weights: (N, C, M_h, M_w); three channels are shown as colours, others as their mean, in grey.
        tile: side of a filter, pixels, about; each weight is a square of whole pixels.
        columns: filters a row; None = about as wide as high.

    Returns:
        (H, W, 3) uint8.
    """
    shown = weights if weights.shape[1] == 3 else weights.mean(1, keepdims=True).repeat(3, axis=1)
    scale = np.percentile(np.abs(shown), 100 - CLIPPED) or 1.0
    tiles = np.clip(np.rint(127.5 + 127.5 * shown / scale), 0, 255).astype(np.uint8)
    tiles = np.moveaxis(tiles, 1, 3)  # (N, M_h, M_w, 3)
    factor = max(1, round(tile / max(tiles.shape[1:3])))
    return _tiled(tiles.repeat(factor, axis=1).repeat(factor, axis=2), columns)


def _tiled(tiles: NDArray[np.uint8], columns: int | None) -> Image:
    """(N, h, w, 3) -> one picture, a dark line of a pixel or two between them."""
    count, height, width, _ = tiles.shape
    columns = math.ceil(math.sqrt(count)) if columns is None else min(columns, count)
    rows, gap = -(-count // columns), 1 if max(height, width) < TILE // 2 else 2
    sheet = np.empty((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), dtype=np.uint8)
    sheet[:] = DARK
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def draw_layers(layers: dict[str, nn.Conv2d]) -> tuple[Image, list[str]]:
    """All convolutions on one sheet, a cell a layer, captioned with name, number and size of its filters.

    Filters of a single weight (1x1) are no pictures and are left out.

    Returns:
        ((H, W, 3) uint8, names of the layers on it).

    Raises:
        DataError: all filters are 1x1.
    """
    shown = {name: layer for name, layer in layers.items() if max(layer.kernel_size) > 1}
    if not shown:
        raise DataError("expected convolutions of more than one pixel, found 1x1 only; there is no picture")
    cells, captions = [], []
    for name, layer in shown.items():
        weights = weights_of(layer)
        columns = math.ceil(math.sqrt(len(weights)))
        cells.append(draw_filters(weights, tile=max(1, SHEET_CELL // columns - 2)))
        captions.append(f"{name}\n{describe(layer)}")
    return contact_sheet(cells, cell=SHEET_CELL, captions=captions), list(shown)


def describe(layer: nn.Conv2d) -> str:
    """`64 filters 7x7 of 3 channels`."""
    height, width = layer.kernel_size
    return f"{layer.out_channels} filters {height}x{width} of {layer.weight.shape[1]} channels"


def draw_gabors(planes: Array, fits: Gabors) -> Image:
    """Each filter (left) beside its Gabor function (right), to one scale, with the share explained.

    planes: (N, M_h, M_w), what was fitted.
    """
    side = planes.shape[1], planes.shape[2]
    pairs = np.stack([planes, gabor_functions(fits.parameters(), side)], axis=1)[:, :, None]
    cells = [draw_filters(pair, tile=PAIR, columns=2) for pair in pairs]  # pair: (2, 1, M_h, M_w)
    captions = [
        f"{i}: {100 * share:.0f}% explained, {math.degrees(theta):.0f}°"
        for i, (share, theta) in enumerate(zip(fits.explained, fits.theta, strict=True))
    ]
    return contact_sheet(cells, PAIRS_A_ROW, captions=captions)


def gabor_table(fits: Gabors, in_plane: Array) -> tuple[list[str], list[Sequence[Any]]]:
    """Header and a row a filter, for CSV. in_plane: (N,) share of the filter that was fitted at all."""
    rows = [{**row, "in_plane": float(share)} for row, share in zip(fits.rows(), in_plane, strict=True)]
    return list(rows[0]), [list(row.values()) for row in rows]
