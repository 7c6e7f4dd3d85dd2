"""Cheap regions: objects on a plain ground are found, touching ones apart; proposals from a file."""

import json

import cv2
import numpy as np
import pytest

from visiontasks.detection.config import RegionsConfig
from visiontasks.detection.proposals import merge_regions, propose, read_proposals
from visiontasks.errors import DataError
from visiontasks.ops.boxes import iou_matrix


def drawn(discs, size=(240, 320), noise=8):
    """Discs (x, y, radius, colour) on a pale ground with noise, and their boxes."""
    image = np.full((*size, 3), 220, dtype=np.uint8)
    for x, y, radius, colour in discs:
        cv2.circle(image, (x, y), radius, colour, -1)
    grain = np.random.default_rng(0).integers(-noise, noise + 1, image.shape)
    boxes = np.array([[x - r, y - r, x + r, y + r] for x, y, r, _ in discs], dtype=np.float64)
    return (image + grain).clip(0, 255).astype(np.uint8), boxes


def test_objects_of_any_size_and_shade_are_found():
    image, boxes = drawn(
        [(60, 60, 40, (120, 40, 60)), (200, 50, 12, (240, 250, 120)), (230, 160, 70, (60, 60, 180))]
    )
    found = propose(image, RegionsConfig())
    assert found.dtype == np.float32
    assert iou_matrix(boxes, found.astype(np.float64)).max(axis=1).min() > 0.7


def test_objects_that_touch_are_taken_apart():
    image, boxes = drawn(
        [(60, 100, 40, (120, 40, 60)), (130, 100, 40, (120, 40, 60)), (200, 110, 40, (120, 40, 60))], noise=0
    )
    found = propose(image, RegionsConfig()).astype(np.float64)
    assert iou_matrix(boxes, found).max(axis=1).min() > 0.7
    plain = propose(image, RegionsConfig(radii=(0.0,))).astype(np.float64)
    assert iou_matrix(boxes, plain).max(axis=1).max() < 0.6


def test_regions_lie_in_the_picture_best_first_and_not_too_many():
    image, boxes = drawn([(20, 20, 40, (120, 40, 60)), (300, 200, 40, (90, 40, 60))])
    every, some = propose(image, RegionsConfig()), propose(image, RegionsConfig(limit=7))
    np.testing.assert_array_equal(every[:7], some)
    assert (every >= 0).all()
    assert (every[:, 2:] <= [320, 240]).all()
    assert (every[:, 2:] - every[:, :2] >= 0.04 * 240 - 1e-3).all()
    assert (
        iou_matrix(np.clip(boxes, 0, [320, 240, 320, 240]), some.astype(np.float64)).max(axis=1).min() > 0.7
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (30, 7)])
def test_tiny_and_plain_pictures(size):
    found = propose(np.full((*size, 3), 99, dtype=np.uint8), RegionsConfig())
    assert found.shape[1] == 4
    assert np.isfinite(found).all()


def test_merging():
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10.2, 10], [50, 50, 90, 90], [0, 0, 10.1, 10], [0, 0, 10, 40]])
    np.testing.assert_allclose(
        merge_regions(boxes), [[0, 0, 10.1, 10], [50, 50, 90, 90], [0, 0, 10, 40]], atol=1e-9
    )
    assert merge_regions(np.zeros((0, 4))).shape == (0, 4)


def test_proposals_from_a_file(tmp_path):
    path = tmp_path / "proposals.json"
    path.write_text(json.dumps({"a.jpg": [[1, 2, 3.5, 4]], "b.jpg": []}))
    found = read_proposals(path)
    assert found["a.jpg"].tolist() == [[1, 2, 3.5, 4]]
    assert found["b.jpg"].shape == (0, 4)
    assert found["a.jpg"].dtype == np.float32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"expected \{image id: \[\[x1, y1, x2, y2\], ...\]\}, found list"),
        (
            {"b.jpg": [[1, 2, 3]]},
            r"picture 'b.jpg': expected boxes \[x1, y1, x2, y2\], found \[\[1, 2, 3\]\]",
        ),
        ({"b.jpg": [["x", 2, 3, 4]]}, r"picture 'b.jpg': expected boxes"),
        (
            {"b.jpg": [[0, 0, 1, 1], [5, 2, 3, 4]]},
            r"picture 'b.jpg', box 1: .* found \[5.0, 2.0, 3.0, 4.0\]; mend",
        ),
        ({"b.jpg": [[0, 0, 1e999, 1]]}, r"picture 'b.jpg', box 0: expected finite"),
    ],
)
def test_a_wrong_file_of_proposals(tmp_path, content, message):
    path = tmp_path / "proposals.json"
    path.write_text(json.dumps(content).replace("Infinity", "1e999"))
    with pytest.raises(DataError, match=message) as error:
        read_proposals(path)
    assert str(error.value).startswith(str(path))
