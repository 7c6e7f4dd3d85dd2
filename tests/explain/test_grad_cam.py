"""Grad-CAM against the lecture's formula and captum; its map lies where the layer looked."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.explain.tiny import Head, Levels, asked, tiny_classifier
from visiontasks.backbones import build_backbone
from visiontasks.classification.models.classifier import Classifier
from visiontasks.errors import UsageError
from visiontasks.explain.grad_cam import find_layer, fitting_layer, grad_cam


def cam(network, images, layer=None):
    name, module = find_layer(network, layer or fitting_layer(network))
    return grad_cam(asked(network, images).score, network, module, images, name=name)


def test_the_formula_by_hand():
    """For mean pooling behind ReLU, d a^c / d a_ij = w_ck [a_ij > 0] / M: all known without autograd."""
    torch.manual_seed(0)
    network, images = tiny_classifier(), torch.randn(1, 3, 16, 24)
    first, second = network.backbone[0], network.backbone[2]
    before = second(F.relu(first(images)))[0]  # (6, 4, 6), the pre-activations
    positions = before[0].numel()
    alpha = network.head.fc.weight[1] * (before > 0).float().mean(dim=(1, 2)) / positions
    coarse = (alpha[:, None, None] * before).sum(0)
    expected = F.interpolate(coarse[None, None], (16, 24), mode="bilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(cam(network, images, "2"), expected.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layer", ["0", "2", "3"])
def test_the_same_as_captum(layer):
    attr = pytest.importorskip("captum.attr")
    torch.manual_seed(1)
    network, images = tiny_classifier(), torch.randn(1, 3, 20, 28)
    for relu in (1, 3):
        network.backbone[relu].inplace = False  # captum's hook sees what a ReLU overwrites
    _, module = find_layer(network, layer)
    subject = asked(network, images)
    coarse = attr.LayerGradCam(subject.score, module).attribute(images, attr_dim_summation=True)
    expected = F.interpolate(coarse, (20, 28), mode="bilinear", align_corners=False)[0, 0].detach()
    torch.testing.assert_close(cam(network, images, layer), expected, atol=1e-5, rtol=1e-5)


def test_an_inplace_relu_changes_nothing():
    torch.manual_seed(2)
    network, images = tiny_classifier(), torch.randn(1, 3, 16, 16)
    inplace = cam(network, images)
    for relu in (1, 3):
        network.backbone[relu].inplace = False
    assert torch.equal(inplace, cam(network, images))


def test_averaged_views_are_brought_back_to_the_picture():
    """The map is the sum of the views' maps, each mirrored and moved back."""
    torch.manual_seed(3)
    network, images = tiny_classifier(mirror=True, shift=2), torch.randn(1, 3, 32, 32)
    single = tiny_classifier()
    single.load_state_dict(network.state_dict())
    total = torch.zeros(32, 32)
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
    for weight, view, place in (
        (0.5, images, (0, 0)),
        (0.25, padded[:, :, 4:, 4:], (2, 2)),
        (0.25, padded[:, :, :32, :32], (-2, -2)),
    ):
        for flipped in (False, True):
            seen = cam(single, view.flip(3) if flipped else view)
            seen = seen.flip(1) if flipped else seen
            total += weight / 2 * torch.roll(seen, place, (0, 1))
    found = cam(network, images)
    torch.testing.assert_close(found[4:-4, 4:-4], total[4:-4, 4:-4], atol=1e-6, rtol=1e-4)


def test_the_map_is_where_the_network_looks():
    """A kernel that answers to red alone: the map's largest value is on the red square."""
    convolution = nn.Conv2d(3, 1, 1, bias=False)
    convolution.weight.data = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    network = Classifier(Levels(convolution, nn.ReLU()), Head(1, 3), None, 0.0).eval()
    network.head.fc.weight.data.fill_(1.0)
    images = torch.zeros(1, 3, 40, 60)
    images[0, 0, 10:20, 30:45] = 1
    images[0, 1, 25:35, 5:20] = 1  # green
    found = cam(network, images)
    inside = torch.zeros(40, 60, dtype=torch.bool)
    inside[10:20, 30:45] = True
    assert found[inside].min() > 0 and found[~inside].max() <= 0


@pytest.mark.parametrize(
    "name", ["small", "resnet18", "vgg11", "mobilenet_v3_small", "efficientnet_b0", "regnet_y_400mf"]
)
def test_the_default_layer_of_every_kind_of_backbone_has_positions(name):
    torch.manual_seed(0)
    backbone = build_backbone(name)
    network = Classifier(backbone, Head(backbone.channels[-1], 3), None, 0.0).eval()
    found = cam(network, torch.randn(1, 3, 64, 96))
    assert found.shape == (64, 96) and found.abs().max() > 0


@pytest.mark.parametrize(
    ("where", "layer"),
    [
        (None, "stages.2"),
        (torch.tensor([0.0, 0, 33, 33]), "stages.2"),
        (torch.tensor([0.0, 0, 16, 64]), "stages.2"),  # the root of the area is 32
        (torch.tensor([5.0, 5, 36, 36]), "stages.1"),
        (torch.tensor([5.0, 5, 15, 15]), "stages.0"),
        (torch.tensor([5.0, 5, 6, 6]), "stages.0"),  # finer there is none
        (torch.tensor([5.0, 5, -6, 6]), "stages.0"),  # labelled with a negative width
        (torch.ones(64, 64) > 0, "stages.2"),
        (torch.eye(64) > 0, "stages.0"),
    ],
)
def test_the_layer_fits_the_place(where, layer):
    holder = nn.Module()
    holder.backbone = build_backbone("small", stem=4, widths=[4, 4, 4])  # strides 2, 4 and 8
    assert fitting_layer(holder, where) == layer


@pytest.mark.parametrize(("name", "layer"), [("vgg11", "features.19"), ("alexnet", "features.11")])
def test_a_level_that_is_only_a_pool_is_passed_over(name, layer):
    holder = nn.Module()
    holder.backbone = build_backbone(name)
    assert fitting_layer(holder) == layer


class WithSpare(Head):
    """Also computes what no score depends on."""

    def __init__(self, channels, classes):
        super().__init__(channels, classes)
        self.spare = nn.Conv2d(channels, 1, 1)

    def forward(self, levels):
        self.spare(levels[-1])
        return super().forward(levels)


def test_a_layer_that_runs_for_nothing_is_refused():
    network = tiny_classifier()
    network.head = WithSpare(6, 3)
    with pytest.raises(UsageError, match=r"a layer that the target depends on, found 'head\.spare'"):
        cam(network, torch.randn(1, 3, 16, 16), "head.spare")


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("unit", [(2, 3), (3, 2)])
def test_a_unit_is_shown_where_it_looks(padded, unit):
    """The map of one unit's score has its peak in the middle of the pixels that the unit depends on."""
    torch.manual_seed(6)
    network = nn.Module()
    network.backbone = build_backbone("small", stem=4, widths=[4, 4, 4], padded=padded).eval()
    images = torch.randn(1, 3, 96, 112)

    def score(pixels):
        return network.backbone(pixels)[-1][:, :, unit[0], unit[1]].square().sum(dim=1)

    found = grad_cam(score, network, network.backbone.stages[2], images, name="stages.2", local=True)
    pixels = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(score(pixels).sum(), pixels)
    rows, columns = (slope.abs().sum(dim=(0, 1, axis)).nonzero()[:, 0] for axis in (3, 2))
    peak = torch.stack(torch.where(found == found.max())).float().mean(dim=1)
    for place, seen, side in zip(peak.tolist(), (rows, columns), (96, 112), strict=True):
        if not padded or (0 < seen.min() and seen.max() < side - 1):  # not cut at the edge
            assert abs(place - (seen.min() + seen.max()) / 2) <= 4  # half the stride


def test_random_weights_change_the_map():
    """A method whose map stays would show the picture, not the network (Adebayo 2018, arXiv 1810.03292).

    By the rank correlation of the maps: 1 for the same network; with other weights about 0 on average.
    """
    stats = pytest.importorskip("scipy.stats")
    correlations = []
    for seed in range(12):
        torch.manual_seed(seed)
        images, network, other = torch.randn(1, 3, 64, 64), tiny_classifier(), tiny_classifier()
        maps = [cam(net, images).numpy().ravel() for net in (network, network, other)]
        assert np.array_equal(maps[0], maps[1])
        correlations.append(stats.spearmanr(maps[0], maps[2]).statistic)
    assert abs(np.mean(correlations)) < 0.4 and max(correlations) < 0.99


def test_an_unknown_layer_names_the_nearest_and_one_without_positions_is_refused():
    network, images = tiny_classifier(), torch.randn(1, 3, 16, 16)
    with pytest.raises(UsageError, match=r"unknown layer 'head\.fd'; did you mean 'head\.fc'\?"):
        find_layer(network, "head.fd")
    with pytest.raises(
        UsageError, match=r"expected a layer with positions .* found 'head\.fc' with \(1, 3\)"
    ):
        cam(network, images, "head.fc")
    network.backbone.add_module("spare", nn.Identity())
    network.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(UsageError, match="expected a layer that the target depends on, found 'unused'"):
        cam(network, images, "unused")


def test_of_a_linear_head_the_local_map_adds_up_to_the_score():
    """Draelos and Carin 2020, section 3: with mean pooling and a linear layer, sum + bias = score."""
    torch.manual_seed(4)
    network, images = tiny_classifier(), torch.randn(1, 3, 16, 24)
    subject, layer = asked(network, images), network.backbone[3]
    found = grad_cam(subject.score, network, layer, images, name="3", local=True)
    features = network.backbone(images)[0]
    coarse = (network.head.fc.weight[1][:, None, None] * features[0] / features[0, 0].numel()).sum(0)
    assert (coarse.sum() + network.head.fc.bias[1]).item() == pytest.approx(subject.value, abs=1e-5)
    expected = F.interpolate(coarse[None, None], (16, 24), mode="bilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(found, expected.detach(), atol=1e-6, rtol=1e-5)


def test_of_one_place_the_local_map_is_zero_elsewhere():
    torch.manual_seed(5)
    network, images = tiny_classifier(), torch.randn(1, 3, 32, 32)

    def score(pixels):
        return network.backbone(pixels)[0][:, :, :4, :4].sum(dim=(1, 2, 3))

    maps = [
        grad_cam(score, network, network.backbone[2], images, name="2", local=local)
        for local in (True, False)
    ]
    assert maps[0][20:].abs().max() == 0 and maps[0][:12, :12].abs().max() > 0
    assert maps[1][20:].abs().max() > 0  # the channels' means know no place
