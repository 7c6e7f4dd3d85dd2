"""Filters as pictures: what is black, grey and white, and which layers are shown."""

import numpy as np
import pytest
import torch
from torch import nn

from visiontasks.errors import DataError
from visiontasks.explain.filters import (
    convolutions,
    describe,
    draw_filters,
    draw_gabors,
    draw_layers,
    gabor_table,
    weights_of,
)
from visiontasks.explain.gabor import fit_gabors, gabor_functions

GREY = 128  # 127.5, rounded to even


def test_one_scale_for_all_filters_with_zero_as_grey():
    weights = np.zeros((2, 3, 2, 2))
    weights[0, 0] = 1.0  # red
    weights[1, :, 0, 0] = -1.0
    weights[1, :, 1, 1] = 0.5
    sheet = draw_filters(weights, tile=8, columns=2)
    first, second = sheet[1:9, 1:9], sheet[1:9, 10:18]
    assert sheet.shape == (10, 19, 3)
    assert (first == [255, GREY, GREY]).all()
    assert (second[:4, :4] == 0).all() and (second[4:, 4:] == 191).all() and (second[:4, 4:] == GREY).all()


def test_deeper_filters_are_shown_as_the_mean_of_their_channels():
    weights = np.random.default_rng(0).standard_normal((5, 7, 3, 3))
    mean = weights.mean(1, keepdims=True).repeat(3, axis=1)
    assert np.array_equal(draw_filters(weights), draw_filters(mean))


@pytest.mark.parametrize(
    ("count", "columns", "shape"), [(1, None, (1, 1)), (5, None, (2, 3)), (5, 9, (1, 5))]
)
def test_rows_and_columns(count, columns, shape):
    sheet = draw_filters(np.ones((count, 3, 4, 4)), tile=4, columns=columns)
    assert sheet.shape == (shape[0] * 5 + 1, shape[1] * 5 + 1, 3)


def test_filters_that_are_all_zero_are_grey():
    assert (draw_filters(np.zeros((1, 3, 2, 2)), tile=2)[1:3, 1:3] == GREY).all()


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 3, groups=6))
    )


def test_layers_by_name_without_single_weights():
    layers = convolutions(network())
    assert list(layers) == ["0", "2.0", "2.1"]
    assert [describe(layer) for layer in layers.values()] == [
        "4 filters 5x5 of 3 channels",
        "6 filters 1x1 of 4 channels",
        "6 filters 3x3 of 1 channels",
    ]
    sheet, names = draw_layers(layers)
    assert names == ["0", "2.1"] and sheet.dtype == np.uint8 and sheet.shape[2] == 3


def test_weights_are_a_copy_of_the_layers():
    layer = nn.Conv2d(3, 2, 3).to(torch.bfloat16)
    assert np.array_equal(weights_of(layer), layer.weight.detach().float().numpy())


def test_networks_without_pictures_are_refused():
    with pytest.raises(DataError, match="with convolutions, found none"):
        convolutions(nn.Linear(2, 2))
    with pytest.raises(DataError, match="found 1x1 only"):
        draw_layers({"a": nn.Conv2d(3, 4, 1)})


def test_a_gabor_function_and_its_fit_look_the_same():
    true = np.array([[1.0, 0.08, 0.05, 0.6, 1.1, 0.4, 0.5, -0.5], [0.1, 0.1, 0.1, 2.0, 0.9, 1.0, 0, 0]])
    planes = gabor_functions(true, (9, 9))
    fits = fit_gabors(planes)
    sheet = draw_gabors(planes, fits).astype(int)
    drawn = draw_filters(np.stack([planes[0], planes[0]])[:, None], tile=96, columns=2).astype(int)
    height, width = drawn.shape[:2]
    places = [
        (top, left)
        for top in range(8)
        for left in range(40)
        if np.abs(sheet[top : top + height, left : left + width] - drawn).max() <= 2
    ]
    assert places  # the pair is on the sheet, filter and fit alike
    header, rows = gabor_table(fits, np.array([1.0, 0.5]))
    assert header[:2] == ["filter", "amplitude"] and header[-2:] == ["explained", "in_plane"]
    assert [row[0] for row in rows] == [0, 1] and rows[1][-1] == 0.5
    assert rows[1][1] == pytest.approx(0.1, rel=1e-3)
