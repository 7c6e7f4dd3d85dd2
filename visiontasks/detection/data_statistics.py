"""What the boxes of a split are like: how many, how large, which classes together; anchors that fit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from visiontasks.data_tools import Statistics
from visiontasks.detection.data_examine import sides_at
from visiontasks.detection.datasets.labelled_boxes import LabelledBoxes
from visiontasks.detection.types import Boxes, Floats, Ints
from visiontasks.types import Source

NUM_ANCHORS: Final = 9
LEVELS: Final = 3  # of a pyramid: a third of the anchors each
MOST_SIDES: Final = 20_000  # boxes that anchors are fitted to, evenly spaced in the data
ROUNDS: Final = 300
MULTIPLE: Final = 32  # px that sizes of a network's input are multiples of
LEGIBLE: Final = 24.0  # px, the shorter side of a box: three cells of a pyramid's level of stride 8
LEGIBLE_SHARE: Final = 0.95  # of the boxes
MOST_CLASSES: Final = 12  # in a table of all pairs
MOST_PAIRS: Final = 30
_CHUNK: Final = 4096  # pictures

Rows = Sequence[Mapping[str, Any]]


def statistics(source: Source[Boxes], size: tuple[int, int] | None) -> Statistics:
    """Tables, distributions and suggestions for a split; see `DataTools`."""
    assert isinstance(source, LabelledBoxes)  # what every format becomes
    annotations = source.annotations
    sides = annotations.boxes[:, 2:] - annotations.boxes[:, :2]  # (M, 2) width, height
    solid = (sides > 0).all(axis=1)
    sizes = annotations.sizes[annotations.picture]
    known = solid & (sizes > 0).all(axis=1)
    shares = np.sqrt(sides[known].prod(axis=1) / sizes[known].prod(axis=1))
    distributions: dict[str, Floats] = {
        "boxes a picture": np.diff(annotations.starts).astype(np.float64),
        "box width, px": sides[solid, 0],
        "box height, px": sides[solid, 1],
        "box side, share of the picture's (square root of the areas' ratio)": shares,
        "aspect ratio of a box, width / height": sides[solid, 0] / sides[solid, 1],
    }
    tables: dict[str, Rows] = {
        "boxes of each class": _class_rows(source, sides, solid),
        "pictures that show two classes": _pair_rows(source),
    }
    suggestions: dict[str, Any] = {}
    if known.any():
        suggestions["input.size"] = list(_input_size(source, sides[known], sizes[known]))
        at = size or tuple(suggestions["input.size"])
        fitted = sides_at(source, at)[known]
        distributions[f"box side at {at[0]} x {at[1]}, px"] = np.sqrt(fitted.prod(axis=1))
        tables[f"anchors at {at[0]} x {at[1]}, px (k-means on 1 - IoU)"], anchors = _anchor_rows(fitted)
        suggestions |= {f"model.anchors.{name}": values for name, values in anchors.items()}
    return Statistics(tables=tables, distributions=distributions, suggestions=suggestions)


def _class_rows(source: LabelledBoxes, sides: Floats, solid: Any) -> Rows:
    annotations, names = source.annotations, source.classes.names
    pairs = np.unique(annotations.picture * len(names) + annotations.labels)
    pictures = np.bincount(pairs % len(names), minlength=len(names))
    rows = []
    for label, name in enumerate(names):
        mine = annotations.labels == label
        row: dict[str, Any] = {
            "class": name,
            "boxes": int(np.count_nonzero(mine)),
            "pictures": int(pictures[label]),
        }
        some = sides[mine & solid]
        medians = np.median(some, axis=0).tolist() if len(some) else [None, None]
        rows.append(row | dict(zip(("median width, px", "median height, px"), medians, strict=True)))
    return rows


def _pair_rows(source: LabelledBoxes) -> Rows:
    """On how many pictures two classes are together: all pairs of a few classes, the commonest of many."""
    names = source.classes.names
    counts = _together(source)
    if len(names) <= MOST_CLASSES:
        rows = (dict(zip(names, row, strict=True)) for row in counts.tolist())
        return [{"class": name, **row} for name, row in zip(names, rows, strict=True)]
    one, two = np.triu_indices(len(names), k=1)
    order = np.argsort(-counts[one, two], kind="stable")[:MOST_PAIRS]
    return [
        {"class": names[one[i]], "with": names[two[i]], "pictures": int(counts[one[i], two[i]])}
        for i in order.tolist()
        if counts[one[i], two[i]]
    ]


def _together(source: LabelledBoxes) -> Ints:
    """(K, K) on how many pictures two classes are, on the diagonal one."""
    annotations, num_classes = source.annotations, len(source.classes)
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    for start in range(0, len(annotations), _CHUNK):
        stop = min(start + _CHUNK, len(annotations))
        part = slice(int(annotations.starts[start]), int(annotations.starts[stop]))
        shown = np.zeros((stop - start, num_classes), dtype=np.float32)
        shown[annotations.picture[part] - start, annotations.labels[part]] = 1
        counts += np.rint(shown.T @ shown).astype(np.int64)
    return counts


def _input_size(source: LabelledBoxes, sides: Floats, sizes: Ints) -> tuple[int, int]:
    """Height and width, multiples of 32, at which most boxes are legible; no more than the pictures have.

    Args:
        sides: (M, 2) width and height of each box, px. sizes: (M, 2) of their pictures.
    """
    all_sizes = source.annotations.sizes
    median = np.median(all_sizes[(all_sizes > 0).all(axis=1)], axis=0)  # height, width
    longest = LEGIBLE * sizes.max(axis=1) / sides.min(axis=1)  # px of the picture's longer side, by box
    needed = min(float(np.quantile(longest, LEGIBLE_SHARE)), float(np.max(median)))
    height, width = (np.ceil(median * needed / np.max(median) / MULTIPLE) * MULTIPLE).astype(int).tolist()
    return height, width


def _anchor_rows(sides: Floats) -> tuple[Rows, dict[str, Any]]:
    """The best anchors for boxes of (M, 2) width and height, and as many as sizes and ratios of a config."""
    some = sides[:: max(1, len(sides) // MOST_SIDES)]
    anchors = fit_anchors(some, NUM_ANCHORS)
    overlaps = _overlaps(some, anchors)
    best = np.argmax(overlaps, axis=1)
    rows = [
        {
            "width": round(float(anchor[0]), 1),
            "height": round(float(anchor[1]), 1),
            "share of the boxes": round(float((best == i).mean()), 4),
            "mean best IoU": round(float(overlaps[:, i][best == i].mean()), 4) if (best == i).any() else None,
        }
        for i, anchor in enumerate(anchors)
    ]
    every = {"share of the boxes": 1.0, "mean best IoU": round(float(overlaps.max(axis=1).mean()), 4)}
    rows.append({"width": None, "height": None, **every})
    groups = np.array_split(np.sqrt(anchors.prod(axis=1)), LEVELS)
    ratios = np.quantile(np.log(some[:, 1] / some[:, 0]), [1 / 6, 1 / 2, 5 / 6])  # height / width
    return rows, {
        "sizes": [[round(float(np.exp(np.log(group).mean())))] for group in groups if len(group)],
        "ratios": [round(float(ratio), 2) for ratio in np.exp(ratios)],
    }


def fit_anchors(sides: Floats, count: int) -> Floats:
    """The (k, 2) widths and heights that boxes overlap most with, by area; k = count, or as many as differ.

    k-means with the distance 1 - IoU of boxes about one centre, started at quantiles of the area (so that
    nothing is drawn at random), each anchor the median of its boxes.

    Args:
        sides: (M, 2) width and height of boxes, above 0.

    Source: Redmon and Farhadi, YOLO9000 (2017), section 2, "Dimension Clusters".
    """
    distinct = np.unique(sides, axis=0)
    if len(distinct) <= count:
        return distinct[np.argsort(distinct.prod(axis=1), kind="stable")]
    by_area = distinct[np.argsort(distinct.prod(axis=1), kind="stable")]
    anchors = by_area[((np.arange(count) + 0.5) / count * len(by_area)).astype(np.int64)]
    nearest = np.full(len(sides), -1)
    for _ in range(ROUNDS):
        before, nearest = nearest, np.argmax(_overlaps(sides, anchors), axis=1)
        if np.array_equal(before, nearest):
            break
        filled = np.unique(nearest).tolist()
        anchors = np.array([np.median(sides[nearest == i], axis=0) for i in filled])
    result: Floats = anchors[np.argsort(anchors.prod(axis=1), kind="stable")]
    return result


def _overlaps(sides: Floats, anchors: Floats) -> Floats:
    """(M, k) IoU of boxes (M, 2) and anchors (k, 2), by width and height, as if about one centre."""
    shared = np.minimum(sides[:, None], anchors).prod(axis=2)  # (M, k)
    result: Floats = shared / (sides.prod(axis=1)[:, None] + anchors.prod(axis=1) - shared)
    return result
