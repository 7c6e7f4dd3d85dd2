import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from visiontasks.ops import nms as module
from visiontasks.ops.nms import greedy_nms, nms, nms_by_group


def scene(seed, count, groups=1):
    """Boxes that overlap a lot, few distinct scores."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 60, (count, 2)) / 2
    boxes = np.concatenate([corner, corner + rng.integers(2, 40, (count, 2)) / 2], axis=1)
    return boxes, rng.integers(0, 8, count) / 8, rng.integers(0, groups, count) * 7 - 3


def test_greedy_by_hand():
    boxes = np.array(
        [[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 9], [20, 0, 30, 5]], dtype=float
    )
    scores = np.array([0.8, 0.9, 0.7, 0.3, 0.6])
    assert greedy_nms(boxes, scores, threshold=0.5, iou=0.4) == [1, 2]
    assert greedy_nms(boxes, scores, threshold=0.5, iou=0.5) == [1, 2, 4]  # IoU 0.5 does not exceed 0.5
    assert greedy_nms(boxes, scores, threshold=0.95, iou=0.5) == []


@given(st.integers(0, 10_000), st.integers(0, 25), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_kernel_equals_the_lecture(seed, count, iou):
    boxes, scores, _ = scene(seed, count)
    fast = nms(torch.as_tensor(boxes), torch.as_tensor(scores), iou)
    assert fast.tolist() == greedy_nms(boxes, scores, threshold=0.0, iou=iou)


@pytest.mark.parametrize("way", [None, False, True], ids=["chosen", "all at once", "one by one"])
@given(seed=st.integers(0, 10_000), count=st.integers(0, 40), groups=st.integers(1, 6))
def test_groups_equal_the_lecture_class_by_class(way, seed, count, groups):
    boxes, scores, labels = scene(seed, count, groups)
    with pytest.MonkeyPatch.context() as patch:
        if way is not None:
            patch.setattr(module, "_pays_off", lambda counts: way)
        kept = nms_by_group(
            torch.as_tensor(boxes), torch.as_tensor(scores), torch.as_tensor(labels), 0.4
        ).tolist()
    expected = set()
    for label in set(labels.tolist()):
        members = np.flatnonzero(labels == label)
        expected |= set(members[greedy_nms(boxes[members], scores[members], threshold=0.0, iou=0.4)].tolist())
    assert kept == sorted(expected, key=lambda index: (-scores[index], index))


@pytest.mark.parametrize(("count", "groups"), [(60, 3), (1500, 4), (1500, 90)])
def test_groups_equal_torchvision(count, groups):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand((count, 4), generator=generator) * 200
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.rand(count, generator=generator)
    labels = torch.randint(groups, (count,), generator=generator)
    assert torch.equal(
        nms_by_group(boxes, scores, labels, 0.5),
        torchvision.ops.batched_nms(boxes.double(), scores.double(), labels, 0.5),
    )


@pytest.mark.parametrize(("iou", "twice"), [(0.9975, False), (0.9985, True)])
def test_many_classes_on_a_large_picture_lose_no_digits(iou, twice):
    """Two boxes 1/1024 px apart (IoU 0.998), which float32 cannot tell apart after a shift by 90 pictures."""
    boxes = torch.tensor([[1300.0, 0, 1301, 1], [1300.001, 0, 1301.001, 1], *[[0, 0, 1333, 1]] * 90])
    labels = torch.tensor([90, 90, *range(90)])
    scores = torch.linspace(0.9, 0.1, 92)
    assert len(nms_by_group(boxes, scores, labels, iou)) == 91 + twice


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    boxes = torch.tensor([[0, 0, 512, 512], [0, 0, 512, 480], [0, 0, 512, 128]], dtype=dtype)
    scores = torch.tensor([0.5, 0.75, 0.25], dtype=dtype)
    assert nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert nms_by_group(boxes, scores, torch.tensor([0, 1, 0]), 0.5).tolist() == [1, 0, 2]


def test_no_boxes():
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    kept = nms_by_group(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5)
    assert kept.tolist() == []
    assert kept.dtype == torch.int64
