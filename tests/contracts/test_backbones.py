"""The contract `visiontasks.types.Backbone`, over every entry of BACKBONES."""

import functools
import math

import pytest
import torch

from visiontasks.backbones import (
    BACKBONES,
    OURS,
    build_backbone,
    build_classifier_head,
    build_linear_head,
    names,
)
from visiontasks.errors import DataError

every = pytest.mark.parametrize("name", names())


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def on_meta(name):
    """A backbone without weights: shapes can be tried at no cost."""
    with torch.device("meta"):
        return build_backbone(name).eval()


def shapes(backbone, height, width):
    return [tuple(level.shape) for level in backbone(torch.empty(2, 3, height, width, device="meta"))]


def test_there_are_some():
    assert len(BACKBONES) >= 29
    assert set(OURS) < set(BACKBONES)


@every
def test_levels_are_as_declared(name):
    backbone = on_meta(name)
    assert len(backbone.channels) == len(backbone.strides) >= 3
    assert list(backbone.strides) == sorted(backbone.strides)
    smallest = backbone.minimum_size
    for height, width in [(224, 224), (97, 131), (smallest, smallest + 1), (smallest + 37, smallest)]:
        levels = shapes(backbone, height, width)
        assert [shape[:2] for shape in levels] == [(2, channels) for channels in backbone.channels]
        for shape, stride in zip(levels, backbone.strides, strict=True):
            for found, length in zip(shape[2:], (height, width), strict=True):
                assert max(1, math.floor(length / stride) - 1) <= found <= math.ceil(length / stride) + 1


@every
def test_size_below_the_minimum_is_refused(name):
    backbone = on_meta(name)
    small = backbone.minimum_size - 1
    with pytest.raises(DataError, match=f"'{name}', found {small}x300"):
        shapes(backbone, small, 300)


@every
def test_computes(name):
    """Evaluation is deterministic, whatever the memory format; training reaches every parameter."""
    torch.manual_seed(0)
    backbone = build_backbone(name)
    size = max(backbone.minimum_size, 33)
    images = torch.randn(2, 3, size, size)

    levels = backbone(images)
    sum(level.square().mean() for level in levels).backward()
    missing = [key for key, weight in backbone.named_parameters() if weight.grad is None]
    assert missing == []
    assert all(weight.grad.isfinite().all() for weight in backbone.parameters())

    backbone.eval()
    with torch.inference_mode():
        first, second = backbone(images), backbone(images)
        other = backbone.to(memory_format=torch.channels_last)(
            images.contiguous(memory_format=torch.channels_last)
        )
    for a, b, c in zip(first, second, other, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-3, atol=1e-4)


@every
def test_heads_give_one_logit_a_class(name):
    backbone = on_meta(name)
    with torch.device("meta"):
        heads = [build_classifier_head(name, backbone, 7, 0.25), build_linear_head(backbone, 7, 0.25)]
        smallest = backbone.minimum_size
        for height, width in [(smallest, smallest), (97, 131)]:
            levels = backbone(torch.empty(2, 3, height, width))
            for head in heads:
                assert head.eval()(levels).shape == (2, 7)
    for head in heads:
        assert {m.p for m in head.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}
