"""Loss terms and decoding, on logits that are given; pooling positions against the readable ones."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visiontasks.backbones import build_backbone
from visiontasks.classes import ClassMap
from visiontasks.errors import DataError
from visiontasks.ops import losses
from visiontasks.ops.unpooling import max_pool_with_positions, unpool_positions
from visiontasks.segmentation.model_config import LossConfig, NaiveConfig
from visiontasks.segmentation.models import build_model, segmenter
from visiontasks.segmentation.models.positions import levels_with_positions, unpool
from visiontasks.types import Batch, ImageInfo

CLASSES = ClassMap(tuple("abcde"))


@pytest.fixture
def network():
    return build_model(NaiveConfig(width=4, depth=1), CLASSES, LossConfig(), None)


def test_terms_are_the_losses_times_their_weights(network):
    raw, targets = torch.randn(2, 5, 9, 12), torch.randint(0, 5, (2, 9, 12), dtype=torch.uint8)
    targets[:, :3] = losses.IGNORE
    network.loss_config = LossConfig(
        cross_entropy=0, focal=0.5, focal_gamma=1, dice=2, lovasz=3, lovasz_step=2
    )
    found = network.loss(raw, Batch(raw, [], targets))
    log_p, long = torch.log_softmax(raw, 1), targets.long()
    assert set(found) == {"focal", "dice", "lovasz"}
    torch.testing.assert_close(found["focal"], 0.5 * losses.focal(log_p, long, gamma=1))
    torch.testing.assert_close(found["dice"], 2 * losses.dice(log_p, long))
    some = losses.lovasz_softmax(log_p[:, :, ::2, ::2], long[:, ::2, ::2])
    torch.testing.assert_close(found["lovasz"], 3 * some)


def test_a_batch_that_is_all_ignored_trains_nothing(network):
    batch = Batch(torch.randn(2, 3, 8, 8), [], torch.full((2, 8, 8), losses.IGNORE, dtype=torch.uint8))
    network.loss_config = LossConfig(focal=1, dice=1, lovasz=1)
    total = sum(network.loss(network(batch), batch).values())
    total.backward()
    assert float(total.detach()) == 0
    assert all(not weight.grad.any() for weight in network.parameters())


# Decoding


def info(height, width, resized_height, resized_width, **padding):
    return ImageInfo("p", height, width, resized_height, resized_width, **padding)


def test_decoding_at_the_networks_size_is_the_largest_logit(network):
    raw = torch.randn(1, 5, 6, 7)
    (found,) = network.decode(raw, [info(6, 7, 6, 7)], {})
    assert (found.mask.dtype, found.mask.shape) == (np.uint8, (6, 7))
    np.testing.assert_array_equal(found.mask, raw[0].argmax(0))


def test_padding_is_cut_off(network):
    raw = torch.randn(1, 5, 10, 12)
    (found,) = network.decode(raw, [info(6, 7, 6, 7, pad_left=2, pad_top=3)], {})
    np.testing.assert_array_equal(found.mask, raw[0, :, 3:9, 2:9].argmax(0))


@pytest.mark.parametrize("size", [(23, 31), (4, 3), (12, 9), (6, 30), (1, 1)])
@pytest.mark.parametrize("band", [1, 200, 1 << 24])
def test_decoding_resizes_the_logits_as_torch_does(network, monkeypatch, size, band):
    """Whatever the height of the bands in which a large picture is decoded."""
    monkeypatch.setattr(segmenter, "BAND_VALUES", band)
    raw = torch.randn(1, 5, 6, 7)
    (found,) = network.decode(raw, [info(*size, 6, 7)], {})
    whole = F.interpolate(raw, size=size, mode="bilinear", align_corners=False)[0]
    first, second = whole.topk(2, dim=0).values
    clear = (first - second > 1e-5).numpy()
    assert found.mask.shape == size
    np.testing.assert_array_equal(found.mask[clear], whole.argmax(0)[clear])


def test_equal_logits_give_the_lower_index(network):
    (found,) = network.decode(torch.zeros(1, 5, 2, 2), [info(2, 2, 2, 2)], {})
    assert found.mask.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused(network, value):
    raw = torch.zeros(2, 5, 4, 4)
    raw[1, 2, 3, 3] = value
    with pytest.raises(DataError, match="expected finite scores, found nan or inf for second; the network"):
        network.decode(raw, [info(4, 4, 4, 4), ImageInfo("second", 4, 4, 4, 4)], {})


# Positions


def test_unpooling_is_the_readable_one():
    features = torch.rand(1, 3, 6, 8)
    pooled, places = F.max_pool2d(features, 2, return_indices=True)
    expected, positions = max_pool_with_positions(features[0].numpy(), 2)
    np.testing.assert_array_equal(places[0], positions)
    np.testing.assert_array_equal(
        unpool(pooled, places, (6, 8))[0], unpool_positions(expected, positions, (6, 8))
    )


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn"])
def test_levels_with_positions_are_the_backbones_own(name):
    backbone = build_backbone(name).eval()
    images = torch.randn(1, 3, 64, 32)
    with torch.inference_mode():
        levels, positions = levels_with_positions(backbone, images)
        for ours, theirs in zip(levels, backbone(images), strict=True):
            assert torch.equal(ours, theirs)
        for level, chosen, pooled in zip(levels[:-1], positions, levels[1:], strict=True):
            values = level.flatten(2).gather(2, chosen.flatten(2)).view_as(chosen)
            assert torch.equal(values, F.max_pool2d(level, 2))
            assert chosen.shape[2:] == pooled.shape[2:]
