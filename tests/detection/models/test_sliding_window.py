"""The search equals cropped windows; boxes map back; losses and decoding by hand; a classifier slides too."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visiontasks.classes import ClassMap
from visiontasks.detection.config import LossConfig, SlidingWindowConfig
from visiontasks.detection.models import build_model
from visiontasks.detection.models.sliding_window import (
    BOX_WEIGHTS,
    Level,
    WindowScores,
    box_errors,
    pyramid,
    pyramid_factors,
    searched_target,
    window_cores,
)
from visiontasks.detection.types import IGNORED, BoxTarget, WindowTarget
from visiontasks.types import Batch, ImageInfo

CLASSES = ClassMap(("disc", "square"))
UNPADDED = {"backbone": "small", "options": {"stem": 4, "widths": [4, 6], "padded": False}}
OPTIONS = {"confidence": 0.5, "iou": 0.5, "max_detections": 100}


def build(**values):
    section = {"window": (32, 32), "hidden": 8, "scales": (1.0, 0.6), "overhang": 0.0, **UNPADDED, **values}
    network = build_model(SlidingWindowConfig(**section), CLASSES, None, None)
    for layer in network.modules():  # statistics as after training, not the neutral ones
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return network.eval()


def info_of(height, width):
    return ImageInfo("a.jpg", height, width, height, width)


def cropped(level, window, stride):
    """Every window of a level, one after the other: (B, N, 3, h, w)."""
    height, width = window
    rows = range(0, level.shape[2] - height + 1, stride)
    columns = range(0, level.shape[3] - width + 1, stride)
    return torch.stack([level[:, :, y : y + height, x : x + width] for y in rows for x in columns], dim=1)


@pytest.mark.parametrize("head", ["convolution", "linear", "original"])
@pytest.mark.parametrize("overhang", [0.0, 0.3])
def test_dense_scores_equal_those_of_cropped_windows(head, overhang):
    network = build(head=head, overhang=overhang, window=(36, 28), ratios=(1.0, 1.7))
    images = torch.randn(2, 3, 75, 90)
    infos = [info_of(75, 90)] * 2
    with torch.inference_mode():
        found = network(Batch(images, infos))
        levels = list(pyramid(images, network.factors, (36, 28), network.stride, overhang))
        windows = torch.cat([cropped(level.images, (36, 28), network.stride) for level in levels], dim=1)
        expected = network(Batch(windows, infos))
    assert len(levels) == 4
    assert found.logits.shape == (2, windows.shape[1], 3)
    assert found.cores.shape == (windows.shape[1], 4)
    assert (found.logits - expected.logits).abs().max() < 1e-4
    assert (found.offsets - expected.offsets).abs().max() < 1e-4
    assert found.logits.std() > 1e-3


def test_a_picture_of_one_window_has_one_score():
    network = build(scales=(1.0,))
    found = network(Batch(torch.randn(1, 3, 32, 32), [info_of(32, 32)]))
    assert found.logits.shape == (1, 1, 3)
    torch.testing.assert_close(found.cores, torch.tensor([[3.2, 3.2, 28.8, 28.8]]))


@pytest.mark.parametrize(
    ("backbone", "options", "window"),
    [("small", {"stem": 2, "widths": [2, 3, 4]}, (32, 48)), ("resnet18", {"stem": "small"}, (33, 33))],
)
def test_padded_backbones_have_one_score_a_window(backbone, options, window):
    network = build(backbone=backbone, options=options, window=window, scales=(1.0, 0.7), head="linear")
    with torch.inference_mode():
        found = network(Batch(torch.randn(1, 3, 70, 81), [info_of(70, 81)]))
    assert found.logits.shape[1] == len(found.cores) > 4


def test_scales_and_ratios_are_separate_factors():
    assert pyramid_factors([1.0, 0.5], [1.0, 4.0]) == [(1, 1), (2, 0.5), (0.5, 0.5), (1, 0.25)]
    level = Level(torch.zeros(1, 3, 20, 30), (2.0, 0.5), (0, 0))
    core = window_cores(level, (20, 20), 10, context=1.0)
    assert core.tolist() == [[0, 0, 40, 10], [20, 0, 60, 10]]  # ratio 4: 40 wide, 10 high


def test_cores_lie_inside_their_windows_and_margins_are_taken_off():
    level = Level(torch.zeros(1, 3, 30, 20), (1.0, 1.0), (5, 2))
    cores = window_cores(level, (20, 20), 10, context=2.0)
    assert cores.tolist() == [[3, 0, 13, 10], [3, 10, 13, 20]]


@pytest.mark.parametrize("size", [(1, 1), (10, 90), (31, 31)])
def test_a_picture_smaller_than_a_window_is_one_window(size):
    levels = list(pyramid(torch.ones(1, 3, *size), [(1.0, 1.0), (0.5, 0.5)], (32, 32), 4, 0.0))
    assert len(levels) == 1
    height, width = levels[0].images.shape[2:]
    assert height == 32
    assert (width - 32) % 4 == 0
    assert levels[0].images.sum() == 3 * size[0] * size[1]


@pytest.mark.parametrize("size", [(300, 40), (40, 300)])
def test_where_no_level_fits_the_nearest_is_taken(size):
    ratio = 2.0 if size[0] > size[1] else 0.5
    (level,) = pyramid(torch.ones(1, 3, *size), pyramid_factors([1.0], [1.0, ratio]), (64, 64), 4, 0.0)
    assert level.factors == (1, 1)
    assert min(level.images.shape[2:]) == 64


def test_windows_reach_the_end_of_every_level():
    for side in range(32, 50):
        (level,) = pyramid(torch.ones(1, 3, side, side), [(1.0, 1.0)], (32, 32), 4, 0.0)
        assert (level.images.shape[2] - 32) % 4 == 0
        assert side <= level.images.shape[2] < side + 4


def scores_of(probabilities, cores, offsets=None):
    logits = torch.tensor(probabilities).log()[None]
    return WindowScores(logits, offsets, torch.tensor(cores, dtype=torch.float32))


def test_decoding_by_hand():
    """Two windows on one disc, one is a square at the same place, one is background, one hangs out."""
    raw = scores_of(
        [[0.8, 0.1, 0.1], [0.9, 0.05, 0.05], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6], [0.6, 0.1, 0.3]],
        [[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [40, 40, 50, 50], [-4, 20, 6, 30]],
    )
    info = ImageInfo("a.jpg", 200, 100, 100, 50)
    (found,) = build(refine=False).decode(raw, [info], OPTIONS)
    np.testing.assert_allclose(found.boxes, [[2, 0, 22, 20], [0, 0, 20, 20], [0, 40, 12, 60]], atol=1e-4)
    assert found.labels.tolist() == [0, 1, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.6], atol=1e-6)
    assert found.boxes.dtype == np.float64
    (one,) = build(refine=False).decode(raw, [info], {**OPTIONS, "max_detections": 1})
    assert one.labels.tolist() == [0]
    (none,) = build(refine=False).decode(raw, [info], {**OPTIONS, "confidence": 0.95})
    assert none.boxes.shape == (0, 4)


def test_decoding_moves_boxes_by_their_offsets():
    offsets = torch.tensor([[[1.0, 0.0, 5 * math.log(2), 0.0]]])
    raw = scores_of([[0.9, 0.05, 0.05]], [[20.0, 20, 30, 30]], offsets)
    (found,) = build().decode(raw, [info_of(100, 100)], OPTIONS)
    np.testing.assert_allclose(found.boxes, [[16, 20, 36, 30]], atol=1e-4)


def test_windows_on_padding_are_not_detections():
    raw = scores_of([[0.9, 0.05, 0.05]] * 2, [[10.0, 10, 30, 30], [60, 10, 80, 30]])
    (found,) = build(refine=False).decode(raw, [info_of(50, 60)], OPTIONS)
    assert found.boxes.tolist() == [[10, 10, 30, 30]]


def test_without_background_the_threshold_decides():
    network = build(background=False, refine=False)
    raw = scores_of([[0.6, 0.4], [0.95, 0.05]], [[0.0, 0, 10, 10], [20, 20, 30, 30]])
    (found,) = network.decode(raw, [info_of(50, 50)], {**OPTIONS, "confidence": 0.9})
    assert found.boxes.tolist() == [[20, 20, 30, 30]]
    with torch.inference_mode():
        assert network(Batch(torch.randn(1, 3, 40, 40), [info_of(40, 40)])).logits.shape[2] == 2


def window_batch():
    labels = torch.tensor([[0, 2, IGNORED], [2, 1, 2]])
    offsets = torch.zeros(2, 3, 4)
    offsets[0, 0] = torch.tensor([0.1, -0.2, 0.3, 0.0])
    targets = [WindowTarget(a, b) for a, b in zip(labels, offsets, strict=True)]
    return Batch(torch.randn(2, 3, 3, 32, 32), [info_of(64, 64)] * 2, targets)


def test_training_loss_by_hand():
    network, batch = build().train(), window_batch()
    raw = network(batch)
    losses = network.loss(raw, batch)
    labels = torch.stack([target.labels for target in batch.targets])
    used = labels != IGNORED
    expected = F.cross_entropy(raw.logits[used], labels[used], reduction="sum") / 6
    torch.testing.assert_close(losses["classification"], expected)
    wanted = torch.tensor([[1.0, -2, 1.5, 0], [0, 0, 0, 0]])
    found = torch.stack([raw.offsets[0, 0], raw.offsets[1, 1]])
    expected = F.smooth_l1_loss(found, wanted, beta=LossConfig().beta, reduction="sum") / 6
    torch.testing.assert_close(losses["boxes"], expected)
    sum(losses.values()).backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_boxes_as_wanted_cost_nothing():
    wanted = torch.randn(2, 5, 4) / 3
    for name in ("giou", "smooth_l1"):
        config = LossConfig(box_loss=name)
        errors = box_errors(wanted * torch.tensor(BOX_WEIGHTS), wanted, config)
        torch.testing.assert_close(errors, torch.zeros(2, 5), atol=1e-5, rtol=0)
        assert (box_errors(wanted * 0, wanted, config) > 0.01).all()


def test_searched_windows_are_objects_background_or_neither():
    cores = torch.tensor(
        [[0.0, 0, 10, 10], [0, 0, 10, 19], [30, 30, 40, 40], [90, 90, 100, 100], [3, 0, 13, 10]]
    )
    target = BoxTarget(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([1]))
    found = searched_target(cores, target, torch.tensor([0.0, 0, 60, 60]), 2)
    assert found.labels.tolist() == [1, IGNORED, 2, IGNORED, IGNORED]  # the fourth lies on the padding
    assert found.offsets.abs().sum() == 0
    empty = BoxTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    found = searched_target(cores, empty, torch.tensor([0.0, 0, 60, 60]), 2)
    assert found.labels.tolist() == [2, 2, 2, IGNORED, 2]


def test_validation_loss_is_finite_without_objects_and_random_numbers():
    network = build()
    targets = [
        BoxTarget(torch.tensor([[4.0, 4, 30, 30]]), torch.tensor([1])),
        BoxTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    ]
    batch = Batch(torch.randn(2, 3, 64, 64), [info_of(64, 64)] * 2, targets)
    state = torch.get_rng_state()
    with torch.inference_mode():
        losses = network.loss(network(batch), batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert losses["classification"].isfinite()
    assert losses["boxes"] > 0
    empty = Batch(batch.images[1:], batch.infos[1:], targets[1:])
    with torch.inference_mode():
        assert network.loss(network(empty), empty)["boxes"] == 0
