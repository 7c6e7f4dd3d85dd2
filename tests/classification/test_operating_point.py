"""The temperature, against scipy's minimisers; how far it may go; what is too little to choose by."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from visiontasks.classification.metrics import scores
from visiontasks.classification.operating_point import (
    LEAST_PICTURES,
    TEMPERATURES,
    choose_operating_point,
    likeliest_temperature,
)
from visiontasks.classification.types import Classification


def _drawn(seed, *, sharpness, size=(3000, 7)):
    """Logits, and truths drawn from softmax(logits / sharpness): the likeliest temperature is near it."""
    rng = np.random.default_rng(seed)
    logits = 4 * rng.standard_normal(size)
    truths = (softmax(logits / sharpness, axis=1).cumsum(axis=1) < rng.random((size[0], 1))).sum(axis=1)
    return logits, truths


def _loss(temperature, logits, truths):
    return -log_softmax(logits / temperature, axis=1)[np.arange(len(truths)), truths].mean()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 2.5, 8.0])
def test_the_temperature_is_the_one_that_scipy_finds(seed, sharpness):
    logits, truths = _drawn(seed, sharpness=sharpness)
    found = likeliest_temperature(softmax(logits, axis=1).astype(np.float32), truths)
    expected = minimize_scalar(
        _loss, bounds=TEMPERATURES, args=(logits, truths), method="bounded", options={"xatol": 1e-10}
    ).x
    assert found == pytest.approx(expected, rel=1e-4)  # probabilities are float32
    assert found == pytest.approx(sharpness, rel=0.15)


def test_more_pictures_than_are_looked_at_together(monkeypatch):
    logits, truths = _drawn(0, sharpness=2.0)
    probabilities = softmax(logits, axis=1).astype(np.float32)
    whole = likeliest_temperature(probabilities, truths)
    monkeypatch.setattr("visiontasks.classification.operating_point.CHUNK", 700)
    assert likeliest_temperature(probabilities, truths) == pytest.approx(whole, rel=1e-9)


def test_it_stays_within_its_bounds():
    probabilities = np.tile(np.float32([[0.6, 0.3, 0.1]]), (200, 1))
    assert likeliest_temperature(probabilities, np.zeros(200, np.int64)) == TEMPERATURES[0]  # all right
    assert likeliest_temperature(probabilities, np.full(200, 2)) == TEMPERATURES[1]  # all wrong
    zeros = np.tile(np.float32([[1, 0, 0]]), (200, 1))
    assert likeliest_temperature(zeros, np.full(200, 2)) == TEMPERATURES[1]
    equal = np.full((200, 3), 1 / 3, np.float32)
    assert TEMPERATURES[0] <= likeliest_temperature(equal, np.zeros(200, np.int64)) <= TEMPERATURES[1]


def test_the_line_says_what_it_does_to_the_calibration():
    logits, truths = _drawn(1, sharpness=2.5)
    probabilities = softmax(logits, axis=1).astype(np.float32)
    chosen = choose_operating_point([Classification(row) for row in probabilities], truths.tolist())
    temperature = chosen.options["temperature"]
    before, after = (
        scores.expected_calibration_error(softmax(logits / t, axis=1).max(axis=1), logits.argmax(1) == truths)
        for t in (1, temperature)
    )
    assert after < 0.3 * before
    assert str(chosen) == f"temperature {temperature:.3g} (ECE {before:.3f} -> {after:.3f})"


def test_few_pictures_choose_nothing():
    rows = [Classification(np.float32([0.6, 0.4]))] * LEAST_PICTURES
    assert choose_operating_point(rows[1:], [0] * (LEAST_PICTURES - 1)) is None
    assert choose_operating_point([], []) is None
    assert choose_operating_point(rows, [0, 1] * (LEAST_PICTURES // 2)) is not None
