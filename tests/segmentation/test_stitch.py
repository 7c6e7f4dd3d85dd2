"""Tiles joined: as if the picture had been looked at as a whole, with the memory of a band."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visiontasks.classes import ClassMap
from visiontasks.engine.predict import Tiling, tile_windows
from visiontasks.segmentation import TASK, stitch
from visiontasks.segmentation.stitch import Blend, tile_weight

CLASSES = ClassMap(tuple("abcde"))


class Scores:
    """What the stitcher wants of a network; here raw outputs are scores already."""

    def scores(self, raw, infos):
        return raw


@pytest.fixture(scope="module")
def network():
    """Three convolutions: each output sees 7 x 7 pixels, and zeros beyond the border."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(8, 8, 3, padding=1)]
    return torch.nn.Sequential(*layers, torch.nn.Tanh(), torch.nn.Conv2d(8, 5, 3, padding=1)).eval()


def blended(scores_of, size, tiling, num_classes=5):
    """The whole picture's scores, put together from those of its tiles."""
    joined = torch.full((num_classes, *size), torch.nan)

    def keep(top, rows):
        joined[:, top : top + rows.shape[1]] = rows

    blend = Blend(size, keep)
    for window in tile_windows(*size, tiling):
        blend.add(scores_of(window), window)
    blend.close()
    return joined


CASES = {
    "several rows and columns": ((150, 210), Tiling(64, 0.25)),
    "much overlap": ((97, 131), Tiling(48, 0.6)),
    "odd sizes": ((101, 67), Tiling(33, 0.5)),
    "lower than a tile": ((40, 200), Tiling(64, 0.25)),
    "one tile": ((64, 64), Tiling(64, 0.25)),
    "smaller than a tile": ((20, 30), Tiling(64, 0.25)),
}


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_tiled_equals_whole_where_the_receptive_field_is_small(network, case):
    size, tiling = CASES[case]
    image = torch.randn(1, 3, *size)
    whole = network(image)[0]
    joined = blended(
        lambda window: network(image[:, :, window[1] : window[3], window[0] : window[2]])[0], size, tiling
    )
    assert (joined - whole).abs().max() < 1e-4
    assert whole.abs().max() > 0.3


@given(st.integers(1, 70), st.integers(1, 70), st.integers(8, 40), st.floats(0, 0.9))
def test_equal_tiles_make_the_same_whole_at_any_size(height, width, side, overlap):
    whole = torch.arange(2.0 * height * width).reshape(2, height, width)
    joined = blended(
        lambda window: whole[:, window[1] : window[3], window[0] : window[2]],
        (height, width),
        Tiling(side, overlap),
        2,
    )
    assert torch.allclose(joined, whole, rtol=1e-5)


def test_tiles_fade_into_each_other():
    """Two tiles that disagree: from one to the other without a step, each at its own border without a say."""
    size, overlap = (32, 96), 32
    windows = [(0, 0, 64, 32), (32, 0, 96, 32)]
    joined = []
    blend = Blend(size, lambda top, rows: joined.append(rows.clone()))
    for value, window in zip((0.0, 1.0), windows, strict=True):
        blend.add(torch.full((1, 32, 64), value), window)
    blend.close()
    row = torch.cat(joined, dim=1)[0, 10]
    assert (row[:33] < 1e-4).all()
    assert (row[63:] > 1 - 1e-4).all()
    steps = row[1:] - row[:-1]
    assert (steps >= 0).all()
    assert steps.max() < stitch.FADE / overlap
    assert row[48] == pytest.approx(1 - row[47].item(), abs=1e-5)


def test_weights_fade_to_inner_borders_only():
    weight = tile_weight((0, 40, 20, 60), (100, 100))
    assert weight.shape == (20, 20)
    assert (weight[10, :3] == weight[10, 0]).all()  # the picture's own border
    assert weight[10, -1] < weight[10, -2] < weight[10, -5]
    assert weight[0, 5] < 1e-6 < weight[10, 5]
    assert (tile_weight((0, 0, 20, 30), (30, 20)) == 1).all()
    assert tile_weight((1, 1, 8001, 8001), (9000, 9000)).min() > 0


def test_the_mask_is_the_best_class_of_the_blended_scores(network):
    size, tiling = (90, 120), Tiling(40, 0.25)
    image = torch.randn(1, 3, *size)
    stitcher = TASK.stitcher(Scores(), size, {})
    windows = tile_windows(*size, tiling)
    with torch.no_grad():
        for start in range(0, len(windows), 3):  # batches do not end with rows
            part = windows[start : start + 3]
            raw = [network(image[:, :, top:bottom, left:right])[0] for left, top, right, bottom in part]
            stitcher.add(raw, [None] * len(part), part)
        whole = network(image)[0]
    found = stitcher.result().mask
    assert found.dtype == np.uint8
    best = whole.topk(2, dim=0).values
    clear = (best[0] - best[1] > 2e-4).numpy()
    assert clear.mean() > 0.99
    assert np.array_equal(found[clear], whole.argmax(dim=0).numpy()[clear])


def test_only_a_band_is_held():
    size, tiling = (512, 64), Tiling(32, 0.25)
    held = []
    finished = []
    blend = Blend(size, lambda top, rows: finished.append(top + rows.shape[1]))
    for window in tile_windows(*size, tiling):
        blend.add(torch.zeros(3, 32, 32), window)
        held.append(blend.mean.shape[1])
        assert finished == [] or finished[-1] >= window[1] - 32
    assert max(held) == 32
    assert finished[-1] > 512 - 64


def test_many_classes_are_held_in_half_precision(monkeypatch):
    monkeypatch.setattr(stitch, "FULL_PRECISION_BYTES", 1000)
    whole = torch.randn(7, 60, 50)
    joined = blended(
        lambda window: whole[:, window[1] : window[3], window[0] : window[2]], (60, 50), Tiling(32, 0.25), 7
    )
    assert (joined - whole).abs().max() < 5e-3


def test_a_gap_between_tiles_is_a_fault_of_ours():
    blend = Blend((32, 64), lambda top, rows: None)
    blend.add(torch.zeros(2, 32, 32), (0, 0, 32, 32))
    with pytest.raises(AssertionError, match="tiles cover the picture"):
        blend.close()
