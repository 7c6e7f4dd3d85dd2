"""Class offsets: the search against trying all offsets, and what they do to a network."""

import numpy as np
import pytest
import torch

from visiontasks.backbones import build_backbone
from visiontasks.classes import ClassMap
from visiontasks.segmentation.class_offsets import (
    GRID,
    PENALTY,
    adjust,
    best_offsets,
    mean_iou,
    mean_ious,
)
from visiontasks.segmentation.model_config import LossConfig
from visiontasks.segmentation.models.naive import PixelScores
from visiontasks.segmentation.models.segmenter import Segmenter
from visiontasks.types import Batch, ImageInfo

CLASSES = ClassMap(("sky", "road", "pole"))


def drawn(num_classes=3, count=500, bias=(0.0, 1.0, -0.5), seed=0):
    """Scores that are right on the whole, but for a bias, and the true classes."""
    rng = np.random.default_rng(seed)
    truths = rng.choice(num_classes, count, p=np.arange(1, num_classes + 1) / sum(range(num_classes + 1)))
    scores = rng.normal(size=(num_classes, count)) + np.array(bias)[:, None]
    scores[truths, np.arange(count)] += 2
    return scores.astype(np.float32), truths


@pytest.mark.parametrize("k", range(3))
def test_all_offsets_of_a_class_at_once_are_as_each_alone(k):
    scores, truths = drawn()
    offsets = np.array([0.4, -0.2, 0.0])
    alone = [mean_iou(scores, truths, np.where(np.arange(3) == k, value, offsets)) for value in GRID]
    np.testing.assert_allclose(mean_ious(scores, truths, offsets, k), alone, atol=1e-12)


@pytest.mark.parametrize("k", range(3))
def test_of_equal_scores_the_lower_index_wins(k):
    rng = np.random.default_rng(0)
    scores, truths = rng.integers(-2, 3, (3, 400)).astype(np.float32), rng.integers(0, 3, 400)
    alone = [mean_iou(scores, truths, np.where(np.arange(3) == k, value, 0.0)) for value in GRID]
    np.testing.assert_allclose(mean_ious(scores, truths, np.zeros(3), k), alone, atol=1e-12)


def test_a_bias_is_found_and_taken_back():
    scores, truths = drawn(count=20_000)
    offsets = best_offsets(scores, truths, np.arange(3))
    assert offsets[1] - offsets[2] == pytest.approx(-1.5, abs=0.5)
    plain, best = (mean_iou(scores, truths, value) for value in (np.zeros(3), offsets))
    unbiased = mean_iou(scores, truths, np.array([0.0, -1.0, 0.5]))
    assert best > plain + 0.02
    assert best >= unbiased - PENALTY
    others = drawn(count=20_000, seed=1)
    assert mean_iou(*others, offsets) > mean_iou(*others, np.zeros(3)) + 0.02


def test_what_is_right_already_keeps_its_scores():
    truths = np.array([0, 0, 1, 1])
    scores = np.array([[3, 3, 0, 0], [0, 0, 3, 3], [-1, -1, -1, -1]], dtype=np.float32)
    assert not best_offsets(scores, truths, np.arange(3)).any()


def network_of(**options):
    torch.manual_seed(0)
    backbone = build_backbone("small", widths=[4])
    return Segmenter(backbone, PixelScores(4, 3), 3, LossConfig(), None, **options).eval()


def outputs_of(pictures=24, bias=1.5):
    """Scores for pictures, right but for the last class, which is favoured."""
    for i in range(pictures):
        raw = torch.randn(1, 3, 12, 20, generator=torch.Generator().manual_seed(i))
        info = ImageInfo(i, 12, 20, 12, 20)
        mask = raw[0].argmax(0).numpy().astype(np.uint8)
        mask[0] = 255
        yield raw + bias * torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1), [mask], [info]


def test_a_network_gets_the_offsets_and_says_which():
    network = network_of()
    said = adjust(network, outputs_of(), CLASSES, 24)
    found = network.offsets.clone()
    assert float(found[2] - found[:2].max()) < -0.5
    changed = [f"{CLASSES.names[i]} {float(found[i]):+.1f}" for i in found.nonzero().flatten()]
    assert f"class offsets {', '.join(changed)} (mIoU 0." in said
    assert "-> " in said
    images = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        with_offsets = network(Batch(images, []))
        network.offsets.zero_()
        torch.testing.assert_close(with_offsets, network(Batch(images, [])) + found.view(3, 1, 1))
    network.offsets.fill_(5.0)
    assert adjust(network, outputs_of(), CLASSES, 24) == said  # whatever was there before
    assert torch.equal(network.offsets, found)


def test_a_class_that_few_pictures_show_gets_no_offset():
    def outputs():
        for i, (raw, (mask,), infos) in enumerate(outputs_of()):
            yield raw, [mask if i < 4 else np.where(mask == 2, 255, mask).astype(np.uint8)], infos

    network = network_of()
    adjust(network, outputs(), CLASSES, 24)
    assert network.offsets[2] == 0
    assert (network.offsets[:2] > 0).all()


def test_few_pictures_or_a_config_without_offsets_change_nothing():
    network = network_of()
    assert adjust(network, outputs_of(19), CLASSES, 19) is None
    assert adjust(network, outputs_of(19), CLASSES, 24) is None  # five could not be read
    refuses = network_of(with_offsets=False)
    assert adjust(refuses, outputs_of(), CLASSES, 24) is None
    assert not network.offsets.any()
    assert not refuses.offsets.any()


def test_pictures_that_cannot_be_read_or_show_nothing_change_nothing():
    network = network_of()
    assert adjust(network, [], CLASSES, 24) is None
    unlabelled = ((raw, [np.full_like(masks[0], 255)], infos) for raw, masks, infos in outputs_of())
    assert adjust(network, unlabelled, CLASSES, 24) is None


def test_a_network_that_is_right_keeps_its_scores():
    network = network_of()
    assert adjust(network, outputs_of(bias=0.0), CLASSES, 24) is None
    assert not network.offsets.any()
