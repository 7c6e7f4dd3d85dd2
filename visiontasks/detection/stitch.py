"""Joins what is found on the overlapping tiles of a large picture.

An object at the edge of a tile is seen in part there, and whole in the neighbour if it is no larger than
the overlap: the neighbour's word counts. Of larger objects the parts are joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch

from visiontasks.detection.types import Detections, Flags, Floats, Ints
from visiontasks.ops.boxes import box_area, crowd_overlap_matrix
from visiontasks.ops.nms import nms_by_group
from visiontasks.ops.pairs import join_pairs
from visiontasks.types import ImageInfo, Window

EDGE_SHARE: Final = 0.01  # a box that ends so near to a tile's edge, as a share of its side, may be cut there
EDGE_PIXELS: Final = 2.0  # at least
BLOCK: Final = 512  # tiles that are compared with all others at once
ROWS: Final = 64  # joined boxes that are compared with all whole ones at once
SAME: Final = 0.5  # overlap from which two parts, or a part and a whole box, are one object


class DetectionStitcher:
    """Collects the detections of tiles, in pixels of the whole picture.

    Args:
        network: decodes its own raw output.
        size: (height, width) of the picture, pixels.
        options: the operating point: `iou` of two boxes that are one; `max_detections` of the picture.
    """

    def __init__(self, network: Any, size: tuple[int, int], options: Mapping[str, float]) -> None:
        self.network, self.size, self.options = network, size, options
        self.windows: list[Window] = []
        self.found: list[Detections] = []

    def add(self, raw: Any, infos: Sequence[ImageInfo], windows: Sequence[Window]) -> None:
        """Some tiles: the network's output, the way to each one's pixels, its place in the picture."""
        self.found += self.network.decode(raw, infos, self.options)
        self.windows += windows

    def result(self) -> Detections:
        """What is on the whole picture, best first."""
        return join_tiles(
            self.found,
            np.array(self.windows, dtype=np.float64).reshape(-1, 4),  # (T, 4)
            self.size,
            iou=self.options["iou"],
            limit=int(self.options["max_detections"]),
        )


def join_tiles(
    found: Sequence[Detections], windows: Floats, size: tuple[int, int], *, iou: float, limit: int
) -> Detections:
    """The detections of all tiles as those of one picture.

    Args:
        found: one a tile, in its pixels.
        windows: (T, 4) xyxy, the tiles in pixels of the picture.
        size: (height, width) of the picture.
        iou: of two boxes of a class that overlap by more, the better one stays.
        limit: boxes that are kept, best first.
    """
    tiles = np.repeat(np.arange(len(found)), [len(one) for one in found])
    boxes, labels, scores = _concatenated(found)
    boxes = boxes + windows[tiles][:, [0, 1, 0, 1]]
    is_cut = at_inner_edge(boxes, windows[tiles], size)
    starts, neighbours = neighbouring(windows)
    parts = np.flatnonzero(is_cut)
    parts = parts[~seen_by_neighbour(boxes[parts], tiles[parts], windows, starts, neighbours, size)]
    pairs = same_objects(boxes[parts], labels[parts], tiles[parts], windows, starts, neighbours)
    objects = join_pairs(len(parts), pairs)
    joined, best = _around(boxes[parts], scores[parts], objects)
    chosen = np.concatenate([np.flatnonzero(~is_cut), parts[best]])
    boxes = np.concatenate([boxes[~is_cut], joined])
    labels, scores = labels[chosen], scores[chosen]
    kept = _suppressed(boxes, labels, scores, np.arange(len(chosen)) >= len(chosen) - len(joined), iou)
    kept = kept[:limit]
    return Detections(boxes[kept], labels[kept], scores[kept])


def _concatenated(found: Sequence[Detections]) -> tuple[Floats, Ints, Floats]:
    boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes for one in found)])
    labels = np.concatenate([np.zeros(0, dtype=np.int64), *(one.labels for one in found)])
    return boxes, labels, np.concatenate([np.zeros(0), *(one.scores for one in found)])


def _suppressed(boxes: Floats, labels: Ints, scores: Floats, is_joined: Flags, iou: float) -> Ints:
    """Indices of the boxes that stay, best first: NMS a class, and nothing joined from parts that lies
    mostly within one box that a tile sees whole.
    """
    kept = nms_by_group(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels), iou)
    order: Ints = kept.numpy()
    joined, whole = order[is_joined[order]], order[~is_joined[order]]
    if not len(joined) or not len(whole):
        return order
    within = []
    for some in np.array_split(joined, -(-len(joined) // ROWS)):
        mostly = crowd_overlap_matrix(boxes[some], boxes[whole]) > SAME
        within.append(np.any(mostly & (labels[some, None] == labels[whole]), axis=1))
    return order[~np.isin(order, joined[np.concatenate(within)])]


def _margins(windows: Floats, size: tuple[int, int]) -> Floats:
    """(T, 4): how near to each edge of a tile a box may be cut; -inf at the picture's own edges."""
    sides = np.tile(windows[:, 2:] - windows[:, :2], 2)
    outer = np.concatenate([windows[:, :2] <= 0, windows[:, 2:] >= [size[1], size[0]]], axis=1)
    margins: Floats = np.where(outer, -np.inf, np.maximum(EDGE_PIXELS, EDGE_SHARE * sides))
    return margins


def _room(boxes: Floats, windows: Floats) -> Floats:
    """(N, 4): pixels between the edges of each box and of its window, negative outside."""
    return np.concatenate([boxes[:, :2] - windows[:, :2], windows[:, 2:] - boxes[:, 2:]], axis=1)


def at_inner_edge(boxes: Floats, windows: Floats, size: tuple[int, int]) -> Flags:
    """Whether each box (N, 4) may be cut by its tile (N, 4), at an edge that is not the picture's."""
    cut: Flags = np.any(_room(boxes, windows) <= _margins(windows, size), axis=1)
    return cut


def neighbouring(windows: Floats) -> tuple[Ints, Ints]:
    """The tiles that overlap each of T tiles: those of tile t are the second array's starts[t]:starts[t + 1].

    Returns: starts (T + 1,) and neighbours (P,).
    """
    counts, neighbours = [0], []
    for at in range(0, len(windows), BLOCK):
        block = windows[at : at + BLOCK, None]  # (b, 1, 4)
        overlaps = np.all(block[..., :2] < windows[None, :, 2:], axis=2)  # (b, T)
        overlaps &= np.all(windows[None, :, :2] < block[..., 2:], axis=2)
        overlaps[np.arange(len(block)), np.arange(at, at + len(block))] = False
        counts += overlaps.sum(axis=1).tolist()
        neighbours.append(np.nonzero(overlaps)[1])
    return np.cumsum(counts), np.concatenate([np.zeros(0, dtype=np.int64), *neighbours])


def _ranges(starts: Ints, stops: Ints) -> tuple[Ints, Ints]:
    """All of starts[i]:stops[i], one after the other, and the i of each."""
    counts = stops - starts
    rows = np.repeat(np.arange(len(counts)), counts)
    return rows, np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows] + starts[rows]


def seen_by_neighbour(
    boxes: Floats, tiles: Ints, windows: Floats, starts: Ints, neighbours: Ints, size: tuple[int, int]
) -> Flags:
    """Whether another tile sees all of a box, and beyond its edges: what it says there counts more.

    Args:
        boxes: (N, 4) xyxy. tiles: (N,), whose they are.
        windows: (T, 4). starts, neighbours: see `neighbouring`.
        size: (height, width) of the picture.
    """
    rows, at = _ranges(starts[tiles], starts[tiles + 1])
    around = windows[neighbours[at]]
    sees = np.all(_room(boxes[rows], around) > _margins(around, size), axis=1)
    seen = np.zeros(len(boxes), dtype=np.bool_)
    seen[rows[sees]] = True
    return seen


def same_objects(
    boxes: Floats, labels: Ints, tiles: Ints, windows: Floats, starts: Ints, neighbours: Ints
) -> Ints:
    """Pairs of parts of one object: two tiles agree on it in the region that both see.

    Args:
        boxes: (N, 4) xyxy. labels: (N,). tiles: (N,), ascending.
        windows: (T, 4). starts, neighbours: see `neighbouring`.

    Returns:
        (P, 2) indices; each pair both ways.
    """
    first_of = np.searchsorted(tiles, np.arange(len(windows) + 1))
    rows, at = _ranges(starts[tiles], starts[tiles + 1])
    others = neighbours[at]
    pairs, second = _ranges(first_of[others], first_of[others + 1])
    first = rows[pairs]
    both = labels[first] == labels[second]
    first, second = first[both], second[both]
    low = np.maximum(windows[tiles[first], :2], windows[tiles[second], :2])
    high = np.minimum(windows[tiles[first], 2:], windows[tiles[second], 2:])
    mine, theirs = (np.clip(boxes[i], np.tile(low, 2), np.tile(high, 2)) for i in (first, second))  # (P, 4)
    sides = np.minimum(mine[:, 2:], theirs[:, 2:]) - np.maximum(mine[:, :2], theirs[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    agree = np.logical_and(shared > 0, shared > SAME * (box_area(mine) + box_area(theirs) - shared))
    return np.stack([first[agree], second[agree]], axis=1)


def _around(boxes: Floats, scores: Floats, objects: Ints) -> tuple[Floats, Ints]:
    """The box around all parts of each object (M, 4), and its best part (M,).

    objects: (N,) whose part each box is, 0 to M - 1.
    """
    count = int(np.max(objects, initial=-1)) + 1
    joined = np.repeat([[np.inf, np.inf, -np.inf, -np.inf]], count, axis=0)
    np.minimum.at(joined[:, :2], objects, boxes[:, :2])
    np.maximum.at(joined[:, 2:], objects, boxes[:, 2:])
    order = np.lexsort((-scores, objects))
    return joined, order[np.searchsorted(objects[order], np.arange(count))]
