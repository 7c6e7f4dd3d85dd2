"""DeepDream on networks small enough to know the answer."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.explain.tiny import TwoLevels, noise, same
from visiontasks.backbones import build_backbone
from visiontasks.errors import DataError, UsageError
from visiontasks.explain.dream import RATE, Dreaming, dream, dream_slope, mean_square, octave_sizes
from visiontasks.explain.features import features_of_picture


@pytest.fixture(scope="module")
def network():
    return TwoLevels().eval()


def test_the_mean_of_squares_by_hand():
    features = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.0]]]])  # (1, 2, 1, 2)
    assert float(mean_square(features)) == (1 + 4 + 9) / 4
    assert float(mean_square(features, 0)) == 2.5
    assert float(mean_square(torch.tensor([[1.0, 3.0]]), 1)) == 9
    with pytest.raises(UsageError, match="a unit of the layer, 0 to 1, found 2"):
        mean_square(features, 2)


@pytest.mark.parametrize(("layer", "unit"), [("stages.0", None), ("stages.1", 3), ("head", 2)])
def test_the_gradient_is_the_activations_sent_back(network, layer, unit):
    """The lecture: the deltas of the layer are its activations (times 2 / their number, here)."""
    pixels = noise((16, 20)).requires_grad_()
    levels = network.backbone(pixels)
    outputs = {"stages.0": levels[0], "stages.1": levels[1], "head": network.head(levels[1].mean((2, 3)))}
    features = outputs[layer] if unit is None else outputs[layer][:, unit]
    deltas = features.detach()
    features.backward(2 * deltas / deltas.numel())
    score, gradient = dream_slope(network, layer, unit, same)(pixels.detach())
    torch.testing.assert_close(gradient, pixels.grad)
    assert score == pytest.approx(float(deltas.square().mean()))


def test_tiles_are_seen_one_by_one(network):
    pixels = noise((20, 40))
    score, gradient = dream_slope(network, "stages.0", None, same, tile=20)(pixels)
    left, right = (dream_slope(network, "stages.0", None, same)(part) for part in pixels.chunk(2, 3))
    assert score == pytest.approx((left[0] + right[0]) / 2)
    torch.testing.assert_close(gradient, torch.cat([left[1], right[1]], 3) / 2)
    whole = dream_slope(network, "stages.0", None, same)(pixels)[1]
    assert not torch.allclose(gradient, whole)
    middle = (slice(None), slice(None), slice(6, 14), slice(4, 14))  # far from the seam
    torch.testing.assert_close(gradient[middle], whole[middle])


def test_the_sizes_of_the_octaves():
    assert octave_sizes((140, 280), 3, 1) == [(71, 143), (100, 200), (140, 280)]
    assert octave_sizes((140, 280), 3, 100) == [(100, 200), (140, 280)]
    assert octave_sizes((140, 280), 3, 200) == [(140, 280)]


def test_a_step_by_the_formula(network):
    """Without octaves, and a picture that looks the same wherever it is moved to."""
    pixels = torch.tensor([0.2, 0.5, 0.7]).view(1, 3, 1, 1).expand(1, 3, 16, 16).contiguous()
    slope = dream_slope(network, "stages.1", None, same)
    (moment,) = dream(slope, pixels, Dreaming(steps=1, octaves=1))
    score, gradient = slope(pixels)
    rng = torch.Generator().manual_seed(0)
    down, right = (int(torch.randint(-32, 33, (), generator=rng)) for _ in range(2))
    step = RATE * (gradient / gradient.square().mean().sqrt()).roll((-down, -right), (2, 3))
    torch.testing.assert_close(moment.pixels(), (pixels + step).clamp(0, 1))
    assert moment.values == {"score": score}


def test_the_layer_answers_more(network):
    pixels = noise((32, 40))
    for layer, unit in (("stages.0", None), ("stages.1", 2)):
        slope = dream_slope(network, layer, unit, same)
        moments = list(dream(slope, pixels, Dreaming(steps=8, octaves=3), least=8))
        assert len(moments) == 24 and moments[0].pixels().shape == pixels.shape
        before, after = slope(pixels)[0], slope(moments[-1].pixels())[0]
        moved = RATE * 8 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1))
        assert after > 1.5 * before and after > slope((pixels + moved).clamp(0, 1))[0]


def test_what_an_octave_added_goes_on_in_the_next(network):
    pixels = noise((32, 32))
    slope = dream_slope(network, "stages.1", None, same)
    moments = [moment.pixels() for moment in dream(slope, pixels, Dreaming(steps=4, octaves=2), least=8)]
    coarse = moments[3] - pixels
    assert coarse.abs().mean() > 0.003
    assert (moments[4] - moments[3]).square().mean().sqrt() < 1.2 * RATE  # one step from there


def test_the_seed_decides(network):
    slope = dream_slope(network, "stages.1", None, same)
    moments = [list(dream(slope, noise((20, 24)), Dreaming(3, 2, seed))) for seed in (3, 3, 4)]
    results = [found[-1].pixels() for found in moments]
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_what_cannot_be_dreamed_is_refused(network):
    with pytest.raises(UsageError, match="at least 1 step and 1 octave, found 0 steps"):
        Dreaming(steps=0)
    with pytest.raises(UsageError, match=r"unknown layer 'stages.7'"):
        dream_slope(network, "stages.7", None, same)(noise((16, 16)))
    with pytest.raises(DataError, match="at least 4x4 pixels"):
        dream_slope(network, "stages.1", None, same)(noise((2, 9)))


@pytest.mark.parametrize("name", ["small", "alexnet", "vgg11", "resnet18", "regnet_x_400mf", "googlenet"])
def test_the_levels_are_found_by_name(name):
    holder = nn.Module()
    holder.backbone = build_backbone(name).eval()
    layers = holder.backbone.ends
    images = torch.randn(1, 3, *[max(40, holder.backbone.minimum_size)] * 2)
    with torch.no_grad():
        levels = holder.backbone(images)
        found = features_of_picture(holder, layers, images)
    assert len(found) == len(levels)
    for features, level in zip(found, levels, strict=True):
        assert np.array_equal(features.numpy(), level.numpy())
