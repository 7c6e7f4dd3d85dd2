import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from visiontasks.ops.boxes import (
    box_area,
    clip_boxes,
    crowd_overlap_matrix,
    cxcywh_to_xyxy,
    iou_matrix,
    scale_boxes,
    xywh_to_xyxy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)

BOTH = pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])


def xywh(least_side=0.0):
    """(N, 4) float64 with corners and sides in eighths of a px, so that sums are exact."""
    corner = st.integers(-800, 800).map(lambda value: value / 8)
    side = st.integers(int(least_side * 8), 800).map(lambda value: value / 8)
    row = st.tuples(corner, corner, side, side)
    return st.lists(row, max_size=6).map(lambda rows: np.array(rows, dtype=np.float64).reshape(-1, 4))


@BOTH
def test_formats(make):
    boxes = make(np.array([[10.0, 20.0, 40.0, 60.0], [0.0, 0.0, 0.0, 5.0]]))
    assert xyxy_to_xywh(boxes).tolist() == [[10, 20, 30, 40], [0, 0, 0, 5]]
    assert xyxy_to_cxcywh(boxes).tolist() == [[25, 40, 30, 40], [0, 2.5, 0, 5]]
    assert box_area(boxes).tolist() == [1200, 0]


@BOTH
@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 3, 4)])
def test_formats_keep_shape_and_dtype(make, shape):
    boxes = make(np.ones(shape, dtype=np.float32))
    for convert in (xywh_to_xyxy, xyxy_to_xywh, cxcywh_to_xyxy, xyxy_to_cxcywh):
        assert convert(boxes).shape == boxes.shape
        assert convert(boxes).dtype == boxes.dtype
    assert clip_boxes(boxes, (2, 3)).shape == boxes.shape
    assert scale_boxes(boxes, (2.0, 3.0)).dtype == boxes.dtype
    assert box_area(boxes).shape == boxes.shape[:-1]


@given(xywh())
def test_formats_there_and_back(boxes):
    assert np.array_equal(xyxy_to_xywh(xywh_to_xyxy(boxes)), boxes)
    corners = xywh_to_xyxy(boxes)
    assert np.array_equal(cxcywh_to_xyxy(xyxy_to_cxcywh(corners)), corners)
    theirs = torchvision.ops.box_convert(torch.as_tensor(boxes), "xywh", "cxcywh").numpy()
    assert np.array_equal(xyxy_to_cxcywh(corners), theirs)


@BOTH
def test_clip(make):
    boxes = make(np.array([[-5.0, 2.0, 8.0, 30.0], [50.0, 60.0, 70.0, 80.0], [1.0, 2.0, 3.0, 4.0]]))
    assert clip_boxes(boxes, (20, 10)).tolist() == [[0, 2, 8, 20], [10, 20, 10, 20], [1, 2, 3, 4]]


@given(xywh(), st.integers(0, 90), st.integers(0, 90))
def test_clip_equals_torchvision(boxes, height, width):
    corners = torch.as_tensor(xywh_to_xyxy(boxes))
    theirs = torchvision.ops.clip_boxes_to_image(corners, (height, width))
    assert torch.equal(clip_boxes(corners, (height, width)), theirs)


@BOTH
def test_scale(make):
    boxes = make(np.array([[1.0, 2.0, 3.0, 4.0]]))
    assert scale_boxes(boxes, (10.0, 0.5)).tolist() == [[0.5, 20, 1.5, 40]]


@BOTH
def test_overlaps_by_hand(make):
    boxes = make(np.array([[0.0, 0.0, 10.0, 10.0]]))
    others = make(
        np.array(
            [[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0], [10.0, 0.0, 20.0, 10.0], [2.0, 2.0, 2.0, 8.0]]
        )
    )
    assert iou_matrix(boxes, others)[0].tolist() == pytest.approx([1, 50 / 150, 0, 0])
    assert crowd_overlap_matrix(boxes, others)[0].tolist() == pytest.approx([1, 0.5, 0, 0])


@BOTH
@pytest.mark.parametrize("overlap", [iou_matrix, crowd_overlap_matrix])
def test_boxes_without_area_and_no_boxes(make, overlap):
    point = make(np.array([[3.0, 3.0, 3.0, 3.0]]))
    assert overlap(point, point).tolist() == [[0]]
    assert overlap(point[:0], point).shape == (0, 1)
    assert overlap(point, point[:0]).shape == (1, 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_full(dtype):
    boxes = torch.tensor([[0, 0, 512, 512], [0, 0, 512, 256]], dtype=dtype)  # 512^2 is beyond half precision
    assert iou_matrix(boxes, boxes).tolist() == [[1, 0.5], [0.5, 1]]


@given(xywh(least_side=1), xywh(least_side=1))
def test_overlaps_equal_torchvision(a, b):
    mine, theirs = torch.as_tensor(xywh_to_xyxy(a)), torch.as_tensor(xywh_to_xyxy(b))
    iou = torchvision.ops.box_iou(mine, theirs)
    assert np.allclose(iou_matrix(mine.numpy(), theirs.numpy()), iou, rtol=0, atol=1e-12)
    assert torch.allclose(iou_matrix(mine, theirs), iou, rtol=0, atol=1e-12)


@given(xywh(least_side=1), xywh(least_side=1))
def test_overlaps_equal_pycocotools(a, b):
    if not len(a) or not len(b):
        return  # pycocotools has no shape for them
    mine, theirs = xywh_to_xyxy(a), xywh_to_xyxy(b)
    assert np.array_equal(iou_matrix(mine, theirs), coco_mask.iou(a, b, [0] * len(b)))
    assert np.array_equal(crowd_overlap_matrix(mine, theirs), coco_mask.iou(a, b, [1] * len(b)))


@given(xywh(), xywh(), st.integers(-64, 64), st.integers(1, 4))
def test_overlaps_are_symmetric_bounded_and_move_with_the_boxes(a, b, shift, exponent):
    a, b = xywh_to_xyxy(a), xywh_to_xyxy(b)
    iou = iou_matrix(a, b)
    assert np.array_equal(iou, iou_matrix(b, a).T)
    assert ((iou >= 0) & (iou <= 1)).all()
    assert np.array_equal(iou_matrix(a + shift, b + shift), iou)
    factors = (2.0**exponent, 2.0**-exponent)
    assert np.array_equal(iou_matrix(scale_boxes(a, factors), scale_boxes(b, factors)), iou)
    crowd = crowd_overlap_matrix(a, b)
    assert ((crowd >= iou) & (crowd <= 1)).all()


@BOTH
@pytest.mark.parametrize("overlap", [iou_matrix, crowd_overlap_matrix])
def test_several_pictures_at_once(make, overlap):
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.uniform(0, 50, (3, 5, 2, 2)), axis=2).reshape(3, 5, 4)
    others = np.sort(rng.uniform(0, 50, (3, 2, 2, 2)), axis=2).reshape(3, 2, 4)
    together = overlap(make(boxes), make(others))
    assert together.shape == (3, 5, 2)
    for picture in range(3):
        assert together[picture].tolist() == overlap(make(boxes[picture]), make(others[picture])).tolist()


@given(arrays(np.float32, (3, 4), elements=st.floats(-1e4, 1e4, width=32)))
def test_torch_and_numpy_agree(boxes):
    for convert in (xywh_to_xyxy, xyxy_to_xywh, cxcywh_to_xyxy, xyxy_to_cxcywh, box_area):
        assert np.array_equal(convert(boxes), convert(torch.as_tensor(boxes)).numpy())


def test_importing_leaves_torch_alone():
    code = "import sys, visiontasks.ops.boxes; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
