"""The contract of every network of segmentation: any size, any number of pictures, all that trains."""

import functools

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from visiontasks.backbones import BACKBONES
from visiontasks.classes import ClassMap
from visiontasks.errors import ConfigError
from visiontasks.segmentation.model_config import (
    FCNConfig,
    LossConfig,
    LRASPPConfig,
    NaiveConfig,
    SegNetConfig,
    UNetConfig,
    UPerNetConfig,
)
from visiontasks.segmentation.models import BUILDERS, build_model
from visiontasks.types import Batch, ImageInfo

CLASSES = ClassMap(("road", "sky", "tree"))
SECTIONS = {
    "naive": NaiveConfig(width=8, depth=3),
    "fcn-32": FCNConfig(backbone="small", stride=32, width=16),
    "fcn-16": FCNConfig(backbone="small", stride=16, width=16),
    "fcn-8": FCNConfig(backbone="small", stride=8, width=16),
    "segnet": SegNetConfig(backbone="vgg11"),
    "unet": UNetConfig(backbone="small", widths=(16, 8)),
    "unet, one convolution": UNetConfig(backbone="small", widths=(16, 8), convolutions=1),
    "unet, transpose": UNetConfig(backbone="small", up="transpose", widths=(16, 8)),
    "unet, unpool": UNetConfig(backbone="vgg11_bn", up="unpool", widths=(16, 8)),
    "upernet": UPerNetConfig(backbone="small", width=16),
    "lraspp": LRASPPConfig(backbone="small", width=16),
    "lraspp, dilated": LRASPPConfig(backbone="mobilenet_v3_small", options={"dilated": True}, width=16),
}
FAMILIES = {family: name for name, family in reversed(BACKBONES.items())}  # the first one of each
DECODERS = {
    "fcn": lambda name: FCNConfig(backbone=name, width=16),
    "unet": lambda name: UNetConfig(backbone=name, widths=(16, 8)),
    "unet, transpose": lambda name: UNetConfig(backbone=name, widths=(16,), up="transpose"),
    "upernet": lambda name: UPerNetConfig(backbone=name, width=16),
    "lraspp": lambda name: LRASPPConfig(backbone=name, width=16),
}
every = pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def batch_of(images, targets=()):
    height, width = images.shape[-2:]
    return Batch(images, [ImageInfo(i, height, width, height, width) for i in range(len(images))], targets)


def build(section, **loss):
    return build_model(section, CLASSES, LossConfig(**loss), None)


@functools.cache
def on_meta(decoder, backbone):
    with torch.device("meta"):
        return build(DECODERS[decoder](backbone)).eval()


def test_every_builder_is_tried():
    assert {section.name for section in SECTIONS.values()} == set(BUILDERS)


@every
def test_it_trains_on_one_small_picture(section):
    """Sides are no multiple of anything; each parameter gets a gradient; nothing but logits comes out."""
    network = build(section, dice=1, focal=1, lovasz=1).train()
    batch = batch_of(torch.randn(1, 3, 19, 37), torch.randint(0, 3, (1, 19, 37), dtype=torch.uint8))
    raw = network(batch)
    assert (raw.shape, raw.dtype) == ((1, 3, 19, 37), torch.float32)
    terms = network.loss(raw, batch)
    assert set(terms) == {"cross_entropy", "focal", "dice", "lovasz"}
    sum(terms.values()).backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


@every
def test_it_runs_under_autocast_and_any_memory_format(section):
    network = build(section).eval()
    images = torch.randn(2, 3, 40, 33)
    with torch.inference_mode():
        expected = network(batch_of(images))
        network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(network(batch_of(images)), expected, rtol=1e-3, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            raw = network(batch_of(images))
    assert raw.dtype == torch.float32
    assert raw.isfinite().all()
    if not network.with_positions:  # a position that rounding changes is another network
        torch.testing.assert_close(raw, expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


@every
def test_pictures_do_not_see_each_other(section):
    """Nor does padding to the batch's size change what is right of it or below."""
    network = build(section).eval()
    images = torch.randn(2, 3, 24, 40)
    with torch.inference_mode():
        both, one = network(batch_of(images)), network(batch_of(images[1:]))
    torch.testing.assert_close(both[1:], one, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("backbone", FAMILIES.values(), ids=FAMILIES)
def test_any_backbone_at_any_size(decoder, backbone):
    network = on_meta(decoder, backbone)
    for height, width in [(1, 1), (33, 70), (128, 96)]:
        raw = network(batch_of(torch.empty(1, 3, height, width, device="meta")))
        assert raw.shape == (1, 3, height, width)


def test_a_timm_backbone_works():
    pytest.importorskip("timm")
    network = build(UNetConfig(backbone="timm/resnet10t", widths=(16, 8))).eval()
    with torch.inference_mode():
        assert network(batch_of(torch.randn(1, 3, 20, 30))).shape == (1, 3, 20, 30)


def test_small_stems_and_few_levels_work():
    small = UNetConfig(backbone="resnet18", options={"stem": "small"}, widths=(16, 8))
    single = UPerNetConfig(backbone="small", options={"widths": [8]}, width=16)
    for section in (small, single):
        with torch.device("meta"):
            network = build(section).eval()
        assert network(batch_of(torch.empty(1, 3, 9, 10, device="meta"))).shape == (1, 3, 9, 10)


def test_mirror_averages_with_the_mirror_image_and_only_to_predict():
    network = build(UNetConfig(backbone="small", widths=(16, 8), mirror=True))
    images = torch.randn(1, 3, 16, 24)
    network.eval()
    with torch.inference_mode():
        raw, flipped = network(batch_of(images)), network(batch_of(images.flip(3)))
        torch.testing.assert_close(raw, flipped.flip(3))
        network.mirror = False
        assert not torch.allclose(raw, network(batch_of(images)))


# What the config refuses


@pytest.mark.parametrize("section", [SegNetConfig, functools.partial(UNetConfig, up="unpool")])
def test_positions_need_a_vgg(section):
    with pytest.raises(ValidationError, match=r"one of vgg11, vgg11_bn, .*vgg19_bn \(not 'resnet18'\)"):
        section(backbone="resnet18")


def test_fcn_needs_levels_to_score():
    section = FCNConfig(backbone="small", options={"widths": [8, 8]}, stride=8)
    with pytest.raises(
        ConfigError, match="at least 3 levels for FCN-8s, found 'small' with 2; take stride 32"
    ):
        build(section)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cross_entropy": 0}, "above 0 for one of cross_entropy, focal, dice, lovasz"),
        ({"class_weights": {"road": 0}}, "a factor above 0"),
        ({"class_weights": "balanced"}, "median, null, or"),
        ({"dice": -1}, "greater than or equal to 0"),
    ],
)
def test_a_loss_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        LossConfig(**values)


def test_yaml_scalars_are_strings():
    assert FCNConfig.model_validate({"stride": "16"}).stride == 16
    assert UNetConfig.model_validate({"convolutions": "1", "widths": ["8", "4"]}).widths == (8, 4)
    assert LossConfig.model_validate({"class_weights": {"road": "2"}}).class_weights == {"road": 2.0}


# Class weights


class Counted:
    """Three classes in two pictures of 100 pixels: road in both, sky in one, tree nowhere."""

    classes = CLASSES

    def class_pixels(self):
        return np.array([120, 20, 0]), np.array([200, 100, 0])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({}, None),
        ({"class_weights": "median"}, [0.4 / 0.6, 2.0, 1.0]),  # frequencies 0.6 and 0.2, their median 0.4
        ({"class_weights": "median", "class_weight_power": 0.5}, [(0.4 / 0.6) ** 0.5, 2.0**0.5, 1.0]),
        ({"class_weights": {"tree": 3}}, [1.0, 1.0, 3.0]),
    ],
)
def test_class_weights(loss, expected):
    network = build_model(SECTIONS["naive"], CLASSES, LossConfig(**loss), Counted())
    found = network.class_weights
    assert found is None if expected is None else found.tolist() == pytest.approx(expected)
    assert "class_weights" not in network.state_dict()


def test_weights_for_a_class_that_is_not_there():
    with pytest.raises(Exception, match="did you mean 'tree'"):
        build_model(SECTIONS["naive"], CLASSES, LossConfig(class_weights={"tre": 2}), Counted())


# That it learns


@pytest.mark.parametrize("name", ["naive", "fcn-8", "unet", "upernet"])
def test_it_learns_a_picture_by_heart(name):
    """Three grey values in blocks, a part of them ignored."""
    torch.manual_seed(0)
    coarse = torch.randint(0, 3, (1, 4, 5))
    targets = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2).to(torch.uint8)
    images = (targets[:, None].float() - 1).repeat(1, 3, 1, 1)
    targets[:, :3] = 255
    batch = batch_of(images, targets)
    network = build(SECTIONS[name], dice=1).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        sum(network.loss(network(batch), batch).values()).backward()
        optimizer.step()
    network.eval()
    with torch.inference_mode():
        (found,) = network.decode(network(batch), batch.infos, {})
    counted = targets[0].numpy() != 255
    assert (found.mask == targets[0].numpy())[counted].mean() > 0.8  # the classes are a third each
