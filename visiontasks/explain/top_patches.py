"""The patches of a data set that excite each unit of a layer most: one pass, memory that does not grow.

Source: 002_c9420f5f504d7522 (visualizing trained filters); Zeiler & Fergus 2014, arXiv:1311.2901.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visiontasks.classes import ClassMap
from visiontasks.drawing import DARK, contact_sheet
from visiontasks.errors import DataError, UsageError
from visiontasks.explain.features import features_at
from visiontasks.ledger import Ledger
from visiontasks.ops.layers import LayerRow
from visiontasks.ops.pictures import resize
from visiontasks.types import Batch, Example, Fetch, Image, ImageInfo, Sample, Source, Transform, Window

T = TypeVar("T")

TILE: Final = 72  # side of a patch on a sheet, pixels
UNITS_A_SHEET: Final = 64


class Place(int):
    """A picture's place in a data set, which prints as what the data set calls it."""

    def __new__(cls, place: int, name: str) -> Place:
        made = super().__new__(cls, place)
        made.name = name
        return made

    name: str

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return Place, (int(self), self.name)


class Unlabelled:
    """A transform that passes the truth over: data of any classes will do."""

    def __init__(self, transform: Transform[Any]) -> None:
        self.transform = transform

    def __call__(
        self, sample: Sample[Any], rng: np.random.Generator, fetch: Fetch[Any] | None
    ) -> Example[Any]:
        return self.transform(Sample(sample.image, None, sample.image_id), rng, None)


class Numbered(Generic[T]):
    """A data set whose pictures are called by their `Place`, so that a batch says where each came from."""

    def __init__(self, source: Source[T]) -> None:
        self.source = source
        self.classes: ClassMap = source.classes
        self.ledger: Ledger = source.ledger
        self.fingerprint, self.root, self.files = source.fingerprint, source.root, source.files

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample[T]:
        sample = self.source[index]
        return replace(sample, image_id=Place(index, str(sample.image_id)))


@dataclass(frozen=True, slots=True, eq=False)
class TopPatches:
    """For each of U units its K strongest pictures, strongest first, each where it excites the unit most.

    scores: (U, K) float32 activations; -inf where the data set has fewer than K pictures.
    pictures: (U, K) int64, places in the data set; -1 where there are none.
    positions: (U, K, 2) int64, row and column of the layer's output; 0 where it has no positions.
    infos: {picture: its way from network pixels to original ones}.
    """

    scores: NDArray[np.float32]
    pictures: NDArray[np.int64]
    positions: NDArray[np.int64]
    infos: dict[int, ImageInfo]


class Strongest:
    """Keeps, of each unit, the K pictures that excite it most, while batches come and go.

    Args:
        k: pictures a unit, at least 1; of equal ones those that come first.
        field: of the layer: positions whose field is centred in padding then do not count.
    """

    def __init__(self, k: int, field: LayerRow | None = None) -> None:
        self.k, self.field = k, field
        self.kept: tuple[Tensor, Tensor, Tensor] | None = None  # scores, pictures, positions: (K, U) each
        self.infos: dict[int, ImageInfo] = {}

    def add(self, features: Tensor, batch: Batch) -> None:
        """A layer's output, (B, U, h, w) or (B, U), for a batch whose `image_id` is the place in the data."""
        features = features.float()
        if self.field is not None and features.ndim == 4:
            features = without_padding(features, batch, self.field)
        scores, places = features.flatten(2).max(2) if features.ndim == 4 else (features, None)  # (B, U) each
        width = features.shape[3] if features.ndim == 4 else 1
        numbers = torch.tensor([int(info.image_id) for info in batch.infos], device=scores.device)
        rows = torch.zeros_like(scores, dtype=torch.int64) if places is None else places
        # a map's width differs from batch to batch where pictures do: row and column as one number
        rows = (rows // width << 32) + rows % width
        self.kept = _best((scores, numbers[:, None].expand_as(rows), rows), self.kept, self.k)
        self.infos.update({int(info.image_id): info for info in batch.infos})
        alive = set(self.kept[1].flatten().tolist())
        self.infos = {number: info for number, info in self.infos.items() if number in alive}

    def result(self) -> TopPatches:
        """What was kept. Raises: DataError where there was no picture."""
        if self.kept is None:
            raise DataError("expected at least one picture to look at, found none; choose another split")
        return _as_arrays(self.kept, self.infos, self.k)


@torch.inference_mode()
def find_top(
    network: nn.Module, layer: str, batches: Iterable[Batch], k: int, field: LayerRow | None = None
) -> TopPatches:
    """Look at each picture once, for all units of a layer.

    Args:
        network: in evaluation mode.
        layer: dotted name; its units are its channels.
        batches: on the network's device, normalised; `image_id` is the place in the data set (`Numbered`).
        k, field: see `Strongest`.

    Raises:
        UsageError: see `features_at`. DataError: there are no pictures.
    """
    strongest = Strongest(k, field)
    for batch in batches:
        strongest.add(features_at(network, layer, batch), batch)
    return strongest.result()


def _best(
    found: tuple[Tensor, Tensor, Tensor], kept: tuple[Tensor, Tensor, Tensor] | None, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest of each column of what was kept and what was found, largest first; nan is smallest."""
    scores, pictures, places = (
        found if kept is None else [torch.cat([old, new]) for old, new in zip(kept, found, strict=True)]
    )
    scores = scores.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    order = scores.sort(dim=0, descending=True, stable=True).indices[:k]
    return scores.gather(0, order), pictures.gather(0, order), places.gather(0, order)


def without_padding(features: Tensor, batch: Batch, field: LayerRow) -> Tensor:
    """Features (B, C, h, w) with -inf where the centre of the field lies outside the picture."""
    if field.receptive_field is None or field.field_start is None or field.cumulative_stride is None:
        return features
    inside = []
    for axis, length in enumerate(features.shape[2:]):
        first = field.field_start[axis] + field.receptive_field[axis] / 2
        centre = first + field.cumulative_stride[axis] * torch.arange(length)
        begin = torch.tensor([(info.pad_top, info.pad_left)[axis] for info in batch.infos])
        extent = torch.tensor([(info.resized_height, info.resized_width)[axis] for info in batch.infos])
        inside.append((centre > begin[:, None]) & (centre < (begin + extent)[:, None]))  # (B, length)
    mask = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (B, 1, h, w)
    mask |= ~mask.flatten(1).any(1).view(-1, 1, 1, 1)  # a picture smaller than a step is all there is
    return features if bool(mask.all()) else features.masked_fill(~mask.to(features.device), -math.inf)


def _as_arrays(kept: tuple[Tensor, Tensor, Tensor], infos: dict[int, ImageInfo], k: int) -> TopPatches:
    scores, pictures, places = (tensor.T.cpu().numpy() for tensor in kept)
    missing = ((0, 0), (0, k - scores.shape[1]))
    places = np.pad(places, missing)
    return TopPatches(
        np.pad(scores, missing, constant_values=-np.inf),
        np.pad(pictures, missing, constant_values=-1),
        np.stack([places >> 32, places & 0xFFFFFFFF], axis=2),
        infos,
    )


def patch_window(field: LayerRow, position: Sequence[int], info: ImageInfo) -> Window:
    """The receptive field of one output, in original pixels; parts of it may lie outside the picture.

    Args:
        field: of the layer, see `receptive_field`. position: (row, column) of its output.
        info: of the picture.
    """
    if field.receptive_field is None or field.field_start is None or field.cumulative_stride is None:
        return 0, 0, info.width, info.height
    ends = []
    for axis, (pad, resized, original) in enumerate(
        (
            (info.pad_top, info.resized_height, info.height),
            (info.pad_left, info.resized_width, info.width),
        )
    ):
        first = field.field_start[axis] + position[axis] * field.cumulative_stride[axis] - pad
        scale = original / resized
        begin, end = first * scale, (first + field.receptive_field[axis]) * scale
        ends.append((math.floor(begin + 1e-6), math.ceil(end - 1e-6)))
    (top, bottom), (left, right) = ends
    return left, top, right, bottom


def cut(image: Image, window: Window) -> Image:
    """The part of a picture in a window; dark grey where the window leaves the picture."""
    left, top, right, bottom = window
    height, width = image.shape[:2]
    patch = np.empty((bottom - top, right - left, 3), dtype=np.uint8)
    patch[:] = DARK
    seen = image[max(0, top) : min(bottom, height), max(0, left) : min(right, width)]
    y, x = max(0, -top), max(0, -left)
    patch[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
    return patch


def draw_sheets(
    top: TopPatches, field: LayerRow, read: Callable[[int], Image], units: Sequence[int]
) -> Iterator[tuple[list[int], Image]]:
    """Contact sheets of up to 64 units: (the units, the picture); a cell a unit, its patches in rows.

    Args:
        field: of the layer. read: a picture of the data set by its place, original pixels.
        units: which, in this order.

    Raises: UsageError for a unit that the layer does not have.
    """
    for unit in units:
        check_unit(unit, len(top.scores))
    for start in range(0, len(units), UNITS_A_SHEET):
        page = list(units[start : start + UNITS_A_SHEET])
        patches = _patches(top, field, read, page)
        cells = [_grid([patch for patch in patches[unit] if patch is not None]) for unit in page]
        captions = [f"unit {unit}: {top.scores[unit, 0]:.3g}" for unit in page]
        cell = max(max(image.shape[:2]) for image in cells)
        yield page, contact_sheet(cells, cell=cell, captions=captions)


def check_unit(unit: int, count: int) -> None:
    """Raises: UsageError for a unit that a layer does not have."""
    if not 0 <= unit < count:
        raise UsageError(f"expected a unit of the layer, 0 to {count - 1}, found {unit}")


def _patches(
    top: TopPatches, field: LayerRow, read: Callable[[int], Image], units: Sequence[int]
) -> dict[int, list[Image | None]]:
    """The tiles of some units; each picture is read once."""
    tiles: dict[int, list[Image | None]] = {unit: [None] * top.scores.shape[1] for unit in units}
    wanted: dict[int, list[tuple[int, int]]] = {}
    for unit in units:
        for rank, picture in enumerate(top.pictures[unit].tolist()):
            if picture >= 0:
                wanted.setdefault(picture, []).append((unit, rank))
    for picture, places in wanted.items():
        image = read(picture)
        for unit, rank in places:
            window = patch_window(field, top.positions[unit, rank].tolist(), top.infos[picture])
            tiles[unit][rank] = _tile(cut(image, window))
    return tiles


def _tile(patch: Image) -> Image:
    """A patch at the size of a tile: whole pixels where it is enlarged, area averages where it shrinks."""
    factor = TILE // max(patch.shape[:2])
    if factor > 1:
        patch = patch.repeat(factor, axis=0).repeat(factor, axis=1)
    scale = min(1.0, TILE / max(patch.shape[:2]))
    patch = resize(patch, (max(1, round(scale * patch.shape[0])), max(1, round(scale * patch.shape[1]))))
    tile = np.empty((TILE, TILE, 3), dtype=np.uint8)
    tile[:] = DARK
    top, left = (TILE - patch.shape[0]) // 2, (TILE - patch.shape[1]) // 2
    tile[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return tile


def _grid(tiles: Sequence[Image]) -> Image:
    """Tiles of one size in rows, two pixels apart."""
    columns = max(1, math.ceil(math.sqrt(len(tiles))))
    rows, pitch = max(1, -(-len(tiles) // columns)), TILE + 2
    grid = np.empty((rows * pitch - 2, columns * pitch - 2, 3), dtype=np.uint8)
    grid[:] = DARK
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        grid[row * pitch : row * pitch + TILE, column * pitch : column * pitch + TILE] = tile
    return grid


def patch_records(
    top: TopPatches, field: LayerRow, files: Sequence[str], units: Sequence[int]
) -> list[dict[str, Any]]:
    """JSON: for each unit its patches: `file`, `score`, `box` (xyxy original pixels, cut to the picture)."""
    records = []
    for unit in units:
        patches = []
        for rank, picture in enumerate(top.pictures[unit].tolist()):
            if picture < 0:
                continue
            info = top.infos[picture]
            left, upper, right, lower = patch_window(field, top.positions[unit, rank].tolist(), info)
            box = [max(0, left), max(0, upper), min(right, info.width), min(lower, info.height)]
            patches.append({"file": files[picture], "score": float(top.scores[unit, rank]), "box": box})
        records.append({"unit": unit, "patches": patches})
    return records
