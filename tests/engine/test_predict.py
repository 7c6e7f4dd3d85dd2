"""Tiles cover a picture, a batch holds few large pictures, and their predictions come in order."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from visiontasks import api
from visiontasks.engine import predict as predict_module
from visiontasks.engine.predict import Tiling, tile_windows
from visiontasks.errors import UsageError


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 64), (100, 333), (64, 1000), (30, 200)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
def test_tiles_cover_the_picture_and_overlap(size, overlap):
    height, width = size
    windows = tile_windows(height, width, Tiling(64, overlap))
    covered = np.zeros(size, dtype=int)
    for left, top, right, bottom in windows:
        assert (bottom - top, right - left) == (min(64, height), min(64, width))
        covered[top:bottom, left:right] += 1
    assert covered.min() >= 1
    assert windows == sorted(windows, key=lambda w: (w[1], w[0]))  # reading order
    for side in (0, 1):
        starts = sorted({window[side] for window in windows})
        assert all(after - before <= 64 * (1 - overlap) + 1 for before, after in pairwise(starts))


@pytest.fixture(scope="module")
def model(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "run"
    settings = {"train.epochs": 1, "model.options": {"stem": 4, "widths": [4]}, "input.size": [32, 32]}
    return api.load(api.train(shapes / "classification.yaml", settings, out=out))


def pictures(sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def test_few_large_pictures_wait_at_a_time_and_all_come_in_order(model, monkeypatch):
    images = pictures([(40, 40), (80, 80), (20, 30), (90, 90), (10, 10), (60, 60)])
    plain = [predicted.prediction.probabilities for predicted in model.stream(images, batch_size=4)]
    batches = []
    predict_batch = predict_module._predict_batch
    monkeypatch.setattr(predict_module, "PIXELS", 2 * 90 * 90 * 2)
    monkeypatch.setattr(
        predict_module,
        "_predict_batch",
        lambda t, n, e, s: batches.append(len(e)) or predict_batch(t, n, e, s),
    )
    bounded = [predicted.prediction.probabilities for predicted in model.stream(images, batch_size=4)]
    assert max(batches[1:]) <= 2
    for ours, theirs in zip(bounded, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02)  # bf16, in other batches


def test_a_task_without_tiles_says_so(model):
    with pytest.raises(UsageError, match="expected whole pictures to classify"):
        next(model.stream(pictures([(8, 8)]), tile=64))


def test_tiles_go_to_the_stitcher_in_reading_order_with_the_way_back(model):
    seen = []

    class Collects:
        def __init__(self, size):
            self.size = size

        def add(self, raw, infos, windows):
            assert len(raw) == len(infos) == len(windows) <= 2
            seen.extend(
                (info.height, info.width, *window) for info, window in zip(infos, windows, strict=True)
            )

        def result(self):
            return self.size

    task = replace(model.task, stitcher=lambda network, size, options: Collects(size))
    tiled = replace(model, opened=replace(model.opened, task=task))
    (predicted,) = tiled.stream(pictures([(50, 90)]), batch_size=2, tile=40, overlap=0.0)
    assert predicted.prediction == (50, 90)
    assert seen == [(40, 40, left, top, left + 40, top + 40) for top in (0, 10) for left in (0, 25, 50)]
