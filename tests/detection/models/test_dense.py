"""A classifier's layers at every position: equal to the classifier on one window."""

import pytest
import torch
from torch import nn

from visiontasks.backbones import build_backbone, build_classifier_head, build_linear_head
from visiontasks.backbones.heads import ClassifierHead
from visiontasks.detection.models.dense import averaging_matrix, feature_size, make_dense
from visiontasks.errors import ConfigError, UsageError


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 7), (3, 7), (12, 5), (5, 1)])
def test_averaging_matrix_is_adaptive_pooling(inputs, outputs):
    values = torch.randn(1, 4, inputs)
    expected = nn.AdaptiveAvgPool1d(outputs)(values)
    torch.testing.assert_close(values @ averaging_matrix(inputs, outputs).T, expected)


@pytest.mark.parametrize("name", ["small", "alexnet", "mobilenet_v3_small", "convnext_tiny"])
def test_a_dense_head_equals_the_head_on_one_window(name):
    """Max pooling; fully connected layers over 6x6 positions; a hidden layer; a layer norm."""
    backbone = build_backbone(name).eval()
    size = feature_size(backbone, (70, 97))
    for head in (build_classifier_head(name, backbone, 5), build_linear_head(backbone, 5)):
        dense = make_dense(head.eval(), size).eval()
        features = torch.randn(2, backbone.channels[-1], *size)
        with torch.inference_mode():
            found, larger = dense(features), dense(torch.randn(1, *features.shape[1:2], size[0] + 3, size[1]))
            torch.testing.assert_close(found[:, :, 0, 0], head([features]), rtol=1e-4, atol=1e-5)
        assert found.shape == (2, 5, 1, 1)
        assert larger.shape == (1, 5, 4, 1)


def test_the_first_fully_connected_layer_becomes_a_convolution_over_the_window():
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(1))
    head = ClassifierHead(pool, nn.Sequential(nn.Linear(3 * 4, 8), nn.ReLU(), nn.Linear(8, 5)), name="fc")
    shapes = [tuple(layer.weight.shape) for layer in make_dense(head, (4, 6)) if hasattr(layer, "weight")]
    assert shapes == [(8, 3, 4, 6), (5, 8, 1, 1)]


def test_a_head_that_needs_the_whole_picture_is_refused():
    head = ClassifierHead(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Flatten(), nn.Softmax(1)), name="fc")
    with pytest.raises(UsageError, match=r"every position, found Softmax; use model\.head: linear"):
        make_dense(head, (2, 2))


def test_a_window_below_the_backbones_minimum_is_refused():
    backbone = build_backbone("small", stem=2, widths=(2, 2, 2), padded=False)
    assert feature_size(backbone, (52, 60)) == (1, 2)
    assert backbone.training
    with pytest.raises(ConfigError, match=r"model.window: .*at least 52x52 .* found 51x60"):
        feature_size(backbone, (51, 60))
