"""Which boxes are learnt from: matched as torchvision does, drawn in the shares asked for."""

import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from visiontasks.detection.models.sampling import (
    IGNORED,
    NEGATIVE,
    POSITIVE,
    fixed_draw,
    match,
    pack_truth,
    sample,
    take,
)
from visiontasks.detection.region_sections import SamplingConfig
from visiontasks.detection.types import BoxTarget


def random_boxes(n):
    corner = torch.rand(n, 2) * 60
    return torch.cat([corner, corner + torch.rand(n, 2) * 40 + 4], dim=1)


def target(n, labels=3):
    return BoxTarget(random_boxes(n), torch.randint(labels, (n,)))


def test_truth_is_padded_to_the_most_of_one_picture():
    targets = [target(2), target(0), target(5)]
    truth = pack_truth(targets)
    assert truth.boxes.shape == (3, 5, 4)
    assert truth.present.sum(dim=1).tolist() == [2, 0, 5]
    assert torch.equal(truth.boxes[0, :2], targets[0].boxes)
    assert torch.equal(truth.labels[2], targets[2].labels)


def test_truth_without_any_box_has_one_place_that_is_empty():
    truth = pack_truth([target(0), target(0)])
    assert truth.boxes.shape == (2, 1, 4)
    assert not truth.present.any()


@pytest.mark.parametrize("keep_best", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_matches_are_torchvisions(keep_best, shared):
    """Every picture by itself, for boxes of its own and for anchors that all pictures share."""
    config = SamplingConfig(positive_iou=0.6, negative_iou=(0, 0.3))
    targets = [target(3), target(9), target(1)]
    candidates = torch.stack([random_boxes(200) for _ in targets])
    candidates[:, :13] = torch.cat([one.boxes for one in targets]) + torch.rand(13, 4) * 3
    candidates = candidates[0] if shared else candidates
    usable = torch.ones(3, 200, dtype=torch.bool)
    found = match(candidates, pack_truth(targets), config, usable, keep_best=keep_best)
    matcher = Matcher(0.6, 0.3, allow_low_quality_matches=keep_best)
    for picture, one in enumerate(targets):
        boxes = candidates if shared else candidates[picture]
        index = matcher(box_iou(one.boxes, boxes))
        expected = torch.where(index >= 0, POSITIVE, torch.where(index == -1, NEGATIVE, IGNORED))
        assert torch.equal(found.kind[picture], expected)
        assert torch.equal(found.truth[picture][index >= 0], index[index >= 0])
        assert set(expected.tolist()) == {IGNORED, NEGATIVE, POSITIVE}


def test_without_truth_everything_is_negative_and_what_is_unusable_ignored():
    usable = torch.tensor([[True, False, True]])
    found = match(random_boxes(3), pack_truth([target(0)]), SamplingConfig(), usable, keep_best=True)
    assert found.kind.tolist() == [[NEGATIVE, IGNORED, NEGATIVE]]


def test_the_best_of_a_true_box_must_be_usable_and_must_touch_it():
    truth = pack_truth([BoxTarget(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0]))])
    boxes = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 2], [50, 50, 60, 60]])
    config = SamplingConfig(positive_iou=0.95, negative_iou=(0, 0.3))
    kinds = match(boxes, truth, config, torch.tensor([[False, True, True]]), keep_best=True).kind
    assert kinds.tolist() == [[IGNORED, POSITIVE, NEGATIVE]]
    kinds = match(boxes[2:], truth, config, torch.tensor([[True]]), keep_best=True).kind
    assert kinds.tolist() == [[NEGATIVE]]


@pytest.mark.parametrize(
    ("positives", "negatives", "drawn"),
    [
        (50, 50, (4, 12)),
        (2, 50, (2, 14)),
        (50, 3, (4, 3)),
        (0, 50, (0, 16)),
        (0, 0, (0, 0)),
        (50, 0, (4, 0)),
        (4, 12, (4, 12)),
    ],
)
def test_shares_of_a_draw(positives, negatives, drawn):
    """16 boxes a picture, a quarter of them positive at most; the other picture has its own share."""
    kind = torch.full((2, 120), IGNORED)
    kind[0, :positives], kind[0, positives : positives + negatives] = POSITIVE, NEGATIVE
    kind[1, :100] = NEGATIVE
    found = sample(kind, SamplingConfig(samples=16, positive_share=0.25))
    used = found.index[0][found.used[0]]
    assert len(set(used.tolist())) == len(used)
    chosen = kind[0][used]
    assert ((chosen == POSITIVE).sum(), (chosen == NEGATIVE).sum()) == drawn
    assert torch.equal(found.positive[0], found.used[0] & (take(kind, found.index)[0] == POSITIVE))
    assert found.used[1].all()


def test_fewer_boxes_than_samples():
    found = sample(torch.tensor([[POSITIVE, NEGATIVE, IGNORED]]), SamplingConfig(samples=16))
    assert found.index.shape == (1, 3)
    assert found.index[found.used].tolist() == [0, 1]


def test_draws_differ_in_training_and_are_the_same_in_validation():
    kind = torch.full((1, 500), NEGATIVE)
    config = SamplingConfig(samples=20)
    assert not torch.equal(sample(kind, config).index, sample(kind, config).index)
    state = torch.get_rng_state()
    first, second = (sample(kind, config, fixed_draw()).index for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_box_is_as_likely():
    kind = torch.full((3000, 10), NEGATIVE)
    kind[:, :4] = POSITIVE
    counts = (
        sample(kind, SamplingConfig(samples=4, positive_share=0.5)).index.flatten().bincount(minlength=10)
    )
    assert torch.allclose(counts[:4] / 3000, torch.tensor(0.5), atol=0.04)
    assert torch.allclose(counts[4:] / 3000, torch.tensor(1 / 3), atol=0.04)
