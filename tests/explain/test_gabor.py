"""Gabor functions: the lecture's equation, and fits that find what was put in."""

import numpy as np
import pytest

from visiontasks.errors import DataError
from visiontasks.explain.gabor import (
    PLANES,
    _evaluate,
    _grid,
    explained_of_noise,
    fit_gabors,
    gabor_functions,
    planes_of,
)

SIDE = (11, 11)


def lecture(amplitude, alpha, beta, theta, omega, phi, x0, y0, x, y):
    """The slide's three equations, word for word."""
    u = (x - x0) * np.cos(theta) + (y - y0) * np.sin(theta)
    v = -(x - x0) * np.sin(theta) + (y - y0) * np.cos(theta)
    return amplitude * np.exp(-alpha * u**2 - beta * v**2) * np.sin(omega * u + phi)


def random_parameters(count, seed=0):
    rng = np.random.default_rng(seed)
    ranges = [(0.2, 3), (0.03, 0.2), (0.03, 0.2), (0, np.pi), (0.6, 2.2), (0, 2 * np.pi), (-2, 2), (-2, 2)]
    return np.stack([rng.uniform(*limits, count) for limits in ranges], axis=1)


def test_the_function_is_the_lectures():
    parameters = random_parameters(5)
    found = gabor_functions(parameters, (7, 9))
    for one, values in zip(parameters, found, strict=True):
        for row in range(7):
            for column in range(9):
                assert values[row, column] == pytest.approx(lecture(*one, column - 4, row - 3), abs=1e-12)


def test_derivatives_equal_finite_differences():
    parameters, step = random_parameters(4, seed=1), 1e-6
    _, derivatives = _evaluate(parameters, *_grid(SIDE))
    for k in range(8):
        ahead, behind = parameters.copy(), parameters.copy()
        ahead[:, k] += step
        behind[:, k] -= step
        numeric = (_evaluate(ahead, *_grid(SIDE))[0] - _evaluate(behind, *_grid(SIDE))[0]) / (2 * step)
        np.testing.assert_allclose(derivatives[:, :, k], numeric, atol=1e-7)


def test_parameters_are_recovered():
    """From filters of any scale; the functions too, whose parameters have equivalents (signs, half turns)."""
    true = random_parameters(40, seed=2)
    scale = np.logspace(-4, 2, 40)
    filters = gabor_functions(true, SIDE) * scale[:, None, None]
    fits = fit_gabors(filters)
    assert (fits.explained > 0.99).all()
    exact = fits.explained > 1 - 1e-8
    assert exact.mean() >= 0.9
    turned = np.abs(np.angle(np.exp(2j * (fits.theta - true[:, 3])))) / 2
    for name, found, expected in (
        ("theta", turned, np.zeros(40)),
        ("omega", fits.omega, true[:, 4]),
        ("alpha", fits.alpha, true[:, 1]),
        ("beta", fits.beta, true[:, 2]),
        ("amplitude", fits.amplitude / scale, true[:, 0]),
    ):
        np.testing.assert_allclose(found[exact], expected[exact], atol=1e-3, rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(gabor_functions(fits.parameters(), SIDE)[exact], filters[exact], atol=1e-3)


def test_equal_scipy_least_squares_or_better():
    """Filters that are no Gabor functions: from its own best start scipy finds no better fit."""
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(3)
    noisy = gabor_functions(random_parameters(4, seed=3), (7, 7)) + 0.2 * rng.standard_normal((4, 7, 7))
    fits, (x, y) = fit_gabors(noisy), _grid((7, 7))
    low = [-np.inf, 0, 0, -np.inf, 0, -np.inf, -3, -3]
    high = [np.inf, 3.125, 3.125, np.inf, np.pi, np.inf, 3, 3]
    for i, plane in enumerate(noisy):
        variance = ((plane - plane.mean()) ** 2).sum()
        found = optimize.least_squares(
            lambda p, plane=plane: lecture(*p, x, y) - plane.ravel(),
            np.clip(fits.parameters()[i], low, high),
            bounds=(low, high),
        )
        assert 1 - 2 * found.cost / variance == pytest.approx(fits.explained[i], abs=1e-4)


def test_noise_is_explained_little_and_a_constant_not_at_all():
    assert explained_of_noise(SIDE, 16, seed=0) < 0.25
    assert np.isnan(fit_gabors(np.zeros((1, 5, 5))).explained[0])


def test_canonical_ranges():
    fits = fit_gabors(gabor_functions(random_parameters(12, seed=4), SIDE))
    assert (fits.amplitude >= 0).all() and (fits.omega >= 0).all() and (fits.omega <= np.pi).all()
    assert (fits.theta >= 0).all() and (fits.theta < np.pi).all()
    assert (fits.phi >= 0).all() and (fits.phi < 2 * np.pi).all()
    assert [row["filter"] for row in fits.rows()] == list(range(12))


def test_too_small_filters_are_refused():
    with pytest.raises(DataError, match=r"at least 4x4 weights, found 3x3.*alexnet"):
        fit_gabors(np.ones((2, 3, 3)))


@pytest.mark.parametrize("plane", PLANES)
def test_planes_hold_the_energy_of_their_colour(plane):
    """A filter of one colour direction times one pattern lies wholly in the plane of that direction."""
    direction = {"mean": [1, 1, 1], "luminance": [0.299, 0.587, 0.114], "principal": [1, -1, 0.5]}[plane]
    direction = np.array(direction) / np.linalg.norm(direction)
    pattern = np.random.default_rng(0).standard_normal((5, 6))
    weights = direction[None, :, None, None] * pattern[None, None]
    planes, energy = planes_of(weights, plane)
    np.testing.assert_allclose(planes[0], pattern, atol=1e-12)
    assert energy == pytest.approx(1)
    across = np.array([1, 0, -1])[None, :, None, None] * pattern
    assert planes_of(across, "mean")[1] == pytest.approx(0, abs=1e-12)


def test_luminance_of_other_channels():
    with pytest.raises(DataError, match="found 4 channels"):
        planes_of(np.ones((1, 4, 5, 5)), "luminance")
