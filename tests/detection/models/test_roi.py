"""RoIAlign as a sum over rows of a table, against torchvision's kernel; the choice of levels, by hand."""

import pytest
import torch
import torchvision
from torchvision.ops.poolers import LevelMapper

from visiontasks.detection.models.roi import align_regions, choose_levels
from visiontasks.detection.region_sections import HeadConfig

STRIDES = (4, 8, 16)


def pyramid(channels=5):
    return [torch.randn(2, channels, 64 // s, 96 // s, dtype=torch.float32) for s in STRIDES]


def regions():
    """Small and large ones, some beyond the picture's edges, one without area; two pictures, 64x96 px."""
    corner, side = torch.rand(2, 40, 2) * 110 - 20, torch.rand(2, 40, 2) ** 3 * 90 + 0.2
    boxes = torch.cat([corner, corner + side], dim=2)
    boxes[0, 0] = 0
    return boxes


def expected(levels, boxes, config):
    """torchvision's kernel, a level at a time."""
    found = torch.zeros(boxes.shape[0] * boxes.shape[1], levels[0].shape[1], config.pooled, config.pooled)
    picture = torch.arange(len(boxes)).repeat_interleave(boxes.shape[1])
    chosen = choose_levels(boxes, STRIDES, config.canonical).flatten()
    rows = torch.cat([picture[:, None].float(), boxes.flatten(0, 1)], dim=1)
    for number, (level, stride) in enumerate(zip(levels, STRIDES, strict=True)):
        found[chosen == number] = torchvision.ops.roi_align(
            level, rows[chosen == number], config.pooled, 1 / stride, config.points, config.aligned
        )
    return found


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("pooled", "points"), [(7, 2), (3, 1), (2, 3)])
def test_features_and_gradients_are_those_of_the_kernel(aligned, pooled, points):
    config = HeadConfig(pooled=pooled, points=points, aligned=aligned, canonical=60)
    levels, boxes = [level.requires_grad_() for level in pyramid()], regions()
    assert set(choose_levels(boxes, STRIDES, 60).flatten().tolist()) == {0, 1, 2}
    found, reference = align_regions(levels, STRIDES, boxes, config), expected(levels, boxes, config)
    torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-5)
    weights = torch.randn_like(found)
    gradients = torch.autograd.grad((found * weights).sum(), levels)
    for ours, theirs in zip(gradients, torch.autograd.grad((reference * weights).sum(), levels), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_level_of_one_cell_can_be_read():
    levels = [torch.full((1, 2, 1, 1), 3.0)]
    found = align_regions(levels, (32,), torch.tensor([[[0.0, 0, 32, 32]]]), HeadConfig(pooled=2))
    torch.testing.assert_close(found, torch.full((1, 2, 2, 2), 3.0))


def test_half_precision_levels_are_summed_in_float32():
    levels, boxes = [level.bfloat16() for level in pyramid()], regions()
    found = align_regions(levels, STRIDES, boxes, HeadConfig())
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, align_regions([level.float() for level in levels], STRIDES, boxes, HeadConfig())
    )


def test_levels_are_those_of_the_paper():
    sides = torch.tensor([1.0, 111.9, 112.1, 223, 224, 447, 449, 2000])
    boxes = torch.stack([0 * sides, 0 * sides, sides, sides], dim=1)
    assert choose_levels(boxes, (4, 8, 16, 32), 224).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    boxes = torch.cat([boxes, torch.rand(200, 4).cumsum(1) * 300])
    mapper = LevelMapper(2, 5)
    assert torch.equal(choose_levels(boxes, (4, 8, 16, 32), 224), mapper([boxes]))


def test_of_two_levels_of_one_stride_the_first_is_read():
    assert choose_levels(torch.tensor([[0.0, 0, 10, 10], [0, 0, 900, 900]]), (32, 32), 224).tolist() == [0, 0]
