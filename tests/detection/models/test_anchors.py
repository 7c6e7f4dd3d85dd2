"""Anchors and box deltas: by hand, and against torchvision's."""

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from visiontasks.detection.models.anchors import anchor_sides, centred_anchors, cornered_anchors
from visiontasks.detection.models.box_deltas import decode_boxes, encode_boxes


def random_boxes(n, extent=100.0):
    corner, side = torch.rand(n, 2) * extent, torch.rand(n, 2) * extent + 1
    return torch.cat([corner, corner + side], dim=1)


def test_sides_have_the_areas_and_ratios_asked_for():
    sides = anchor_sides([16, 32], [0.5, 2.0])
    widths, heights = sides[:, 2] - sides[:, 0], sides[:, 3] - sides[:, 1]
    assert torch.allclose(widths * heights, torch.tensor([256.0, 1024, 256, 1024]))
    assert torch.allclose(heights / widths, torch.tensor([0.5, 0.5, 2, 2]))
    assert torch.equal(sides[:, :2], -sides[:, 2:])


def test_centred_anchors_stand_on_the_centres_of_cells():
    anchors = centred_anchors(anchor_sides([4], [1.0]), grid=(2, 3), stride=8)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]


@pytest.mark.parametrize("canvas", [(64, 96), (160, 224), (352, 672)])
def test_cornered_anchors_are_torchvisions(canvas):
    sizes, ratios = ((32, 64), (100, 200)), (0.5, 1.0, 2.0)
    grids = [(canvas[0] // 32, canvas[1] // 32), ((canvas[0] // 32 + 1) // 2, (canvas[1] // 32 + 1) // 2)]
    generator = AnchorGenerator(sizes, (ratios,) * 2)
    features = [torch.zeros(1, 1, *grid) for grid in grids]
    (expected,) = generator(ImageList(torch.zeros(1, 3, *canvas), [canvas]), features)
    found = [
        cornered_anchors(anchor_sides(level, ratios), grid, canvas)
        for level, grid in zip(sizes, grids, strict=True)
    ]
    assert torch.equal(torch.cat(found), expected)


def test_deltas_by_hand():
    boxes, reference = torch.tensor([[10.0, 20, 30, 40]]), torch.tensor([[0.0, 10, 10, 50]])
    expected = [[1.5, 0.0, 0.6931472, -0.6931472]]  # 15 px to the right of 10 px; twice as wide, half as high
    assert torch.allclose(encode_boxes(boxes, reference), torch.tensor(expected))
    assert torch.allclose(decode_boxes(torch.tensor(expected), reference), boxes)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_deltas_are_torchvisions_and_turn_round(weights):
    boxes, references, deltas = random_boxes(50), random_boxes(50), torch.randn(50, 4) * 3
    coder = BoxCoder(weights)
    encoded = encode_boxes(boxes, references, weights)
    torch.testing.assert_close(encoded, coder.encode_single(boxes, references))
    torch.testing.assert_close(decode_boxes(encoded, references, weights), boxes, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        decode_boxes(deltas, references, weights),
        coder.decode_single(deltas, references),
        rtol=1e-5,
        atol=1e-4,
    )


def test_huge_deltas_stay_finite():
    assert decode_boxes(torch.full((1, 4), 1e4), random_boxes(1)).isfinite().all()
