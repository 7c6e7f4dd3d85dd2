import numpy as np
import pytest

from visiontasks.detection.metrics.confusion import confuse
from visiontasks.detection.metrics.results import pack_results

from .scenes import boxes_of, detections_of

A, B, C = (0, 0, 10, 10), (20, 20, 30, 30), (40, 40, 50, 50)


def confusion_of(found, true, classes=2):
    return confuse(pack_results([detections_of(found)], [true], classes))


CASES = {  # name: found, true, counts (rows a, b, background), (found, missed, false)
    "nothing": ([], boxes_of(), [[0, 0, 0], [0, 0, 0], [0, 0, 0]], (0, 0, 0)),
    "right": ([(0, 0.9, *A)], boxes_of([(0, *A)]), [[1, 0, 0], [0, 0, 0], [0, 0, 0]], (1, 0, 0)),
    "another class": ([(1, 0.9, *A)], boxes_of([(0, *A)]), [[0, 1, 0], [0, 0, 0], [0, 0, 0]], (0, 1, 1)),
    "missed": ([], boxes_of([(1, *A)]), [[0, 0, 0], [0, 0, 1], [0, 0, 0]], (0, 1, 0)),
    "false alarm": ([(1, 0.9, *A)], boxes_of(), [[0, 0, 0], [0, 0, 0], [0, 1, 0]], (0, 0, 1)),
    "elsewhere": ([(0, 0.9, *A)], boxes_of([(0, *B)]), [[0, 0, 1], [0, 0, 0], [1, 0, 0]], (0, 1, 1)),
    "unsure": ([(0, 0.49, *A)], boxes_of([(0, *A)]), [[0, 0, 1], [0, 0, 0], [0, 0, 0]], (0, 1, 0)),
    "twice": (
        [(0, 0.9, *A), (0, 0.8, *A)],
        boxes_of([(0, *A)]),
        [[1, 0, 0], [0, 0, 0], [1, 0, 0]],
        (1, 0, 1),
    ),
    "difficult": (
        [(0, 0.9, *A), (1, 0.9, *B)],
        boxes_of([(0, *A), (1, *B)], difficult=[0]),
        [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
        (1, 0, 0),
    ),
    "a crowd takes many": (
        [(0, 0.9, 0, 0, 5, 5), (0, 0.8, 5, 5, 10, 10), (1, 0.7, 0, 5, 5, 10)],
        boxes_of([(0, *A), (1, *C)], crowd=[0]),
        [[0, 0, 0], [0, 0, 1], [0, 0, 0]],
        (0, 1, 0),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_cases(case):
    found, true, counts, (right, missed, false) = CASES[case]
    confusion = confusion_of(found, true)
    assert confusion.counts.tolist() == counts
    assert confusion.found.tolist() == [right]
    assert confusion.missed.tolist() == [missed]
    assert confusion.false.tolist() == [false]


def test_each_picture_for_itself():
    results = pack_results(
        [detections_of([(0, 0.9, *A)]), detections_of(), detections_of([(0, 0.9, *A)])],
        [boxes_of([(0, *A), (1, *B)]), boxes_of([(0, *A)]), boxes_of()],
        2,
    )
    confusion = confuse(results)
    assert confusion.counts.tolist() == [[1, 0, 1], [0, 0, 1], [1, 0, 0]]
    assert confusion.found.tolist() == [1, 0, 0]
    assert confusion.missed.tolist() == [1, 1, 0]
    assert confusion.false.tolist() == [0, 0, 1]


def test_every_box_and_detection_is_counted_once():
    rng = np.random.default_rng(0)
    truths, found = [], []
    for _ in range(20):
        corners = rng.integers(0, 30, (8, 2))
        rows = [(rng.integers(3), *corner, *(corner + rng.integers(5, 30, 2))) for corner in corners]
        truths.append(boxes_of(rows))
        found.append(
            detections_of([((row[0] + (rng.random() < 0.2)) % 3, rng.random(), *row[1:]) for row in rows])
        )
    confusion = confuse(pack_results(found, truths, 3))
    labels = np.concatenate([true.labels for true in truths])
    assert confusion.counts[:3].sum(axis=1).tolist() == np.bincount(labels, minlength=3).tolist()
    sure = np.concatenate([one.labels[one.scores >= 0.5] for one in found])
    assert confusion.counts[:, :3].sum(axis=0).tolist() == np.bincount(sure, minlength=3).tolist()
    assert confusion.counts[3, 3] == 0
    assert confusion.found.sum() == np.trace(confusion.counts)
