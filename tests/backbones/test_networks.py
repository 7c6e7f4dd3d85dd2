"""What is particular to one network: AlexNet's normalisation, VGG's pools, stems, the small net, timm."""

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from visiontasks.backbones import build_backbone, build_classifier_head
from visiontasks.backbones.alexnet import _response_norm
from visiontasks.backbones.small import FastStage, PatchStem, ShiftNorm, patch_filters
from visiontasks.errors import DataError, UsageError


def on_meta(name, **options):
    with torch.device("meta"):
        return build_backbone(name, **options).eval()


def heights(backbone, size):
    return [level.shape[-2] for level in backbone(torch.empty(1, 3, size, size, device="meta"))]


def is_pool(backbone, layer):
    return isinstance(backbone.get_submodule(layer), nn.MaxPool2d)


@pytest.mark.parametrize("name", ["alexnet", "alexnet_lrn"])
def test_alexnet_levels(name):
    assert heights(on_meta(name), 224) == [55, 27, 13, 6]


def test_response_norm_is_the_papers():
    """a_i / (k + alpha * sum over 5 neighbours of a_j ** 2) ** beta; Krizhevsky et al. 2012, section 3.3."""
    k, n, alpha, beta = 2, 5, 1e-4, 0.75
    values = 40 * np.random.default_rng(0).normal(size=(1, 9, 2, 3))
    expected = np.empty_like(values)
    for i in range(9):
        neighbours = values[:, max(0, i - n // 2) : min(8, i + n // 2) + 1]
        expected[:, i] = values[:, i] / (k + alpha * (neighbours**2).sum(1)) ** beta
    np.testing.assert_allclose(_response_norm()(torch.from_numpy(values)).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn"])
def test_vgg_pools_lie_between_the_levels(name):
    """One pool leads to each level but the first: the places whose indices an unpooling decoder needs."""
    backbone = on_meta(name)
    pools = [layer for stage in backbone.stages for layer in stage if is_pool(backbone, layer)]
    assert len(pools) == 5
    assert [stage[0] for stage in backbone.stages[1:]] == pools


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet18", (64, 128, 256, 512)), ("resnet50", (256, 512, 1024, 2048))]
)
def test_small_stem_keeps_the_size(name, channels):
    """He et al. 2015, section 4.2: a 3x3 convolution of stride 1 and no pooling."""
    backbone = on_meta(name, stem="small")
    assert (backbone.channels, backbone.strides) == (channels, (1, 2, 4, 8))
    assert heights(backbone, 32) == [32, 16, 8, 4]
    assert (backbone.conv1.kernel_size, backbone.conv1.stride) == ((3, 3), (1, 1))
    assert not any(is_pool(backbone, layer) for stage in backbone.stages for layer in stage)


@pytest.mark.parametrize(
    ("name", "options", "channels", "strides"),
    [
        ("resnet18", {"widths": (8, 10, 12, 14)}, (64, 8, 10, 12, 14), (2, 4, 8, 16, 32)),
        ("resnet18", {"widths": (8, 10), "stem": "small"}, (8, 10), (1, 2)),
        ("resnet50", {"widths": (8, 10, 12)}, (64, 32, 40, 48), (2, 4, 8, 16)),
    ],
)
def test_resnets_of_other_widths(name, options, channels, strides):
    backbone = on_meta(name, **options)
    assert (backbone.channels, backbone.strides) == (channels, strides)
    assert heights(backbone, 64) == [64 // stride for stride in strides]
    groups = {tensor.split(".")[0] for tensor, _ in backbone.named_parameters() if "layer" in tensor}
    assert groups == {f"layer{i + 1}" for i in range(len(options["widths"]))}


def test_blocks_of_resnets_begin_as_the_identity():
    backbone = build_backbone("resnet18", widths=(8,)).eval()
    features = torch.rand(1, 64, 5, 5)
    first, second = backbone.layer1
    torch.testing.assert_close(first(features), first.downsample(features).relu())
    torch.testing.assert_close(second(features[:, :8]), features[:, :8])


def test_small_net():
    backbone = on_meta("small", stem=8, widths=(4, 6))
    assert (backbone.channels, backbone.strides, backbone.minimum_size) == ((4, 6), (2, 4), 4)
    convolutions = 9 * (3 * 8 + 8 * 4 + 4 * 4 + 4 * 6 + 6 * 6)
    assert sum(weight.numel() for weight in backbone.parameters()) == convolutions + 2 * (8 + 2 * 4 + 2 * 6)


def test_small_net_of_patches_and_fast_stages():
    """The stem takes a pixel: 32 -> 31 -> 15, 7, 3."""
    backbone = on_meta("small", stem="patches", widths=(32, 40, 40), stages="fast")
    assert (backbone.strides, backbone.minimum_size) == ((2, 4, 8), 9)
    assert heights(backbone, 32) == [15, 7, 3]
    assert heights(backbone, 9) == [4, 2, 1]
    convolutions = 9 * (24 * 32 + 32 * 32 + 32 * 40 + 3 * 40 * 40)
    trained = sum(weight.numel() for weight in backbone.parameters() if weight.requires_grad)
    assert trained == convolutions + 24 + 2 * (32 + 40 + 40)


@pytest.mark.parametrize("stem", [4, "patches"])
@pytest.mark.parametrize("stages", ["residual", "fast"])
@pytest.mark.parametrize("padded", [True, False])
def test_small_nets_minimum_is_one_position(stem, stages, padded):
    backbone = on_meta("small", stem=stem, widths=(4, 4), stages=stages, padded=padded)
    assert heights(backbone, backbone.minimum_size)[-1] == 1
    with pytest.raises(DataError, match=f"found {backbone.minimum_size - 1}x"):
        heights(backbone, backbone.minimum_size - 1)


def test_patch_stem_has_independent_parts_of_one_variance():
    """Of random pictures that are smooth and nearly grey, as photographs are."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(64, 1, 20, 20, generator=rng) + 0.3 * torch.randn(64, 3, 20, 20, generator=rng)
    images = 20 * nn.functional.avg_pool2d(images, 4, stride=1)  # LEAST_VARIANCE is nothing beside
    stem = PatchStem()
    parts = stem.norm(stem.conv(images)).detach().transpose(0, 1).flatten(1)
    covariance = parts @ parts.T / parts.shape[1]
    assert covariance.diagonal().sub(1).abs().max() < 0.1
    assert (covariance - covariance.diagonal().diag()).abs().max() < 0.1
    raw = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(1, 4, 5, 0, 2, 3).reshape(12, -1)
    assert torch.corrcoef(raw).fill_diagonal_(0).abs().max() > 0.6


def test_patch_filters_are_orthonormal_and_stay():
    filters = patch_filters().flatten(1)
    torch.testing.assert_close(filters @ filters.T, torch.eye(12))
    stem = PatchStem()
    stem(torch.randn(2, 3, 5, 5)).sum().backward()
    assert [name for name, weight in stem.named_parameters() if weight.grad is not None] == ["bias"]


def test_patch_stem_shows_each_part_both_ways_up():
    stem = PatchStem().eval()
    images = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    output, parts = stem(images), stem.norm(stem.conv(images))
    assert output.shape == (2, 24, 5, 6)
    torch.testing.assert_close(output[:, :12] - output[:, 12:], parts)  # gelu(x) - gelu(-x) = x


def test_fast_stage_begins_as_pooling_of_what_comes_in():
    """Both convolutions copy what comes in, and GELU keeps what is well above 0."""
    stage = FastStage(3, 8, padded=True).eval()
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 6
    expected = nn.functional.max_pool2d(images, 2)
    torch.testing.assert_close(stage(images)[:, :3], expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("train", [True, False])
def test_shift_norm_is_batch_norm_with_a_shift_64_times_as_fast(train):
    rng = torch.Generator().manual_seed(0)
    ours, theirs = ShiftNorm(4).train(train), nn.BatchNorm2d(4).train(train)
    features = torch.randn(3, 4, 5, 5, generator=rng)
    weights = torch.randn(3, 4, 5, 5, generator=rng)
    for norm in (ours, theirs):
        optimizer = torch.optim.SGD([p for p in (norm.bias,) if p.requires_grad], lr=0.01)
        (norm(features) * weights).sum().backward()
        optimizer.step()
    assert not ours.weight.requires_grad
    torch.testing.assert_close(8 * ours.bias, 64 * theirs.bias)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(
        ours(features), theirs(features) + (8 * ours.bias - theirs.bias).view(1, 4, 1, 1)
    )


def test_small_net_without_padding_sees_nothing_but_its_part_of_the_picture():
    """What lies outside the 52 pixels under the last level's only position changes nothing."""
    backbone = build_backbone("small", stem=4, widths=(4, 5, 6), padded=False).eval()
    assert backbone.minimum_size == 52
    assert heights(on_meta("small", widths=(4, 5, 6), padded=False), 224) == [108, 51, 22]
    images = torch.randn(1, 3, 84, 84)
    part = images[:, :, 16:68, 24:76]
    with torch.inference_mode():
        torch.testing.assert_close(backbone(part)[-1][:, :, 0, 0], backbone(images)[-1][:, :, 2, 3])
    assert {name for name, _ in backbone.named_parameters()} == {
        name for name, _ in on_meta("small", widths=(4, 5, 6)).named_parameters()
    }


def test_small_nets_head_is_max_pooling_and_an_eighth():
    head = build_classifier_head("small", build_backbone("small", stem=4, widths=(4, 4)), 3)
    features = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    expected = features.amax((2, 3)) @ head.classifier.weight.T / 8
    torch.testing.assert_close(head([features]), expected)


def fake_timm(output_format):
    """A stand-in for the package: one network, `tiny`, and one without feature levels, `flat`."""

    class Tiny(nn.Module):
        output_fmt = output_format
        feature_info = types.SimpleNamespace(channels=lambda: [4, 8], reduction=lambda: [2, 4])

        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)
            self.return_layers = {"first": "0", "second": "1"}

        def forward(self, images):
            assert images.shape[2] < 64, "too high"
            first = self.first(images)
            levels = [first, self.second(first)]
            return [level.permute(0, 2, 3, 1) for level in levels] if output_format == "NHWC" else levels

    def create_model(name, pretrained, features_only):
        assert (pretrained, features_only) == (False, True)
        if name == "flat":
            raise RuntimeError("features_only not implemented")
        return Tiny()

    return types.SimpleNamespace(
        list_models=lambda: ["tiny", "flat"], create_model=create_model, __spec__=types
    )


@pytest.fixture
def use_timm(monkeypatch):
    """Puts a stand-in where timm is imported from, and forgets the module that imported it afterwards."""
    module = "visiontasks.backbones.timm_nets"
    monkeypatch.delitem(sys.modules, module, raising=False)
    yield lambda package: monkeypatch.setitem(sys.modules, "timm", package)
    sys.modules.pop(module, None)


@pytest.mark.parametrize("output_format", ["NCHW", "NHWC"])
def test_timm_levels(use_timm, output_format):
    use_timm(fake_timm(output_format))
    backbone = build_backbone("timm/tiny")
    assert (backbone.channels, backbone.strides) == ((4, 8), (2, 4))
    levels = backbone(torch.zeros(1, 3, 16, 12))
    assert [tuple(level.shape) for level in levels] == [(1, 4, 8, 6), (1, 8, 4, 3)]
    assert build_classifier_head("timm/tiny", backbone, 5)(levels).shape == (1, 5)
    assert backbone.ends == (("net.first", "net.second") if output_format == "NCHW" else ("last", "last"))
    seen = []
    backbone.get_submodule(backbone.ends[-1]).register_forward_hook(lambda *call: seen.append(call[2]))
    assert torch.equal(backbone(torch.ones(1, 3, 16, 12))[-1], seen[0])
    with pytest.raises(DataError, match=r"the size that 'timm/tiny' is built for, found 64x32 \(too high"):
        backbone(torch.zeros(1, 3, 64, 32))


def test_timm_errors(use_timm):
    use_timm(fake_timm("NCHW"))
    with pytest.raises(UsageError, match=r"unknown backbone 'timm/tinny'; near it: timm/tiny"):
        build_backbone("timm/tinny")
    with pytest.raises(UsageError, match=r"gives feature levels, found 'timm/flat' \(features_only not"):
        build_backbone("timm/flat")
