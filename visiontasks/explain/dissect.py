"""Network dissection: which units of a layer stand for which concepts of a segmentation data set.

A unit is compared with a concept by the IoU, over all pictures, of where the unit is strongly active and
where the concept is. Two passes over the data set and memory that does not grow with it.

Source: Bau et al. 2017 (arXiv 1704.05796, section 2.2 and equation 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visiontasks.classes import ClassMap
from visiontasks.drawing import DARK, contact_sheet
from visiontasks.errors import DataError
from visiontasks.explain.features import features_at
from visiontasks.explain.grad_cam import enlarge
from visiontasks.explain.top_patches import Strongest, TopPatches, without_padding
from visiontasks.ops.layers import LayerRow
from visiontasks.ops.pictures import resize
from visiontasks.types import Batch, Example, Fetch, Image, ImageInfo, Sample, Transform

Mask = NDArray[np.uint8]  # (H, W) class indices; 255 = no label
Look = Callable[[int], tuple[Image, Tensor]]  # place -> network pixels (H, W, 3), features (U, h, w)

IGNORE: Final = 255
ACTIVE: Final = 0.005  # share of the positions at which a unit counts as active (Bau et al.)
DETECTOR: Final = 0.04  # IoU from which a unit counts as a detector of its concept (Bau et al.)
SAMPLE: Final = 1 << 25  # activations that the thresholds are estimated from, over all units: 128 MiB
CHUNK: Final = 1 << 24  # activations that are enlarged at once: 64 MiB
UNITS: Final = 3  # of each concept, on the sheet
EXAMPLES: Final = 4  # pictures of each of them
TILE: Final = 120  # height of a picture on the sheet, pixels
DIM: Final = 0.5  # of a picture's brightness, where the unit is not active
OUTLINE: Final = (255, 221, 0)  # colour around where it is


Step = tuple[float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class Dissection:
    """What each of U units and each of K concepts have in common, over a data set.

    concepts: their names. share: of the positions, see `ACTIVE`.
    thresholds: (U,) float32, above which a unit counts as active.
    measured: (U,) float64, the share of the positions at which it is.
    both, active: (U, K) and (U,) int64, labelled pixels on which the unit is active, of each concept and all.
    present: (K,) int64, pixels of each concept.
    strongest: the pictures that excite each unit most.
    step: network pixels between a unit's neighbouring positions, see `is_active`.
    """

    concepts: tuple[str, ...]
    share: float
    thresholds: NDArray[np.float32]
    measured: NDArray[np.float64]
    both: NDArray[np.int64]
    active: NDArray[np.int64]
    present: NDArray[np.int64]
    strongest: TopPatches
    step: Step = None

    @property
    def iou(self) -> NDArray[np.float64]:
        """(U, K): intersection over union; nan where neither the unit nor the concept has a pixel."""
        union = self.active[:, None] + self.present - self.both
        return _ratio(self.both, union)

    @property
    def best(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Of each unit the concept with the largest IoU, and that IoU: (U,) each."""
        iou = np.nan_to_num(self.iou, nan=-1.0)
        return iou.argmax(axis=1), np.maximum(np.max(iou, axis=1), 0.0)

    @property
    def reachable(self) -> NDArray[np.float64]:
        """(U, K): the IoU if as few pixels as possible were the unit's or the concept's alone, else as `iou`.

        A unit that is active on 0.5% of the pixels has at most 0.02 in common with a concept of 25%.
        """
        fewer = np.minimum(self.active[:, None], self.present)  # (U, K)
        more = np.maximum(self.active[:, None], self.present)
        return _ratio(fewer, more)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shares; nan where the whole is 0."""
    found: NDArray[np.float64] = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return found


class WithMask:
    """A transform that hands over the mask in network pixels as the truth, whatever the network's task.

    The mask is scaled to the nearest pixel; padding is 255.
    """

    def __init__(self, transform: Transform[Any]) -> None:
        self.transform = transform

    def __call__(
        self, sample: Sample[Mask], rng: np.random.Generator, fetch: Fetch[Mask] | None
    ) -> Example[Mask]:
        example = self.transform(Sample(sample.image, None, sample.image_id), rng, None)
        mask = network_mask(sample.target, example.info, (example.image.shape[-2], example.image.shape[-1]))
        return Example(example.image, None, example.info, mask, example.proposals)


def network_mask(mask: Mask, info: ImageInfo, size: tuple[int, int]) -> Mask:
    """A mask (H, W) in the pixels of a network's input of `size` (height, width); 255 beside the picture."""
    scaled = cv2.resize(
        mask, (info.resized_width, info.resized_height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    placed = np.full(size, IGNORE, dtype=np.uint8)
    top, left = max(0, info.pad_top), max(0, info.pad_left)
    seen = scaled[max(0, -info.pad_top) :, max(0, -info.pad_left) :][: size[0] - top, : size[1] - left]
    placed[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
    return placed


class Sampled:
    """A uniform sample of the positions of a data set, the same for all units: a reservoir.

    A share q that is read off n sampled positions is off by sqrt(q (1 - q) / n) (standard error); nothing
    is lost where the data set has no more positions than the sample.
    """

    def __init__(self, seed: int = 0, values: int = SAMPLE) -> None:
        self.values, self.rng = values, torch.Generator().manual_seed(seed)
        self.keys = torch.empty(0, dtype=torch.float64)  # the smallest of all positions' random keys
        self.kept: Tensor | None = None  # (positions, U)

    def add(self, rows: Tensor) -> None:
        """Some positions: (n, U) float32."""
        most = max(1, self.values // rows.shape[1])
        keys = torch.rand(len(rows), dtype=torch.float64, generator=self.rng)
        if len(self.keys) == most:
            chosen = keys < self.keys.max()
            keys, rows = keys[chosen], rows[chosen.to(rows.device)]
        keys = torch.cat([self.keys, keys])
        kept = rows.cpu() if self.kept is None else torch.cat([self.kept, rows.cpu()])
        if len(keys) > most:
            keys, order = keys.topk(most, largest=False)
            kept = kept[order]
        self.keys, self.kept = keys, kept

    def thresholds(self, share: float) -> NDArray[np.float32]:
        """(U,): the smallest sampled value that at most `share` of the sampled positions exceed.

        Where none exceeds it, since so many have a unit's largest value (a ReLU6), just below that.
        """
        assert self.kept is not None
        rank = int(share * len(self.kept))
        highest = self.kept.topk(rank + 1, dim=0).values  # (rank + 1, U)
        found: NDArray[np.float32] = highest[rank].numpy()
        is_full = (highest[rank] == highest[0]) & (highest[0] > self.kept.amin(dim=0))
        return np.where(is_full.numpy(), np.nextafter(found, np.float32(-np.inf)), found)


def positions_of(features: Tensor, batch: Batch, field: LayerRow | None) -> Tensor:
    """The positions of a layer's output (B, U, h, w) that lie on a picture, as rows: (n, U)."""
    if field is None:
        return features.permute(0, 2, 3, 1).flatten(0, 2)
    inside = ~without_padding(features[:, :1], batch, field)[:, 0].isneginf()  # (B, h, w)
    return features.permute(0, 2, 3, 1)[inside]


def maps_at(network: nn.Module, layer: str, batch: Batch) -> Tensor:
    """The output of a layer, (B, U, h, w) float32; one position where it has none. Raises: UsageError."""
    features = features_at(network, layer, batch).float()
    return features if features.ndim == 4 else features[:, :, None, None]


@torch.inference_mode()
def dissect(
    network: nn.Module,
    layer: str,
    batches: Callable[[], Iterable[tuple[Batch, Sequence[Mask]]]],
    concepts: ClassMap,
    *,
    share: float = ACTIVE,
    field: LayerRow | None = None,
) -> Dissection:
    """Compare all units of a layer with all concepts, in two passes: thresholds, then intersections.

    A unit is active where its map, enlarged bilinearly to the network's input, exceeds its threshold; a unit
    that is 0 nearly everywhere (a ReLU) where it is not 0.

    Args:
        network: in evaluation mode.
        layer: dotted name; its units are its channels.
        batches: one pass: batches on the network's device, normalised, whose `image_id` is the place in the
            data set, with a mask (h, w) in network pixels a picture, see `WithMask`.
        concepts: the classes of the masks; 255 is not counted.
        share: of the positions at which a unit is active.
        field: of the layer: positions in padding do not count for the thresholds.

    Raises:
        UsageError: see `features_at`. DataError: there are no pictures.
    """
    sampled, strongest = Sampled(), Strongest(EXAMPLES, field)
    step = None if field is None else field.cumulative_stride
    for batch, _ in batches():
        features = maps_at(network, layer, batch)
        strongest.add(features, batch)
        sampled.add(positions_of(features, batch, field))
    if sampled.kept is None:
        raise DataError("expected at least one picture to look at, found none; choose another split")
    found = sampled.thresholds(share)
    limits = torch.from_numpy(found)
    counts = torch.zeros(len(found), 256, dtype=torch.int64)
    present = np.zeros(256, dtype=np.int64)
    above, positions = torch.zeros(len(found), dtype=torch.int64), 0
    for batch, masks in batches():
        features = maps_at(network, layer, batch)
        rows = positions_of(features, batch, field)
        above += (rows > limits.to(rows.device)).sum(dim=0).cpu()
        positions += len(rows)
        for one, mask in zip(features, masks, strict=True):
            present += np.bincount(mask.ravel(), minlength=256)
            size = batch.images.shape[-2], batch.images.shape[-1]
            counts += active_pixels(one, limits, mask, size, step)
    if not present[: len(concepts)].any():
        raise DataError("expected masks with labelled pixels, found none; choose another split")
    return Dissection(
        tuple(concepts.names),
        share,
        found,
        (above / max(1, positions)).double().numpy(),
        counts[:, : len(concepts)].numpy(),
        counts[:, :IGNORE].sum(dim=1).numpy(),
        present[: len(concepts)],
        strongest.result(),
        step,
    )


def active_pixels(
    features: Tensor, thresholds: Tensor, mask: Mask, size: tuple[int, int], step: Step = None
) -> Tensor:
    """On how many pixels of each label each unit is active: (U, 256) int64.

    Args:
        features: (U, h, w), of one picture. thresholds: (U,). mask: (H, W), network pixels, at most `size`.
        size: (height, width) of the network's input. step: see `is_active`.
    """
    labels = torch.from_numpy(mask).to(features.device).flatten().long()
    chunks = []
    for start in range(0, len(features), max(1, CHUNK // (size[0] * size[1]))):
        part = features[start : start + max(1, CHUNK // (size[0] * size[1]))]
        limits = thresholds[start : start + len(part)].to(part.device)
        active = is_active(part, limits, size, step)  # (u, H, W)
        active = active[:, : mask.shape[0], : mask.shape[1]].flatten(1)  # (u, H * W)
        units, places = active.nonzero(as_tuple=True)
        found = torch.bincount(256 * units + labels[places], minlength=256 * len(part))
        chunks.append(found.view(-1, 256).cpu())  # (u, 256)
    return torch.cat(chunks)


def is_active(features: Tensor, thresholds: Tensor, size: tuple[int, int], step: Step = None) -> Tensor:
    """Where maps (U, h, w), enlarged to `size` (height, width), exceed thresholds (U,): (U, H, W) bool.

    step: pixels between neighbouring positions, down and across; see `enlarge`.
    """
    extent = list(size)
    for axis, each in enumerate(step or ()):
        covered = round(features.shape[1 + axis] * each)
        extent[axis] = covered if size[axis] - covered >= each else max(size[axis], covered)
    fine = enlarge(features[None], size, (extent[0], extent[1]))[0]  # (U, H, W)
    return fine > thresholds[:, None, None]


def detectors(found: Dissection) -> dict[str, list[int]]:
    """The units whose best concept has an IoU above `DETECTOR`, best first: {concept: units}."""
    best, iou = found.best
    order = np.argsort(-iou, kind="stable")
    return {
        name: [int(unit) for unit in order if best[unit] == index and iou[unit] > DETECTOR]
        for index, name in enumerate(found.concepts)
    }


def unit_table(found: Dissection) -> tuple[list[str], list[list[Any]]]:
    """A row a unit: its best concept and IoU, its threshold, how often it is active, all IoUs."""
    best, iou = found.best
    header = ["unit", "concept", "iou", "threshold", "active", *(f"IoU/{name}" for name in found.concepts)]
    rows = [
        [
            unit,
            found.concepts[best[unit]],
            float(iou[unit]),
            float(found.thresholds[unit]),
            float(share),
            *row,
        ]
        for unit, (share, row) in enumerate(zip(found.measured.tolist(), found.iou.tolist(), strict=True))
    ]
    return header, rows


def concept_records(found: Dissection) -> list[dict[str, Any]]:
    """JSON: a record a concept: its share of the pixels, its detectors, its best unit with IoU and limit."""
    iou, units = np.nan_to_num(found.iou), detectors(found)
    best, limits = iou.argmax(axis=0), np.nan_to_num(found.reachable)
    total = max(1, int(found.present.sum()))
    return [
        {
            "concept": name,
            "share": int(found.present[index]) / total,
            "detectors": units[name],
            "unit": int(best[index]),
            "iou": float(iou[best[index], index]),
            "reachable": float(limits[best[index], index]),
        }
        for index, name in enumerate(found.concepts)
    ]


def draw_concepts(found: Dissection, look: Look) -> Image:
    """A row a concept: its best units, each with its strongest pictures, dark where it is not active.

    The best are those with the largest IoU with the concept, detectors or not.

    Args:
        look: a picture by its place in the data set; called once for each that is shown.
    """
    iou = np.nan_to_num(found.iou, nan=-1.0)
    chosen = [
        (index, int(unit))
        for index in np.flatnonzero(found.present)
        for unit in np.argsort(-iou[:, index], kind="stable")[:UNITS]
    ]
    tiles = _tiles(found, {unit for _, unit in chosen}, look)
    images, captions = [], []
    for index, unit in chosen:
        mark = "" if iou[unit, index] > DETECTOR else " (no detector)"
        text = f"{found.concepts[index]}: unit {unit}, IoU {iou[unit, index]:.3f}{mark}"
        images.append(np.concatenate(tiles[unit], axis=1))
        captions.append(text)
    return contact_sheet(
        images, min(UNITS, len(iou)), cell=max(image.shape[1] for image in images), captions=captions
    )


def _tiles(found: Dissection, units: set[int], look: Look) -> Mapping[int, list[Image]]:
    """Of each unit its strongest pictures, all of one height, dimmed where the unit is not active."""
    strongest = found.strongest.pictures
    drawn: dict[int, dict[int, Image]] = {
        unit: {place: np.empty((0, 0, 3), np.uint8) for place in strongest[unit].tolist() if place >= 0}
        for unit in units
    }
    for place in sorted({place for rows in drawn.values() for place in rows}):
        image, features = look(place)
        for unit, rows in drawn.items():
            if place in rows:
                limit = torch.tensor([float(found.thresholds[unit])], device=features.device)
                active = is_active(
                    features[unit : unit + 1], limit, (image.shape[0], image.shape[1]), found.step
                )
                rows[place] = _tile(image, active[0].cpu().numpy())
    return {unit: list(rows.values()) for unit, rows in drawn.items()}


def _tile(image: Image, active: NDArray[np.bool_]) -> Image:
    """A picture at the height of a tile; where the unit is active bright, with an outline."""
    size = TILE, max(1, round(TILE * image.shape[1] / image.shape[0]))
    shown = cv2.resize(active.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    image = resize(image, size)
    tile = np.where(shown[..., None] > 0, image, (DIM * image).astype(np.uint8))  # (TILE, w, 3)
    tile[(cv2.dilate(shown, np.ones((3, 3), np.uint8)) > shown)] = OUTLINE
    tile[:, -1] = DARK
    return tile
