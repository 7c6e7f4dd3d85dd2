"""Tiles joined: a detector that sees exactly what a tile shows must find each object of the picture once."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiontasks.detection.stitch import DetectionStitcher, at_inner_edge, join_tiles, neighbouring
from visiontasks.detection.types import Detections
from visiontasks.types import ImageInfo

OPTIONS = {"confidence": 0.5, "iou": 0.5, "max_detections": 1000}
VISIBLE = 0.15  # share of an object that a tile must show


def detections(rows, labels=None, scores=None):
    boxes = np.asarray(rows, dtype=np.float64).reshape(-1, 4)
    n = len(boxes)
    labels = np.zeros(n, dtype=np.int64) if labels is None else np.asarray(labels)
    return Detections(boxes, labels, np.full(n, 0.9) if scores is None else np.asarray(scores, dtype=float))


def tiles_of(height, width, side, overlap):
    """(T, 4): squares in reading order, evenly spaced, with at least that share in common."""
    hop = int(side * (1 - overlap))
    rows, columns = (
        np.linspace(0, max(0, length - side), max(1, -(-(length - side) // hop) + 1)).round()
        for length in (height, width)
    )
    return np.array([(x, y, min(x + side, width), min(y + side, height)) for y in rows for x in columns])


def seen(truth, window):
    """What a perfect detector finds on a tile, in its pixels; the more it sees, the surer it is."""
    clipped = np.clip(truth.boxes, np.tile(window[:2], 2), np.tile(window[2:], 2))
    sides = np.maximum(clipped[:, 2:] - clipped[:, :2], 0)
    shares = sides.prod(axis=1) / (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(axis=1)
    order = np.flatnonzero(shares > VISIBLE)
    order = order[np.argsort(-shares[order], kind="stable")]
    return Detections(clipped[order] - np.tile(window[:2], 2), truth.labels[order], 0.9 * shares[order])


def check_found(result, truth, tolerance=1e-9):
    assert len(result) == len(truth)
    order, expected = (np.lexsort(np.c_[one.boxes, one.labels].T) for one in (result, truth))
    assert np.abs(result.boxes[order] - truth.boxes[expected]).max(initial=0) <= tolerance
    assert np.array_equal(result.labels[order], truth.labels[expected])


def objects(seed, size, low, high):
    """Boxes that do not touch: one in each cell of a grid."""
    rng = np.random.default_rng(seed)
    cell = high + 10
    rows = []
    for y in range(0, size[0] - cell + 1, cell):
        for x in range(0, size[1] - cell + 1, cell):
            width, height = rng.integers(low, high, 2)
            left, top = x + rng.integers(cell - width), y + rng.integers(cell - height)
            rows.append([left, top, left + width, top + height])
    return detections(rows, rng.integers(0, 3, len(rows)))


@given(st.integers(0, 10_000), st.sampled_from([(600, 900), (300, 1200), (640, 640)]))
def test_objects_below_the_overlap_are_found_once_and_whole(seed, size):
    truth = objects(seed, size, 8, 60)
    windows = tiles_of(*size, 256, 0.3)
    result = join_tiles([seen(truth, window) for window in windows], windows, size, iou=0.5, limit=10_000)
    check_found(result, truth)
    assert np.allclose(result.scores, 0.9)


@given(st.integers(0, 10_000))
def test_objects_above_the_overlap_are_joined_from_their_parts(seed):
    size = (700, 1000)
    truth = objects(seed, size, 90, 320)
    windows = tiles_of(*size, 256, 0.25)
    result = join_tiles([seen(truth, window) for window in windows], windows, size, iou=0.5, limit=10_000)
    check_found(result, truth)


def test_an_object_larger_than_many_tiles_is_one():
    truth = detections([[40, 50, 900, 620]], [2])
    windows = tiles_of(700, 1000, 200, 0.25)
    parts = [np.clip(truth.boxes, np.tile(window[:2], 2), np.tile(window[2:], 2)) for window in windows]
    cut = [
        detections(part - np.tile(window[:2], 2), [2], [0.8])
        for part, window in zip(parts, windows, strict=True)
    ]
    check_found(join_tiles(cut, windows, (700, 1000), iou=0.5, limit=10), truth)


def test_a_sliver_at_an_edge_that_is_taken_for_another_class_is_dropped():
    windows = tiles_of(256, 448, 256, 0.25)
    assert windows[:, 0].tolist() == [0, 192]
    whole = detections([[58, 100, 108, 150]], [1], [0.7])  # at 250 to 300 in the picture
    sliver = detections([[250, 100, 256, 150]], [0], [0.99])
    result = join_tiles([sliver, whole], windows, (256, 448), iou=0.5, limit=10)
    check_found(result, detections([[250, 100, 300, 150]], [1]))


def test_objects_of_two_classes_at_one_place_both_stay():
    windows = tiles_of(100, 160, 100, 0.4)
    both = [[70, 20, 90, 40], [70, 20, 90, 40]]
    left = detections(both, [0, 1], [0.9, 0.8])
    right = detections(np.array(both) - [60, 0, 60, 0], [0, 1], [0.9, 0.8])
    check_found(join_tiles([left, right], windows, (100, 160), iou=0.5, limit=10), detections(both, [0, 1]))


def test_neighbours_that_touch_are_not_joined():
    """Two long objects, one above the other, each seen in part by both tiles."""
    truth = detections([[30, 40, 170, 60], [30, 60, 170, 80]], [1, 1])
    windows = tiles_of(100, 180, 100, 0.2)
    result = join_tiles([seen(truth, window) for window in windows], windows, (100, 180), iou=0.5, limit=10)
    check_found(result, truth)


def test_the_pictures_own_edges_cut_nothing():
    windows = tiles_of(100, 160, 100, 0.4)
    boxes = np.array([[0, 0, 20, 100], [90, 10, 100, 20], [98, 0, 100, 9], [50, 0, 97, 100]])
    assert at_inner_edge(boxes, windows[[0, 0, 0, 0]], (100, 160)).tolist() == [False, True, True, False]
    assert not at_inner_edge(np.array([[90.0, 0, 160, 100]]), windows[[1]], (100, 160))[0]


@pytest.mark.parametrize("count", [0, 3])
def test_one_tile_is_the_picture_itself(count):
    found = objects(1, (100, 100), 5, 20)
    found = detections(found.boxes[:count], found.labels[:count])
    stitcher = DetectionStitcher(SimpleNamespace(decode=lambda *_: [found]), (100, 100), OPTIONS)
    stitcher.add(None, [ImageInfo(0, 100, 100, 50, 50)], [(0, 0, 100, 100)])
    check_found(stitcher.result(), found)


def test_without_any_tile_nothing_is_found():
    stitcher = DetectionStitcher(None, (10, 10), OPTIONS)
    assert stitcher.result().boxes.shape == (0, 4)


def test_a_stitcher_decodes_with_its_options_and_keeps_the_best():
    asked = []

    def decode(raw, infos, options):
        asked.append((raw, len(infos), options))
        return raw

    windows = [(0, 0, 100, 100), (60, 0, 160, 100), (0, 40, 100, 140), (60, 40, 160, 140)]
    stitcher = DetectionStitcher(SimpleNamespace(decode=decode), (140, 160), {**OPTIONS, "max_detections": 2})
    found = [detections([[10, 10, 20, 20]], [0], [score]) for score in (0.6, 0.9, 0.7, 0.8)]
    infos = [ImageInfo("tile", 100, 100, 100, 100)] * 2
    stitcher.add(found[:2], infos, windows[:2])
    stitcher.add(found[2:], infos, windows[2:])
    assert [(count, options["max_detections"]) for _, count, options in asked] == [(2, 2), (2, 2)]
    result = stitcher.result()
    assert result.scores.tolist() == [0.9, 0.8]
    assert result.boxes.tolist() == [[70, 10, 80, 20], [70, 50, 80, 60]]


def test_neighbours_are_the_tiles_that_overlap():
    windows = tiles_of(180, 260, 100, 0.2)
    starts, neighbours = neighbouring(windows)
    for tile, window in enumerate(windows):
        expected = [
            other
            for other, place in enumerate(windows)
            if other != tile and (place[:2] < window[2:]).all() and (window[:2] < place[2:]).all()
        ]
        assert neighbours[starts[tile] : starts[tile + 1]].tolist() == expected
