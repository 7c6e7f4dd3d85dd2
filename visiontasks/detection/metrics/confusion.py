"""What was taken for what at one operating point: a confusion matrix with background, and each picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from visiontasks.detection.metrics.matching import find_owners, rank_detections
from visiontasks.detection.metrics.results import Results
from visiontasks.detection.types import Ints

CONFIDENCE: Final = 0.5  # least score of a detection that takes part
OVERLAP: Final = 0.5  # least IoU of a detection with the box it is about


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Counts at one operating point.

    counts: (K + 1, K + 1) rows truth, columns prediction; the last row has false alarms on background, the
        last column missed boxes. found, missed, false: (N,) of each picture: boxes found with their class,
        other boxes, other detections. Crowds and difficult boxes, and what is found on them, are left out.
    """

    counts: Ints
    found: Ints
    missed: Ints
    false: Ints


def confuse(results: Results) -> Confusion:
    """Match by place alone, best score first, and see which classes meet."""
    confident = results.confident(CONFIDENCE)
    boxes = confident.without_classes()
    ignored = boxes.crowd | boxes.difficult
    owner = find_owners(boxes, rank_detections(boxes), ignored, OVERLAP)
    background = results.num_classes
    counts_as_found = ~np.append(ignored, False)[owner]
    truth = np.append(results.true_labels, background)[owner]
    missed = ~ignored
    missed[owner[owner >= 0]] = False
    rows = np.concatenate([truth[counts_as_found], results.true_labels[missed]])
    columns = np.concatenate([confident.labels[counts_as_found], np.full(missed.sum(), background)])
    size = background + 1
    counts = np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)  # (K + 1, K + 1)
    is_right = counts_as_found & (truth == confident.labels)

    def per_picture(pictures: Ints) -> Ints:
        return np.bincount(pictures, minlength=results.num_pictures).astype(np.int64)

    found = per_picture(confident.picture[is_right])
    return Confusion(
        counts=counts.astype(np.int64),
        found=found,
        missed=per_picture(results.true_picture[~ignored]) - found,
        false=per_picture(confident.picture[counts_as_found & ~is_right]),
    )
