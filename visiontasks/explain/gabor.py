"""Gabor functions fitted to filters: how much of a first layer is what simple cells of the cortex do.

G(x, y) = A exp(-alpha u^2 - beta v^2) sin(omega u + phi), with
u = (x - x0) cos theta + (y - y0) sin theta and v = -(x - x0) sin theta + (y - y0) cos theta.

Source: 002_c9420f5f504d7522 (visual cortex).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.errors import DataError

Array = NDArray[np.float64]

SMALLEST_KERNEL: Final = 4  # pixels a side: 3x3 weights are hardly more than the eight parameters
ORIENTATIONS: Final = 12  # starts a filter, one an orientation
CYCLES: Final = (0.15, 0.5, 1.0, 1.5, 2.0, 3.0)  # of a start, over the kernel's side
WIDTHS: Final = (0.12, 0.25, 0.5)  # of a start's envelope (standard deviation), shares of the side
CENTRES: Final = (-0.25, 0.0, 0.25)  # of a start, shares of the side
NARROWEST: Final = 0.4  # standard deviation of an envelope, pixels; below it a single weight would do
ITERATIONS: Final = 100
CONVERGED: Final = 1e-7  # share of the error below which another step is not worth it
PERFECT: Final = 1e-18  # squared error of a filter of unit mean square that is nothing but rounding
DAMPING: Final = 1e-2  # of the first step
DAMPED_LEAST: Final = 1e-8  # keeps the normal equations solvable where a direction changes nothing
DAMPED_MOST: Final = 1e12  # at such damping no step helps any more


@dataclass(frozen=True, slots=True, eq=False)
class Gabors:
    """The best Gabor function of each of N filters: (N,) float64 arrays, lengths in pixels of the kernel.

    amplitude: A >= 0. alpha, beta: decay along and across the wave, 1 / pixel^2. theta: orientation of the
    wave in [0, pi), from the x axis (right) towards the y axis (down). omega: radians a pixel, in [0, pi].
    phi: radians in [0, 2 pi). x0, y0: centre, from the middle of the kernel, inside it.
    explained: share of the filter's variance (about its mean), R^2; nan for a constant filter.
    """

    amplitude: Array
    alpha: Array
    beta: Array
    theta: Array
    omega: Array
    phi: Array
    x0: Array
    y0: Array
    explained: Array

    def rows(self) -> list[dict[str, float]]:
        """One JSON-ready row a filter."""
        columns = {field.name: getattr(self, field.name).tolist() for field in fields(self)}
        return [
            {"filter": i, **dict(zip(columns, row, strict=True))}
            for i, row in enumerate(zip(*columns.values(), strict=True))
        ]

    def parameters(self) -> Array:
        """(N, 8), as `gabor_functions` takes them."""
        return np.stack([getattr(self, field.name) for field in fields(self)[:8]], axis=1)


def gabor_functions(parameters: Array, side: tuple[int, int]) -> Array:
    """(N, 8) amplitude, alpha, beta, theta, omega, phi, x0, y0 -> (N, height, width) values at the pixels."""
    values, _ = _evaluate(parameters, *_grid(side))
    return values.reshape(-1, *side)


def planes_of(weights: Array, plane: str) -> tuple[Array, Array]:
    """One plane of each filter, and the share of the filter's energy that lies in it.

    Args:
        weights: (N, C, M_h, M_w), C = 3 (RGB) for `luminance`.
        plane: mean (over channels), luminance (Rec. 601), or principal: the direction in colour space, of
            each filter its own, that holds the most energy.

    Returns:
        (N, M_h, M_w) and (N,) in [0, 1]; nan where a filter is 0.
    """
    count = len(weights)
    directions = PLANES[plane](weights)  # (N, C), of length 1
    planes = np.einsum("nc,ncyx->nyx", directions, weights)
    energy = (weights**2).reshape(count, -1).sum(1)  # (N,)
    with np.errstate(invalid="ignore", divide="ignore"):
        return planes, (planes**2).reshape(count, -1).sum(1) / energy


def _mean_direction(weights: Array) -> Array:
    return np.full(weights.shape[:2], 1 / math.sqrt(weights.shape[1]))


def _luminance_direction(weights: Array) -> Array:
    if weights.shape[1] != 3:
        raise DataError(
            f"expected filters of three colours for their luminance, found {weights.shape[1]} channels; "
            "take the plane 'mean' or 'principal'"
        )
    direction = np.array([0.299, 0.587, 0.114])
    return np.tile(direction / np.linalg.norm(direction), (len(weights), 1))


def _principal_direction(weights: Array) -> Array:
    """The first left singular vector of (C, M_h M_w); of its two signs the one that adds up to more."""
    vectors: Array = np.linalg.svd(weights.reshape(*weights.shape[:2], -1))[0][:, :, 0]  # (N, C)
    return vectors * np.where(vectors.sum(1, keepdims=True) < 0, -1, 1)


PLANES: Final[dict[str, Callable[[Array], Array]]] = {
    "luminance": _luminance_direction,
    "mean": _mean_direction,
    "principal": _principal_direction,
}


def fit_gabors(planes: Array) -> Gabors:
    """The Gabor function nearest to each filter by least squares.

    For each of several orientations the best of a grid of starts is taken, then all eight parameters are
    refined within their bounds, all filters and starts at once.

    Args:
        planes: (N, M_h, M_w), at least 4 pixels a side.

    Raises:
        DataError: the filters are too small.

    Source: Levenberg-Marquardt as in Nocedal & Wright 2006, section 10.3; steps are projected on the bounds.
    """
    count, *side = planes.shape
    if min(side) < SMALLEST_KERNEL:
        raise DataError(
            f"expected filters of at least {SMALLEST_KERNEL}x{SMALLEST_KERNEL} weights, found "
            f"{side[0]}x{side[1]}: the eight parameters of a Gabor function fit nearly anything that small; "
            "take a network with larger filters in its first layer (alexnet, resnet18)"
        )
    x, y = _grid((side[0], side[1]))
    flat = planes.reshape(count, -1)  # (N, P)
    scale = np.sqrt((flat**2).mean(1, keepdims=True))
    unit = flat / np.where(scale > 0, scale, 1)  # so that one damping fits all
    starts = _starts(unit, x, y)  # (N, S, 8)
    low, high = _bounds(x, y)
    targets = np.repeat(unit, starts.shape[1], axis=0)
    found, errors = _refine(starts.reshape(-1, 8), targets, x, y, low, high)  # (N * S, 8), (N * S,)
    best = errors.reshape(count, -1).argmin(1)  # (N,)
    chosen = found.reshape(count, -1, 8)[np.arange(count), best]  # (N, 8)
    error = errors.reshape(count, -1)[np.arange(count), best]  # (N,)
    variance = ((unit - unit.mean(1, keepdims=True)) ** 2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = np.where(variance > 0, 1 - error / variance, np.nan)
    chosen[:, 0] *= scale[:, 0]
    return Gabors(*[*_canonical(chosen).T, explained])


def explained_of_noise(side: tuple[int, int], count: int, seed: int) -> float:
    """Mean share of variance that a Gabor function explains of white noise: as much is no evidence."""
    noise = np.random.default_rng(seed).standard_normal((count, *side))
    return float(fit_gabors(noise).explained.mean())


def _grid(side: tuple[int, int]) -> tuple[Array, Array]:
    """The x and y of each weight from the middle of the kernel, (P,) each, row by row."""
    y, x = np.meshgrid(*(np.arange(length) - (length - 1) / 2 for length in side), indexing="ij")
    return x.ravel(), y.ravel()


def _bounds(x: Array, y: Array) -> tuple[Array, Array]:
    """Of amplitude, alpha, beta, theta, omega, phi, x0, y0: (8,) each; angles are free."""
    narrow, free = 0.5 / NARROWEST**2, math.inf
    low = [-free, 0, 0, -free, 0, -free, np.min(x), np.min(y)]
    high = [free, narrow, narrow, free, math.pi, free, np.max(x), np.max(y)]
    return np.array(low), np.array(high)


def _starts(targets: Array, x: Array, y: Array) -> Array:
    """(N, S, 8): for each orientation the point of the grid whose sine and cosine together explain most.

    A sin(omega u + phi) is linear in the weights of sine and cosine: amplitude and phase need no grid.
    """
    side = np.max(x) - np.min(x) + 1
    theta, omega, sigma, x0, y0 = (
        values.ravel()
        for values in np.meshgrid(
            np.arange(ORIENTATIONS) * math.pi / ORIENTATIONS,
            np.minimum(2 * math.pi * np.array(CYCLES) / side, 0.95 * math.pi),
            side * np.array(WIDTHS),
            side * np.array(CENTRES),
            side * np.array(CENTRES),
            indexing="ij",
        )
    )  # (G,) each
    decay = 0.5 / np.maximum(sigma, NARROWEST) ** 2
    waves = [
        _evaluate(np.stack([np.ones_like(theta), decay, decay, theta, omega, shift, x0, y0], 1), x, y)[0]
        for shift in (np.zeros_like(theta), np.full_like(theta, math.pi / 2))
    ]
    basis, mix = np.linalg.qr(np.stack(waves, axis=2))  # (G, P, 2), (G, 2, 2)
    weights = np.einsum("gpk,np->ngk", basis, targets)
    count, group = len(targets), len(theta) // ORIENTATIONS
    best = (weights**2).sum(2).reshape(count, ORIENTATIONS, group).argmax(2)  # (N, S)
    chosen = best + group * np.arange(ORIENTATIONS)  # (N, S)
    of_waves = np.take_along_axis(weights, chosen[:, :, None], axis=1)  # (N, S, 2)
    sine, cosine = np.moveaxis(np.linalg.solve(mix[chosen], of_waves[..., None])[..., 0], 2, 0)  # (N, S) each
    columns = [np.hypot(sine, cosine), decay[chosen], decay[chosen], theta[chosen], omega[chosen]]
    return np.stack([*columns, np.arctan2(cosine, sine), x0[chosen], y0[chosen]], axis=2)


def _evaluate(parameters: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Values (N, P) and their derivatives (N, P, 8) by the parameters."""
    amplitude, alpha, beta, theta, omega, phi, x0, y0 = (column[:, None] for column in parameters.T)
    cos, sin = np.cos(theta), np.sin(theta)
    u = (x - x0) * cos + (y - y0) * sin
    v = -(x - x0) * sin + (y - y0) * cos
    envelope = np.exp(-alpha * u**2 - beta * v**2)
    wave, slope = envelope * np.sin(omega * u + phi), amplitude * envelope * np.cos(omega * u + phi)
    values = amplitude * wave
    by_u, by_v = omega * slope - 2 * alpha * u * values, -2 * beta * v * values
    derivatives = [
        wave,
        -(u**2) * values,
        -(v**2) * values,
        by_u * v - by_v * u,
        u * slope,
        slope,
        -by_u * cos + by_v * sin,
        -by_u * sin - by_v * cos,
    ]
    return values, np.stack(derivatives, axis=2)


def _refine(
    parameters: Array, targets: Array, x: Array, y: Array, low: Array, high: Array
) -> tuple[Array, Array]:
    """Levenberg-Marquardt from each start: parameters (S, 8) within their bounds, squared errors (S,)."""
    parameters = np.clip(parameters, low, high)
    damping = np.full(len(parameters), DAMPING)
    values, derivatives = _evaluate(parameters, x, y)
    errors = ((targets - values) ** 2).sum(1)
    active = np.arange(len(parameters))
    for _ in range(ITERATIONS):
        now = parameters[active]
        values, derivatives = _evaluate(now, x, y)
        residuals = targets[active] - values
        downhill = np.einsum("npk,np->nk", derivatives, residuals)
        stuck = ((now <= low) & (downhill < 0)) | ((now >= high) & (downhill > 0))
        derivatives = np.where(stuck[:, None, :], 0, derivatives)  # (n, P, 8)
        normal = np.einsum("npj,npk->njk", derivatives, derivatives)
        diagonal = np.maximum(np.einsum("njj->nj", normal), 1e-6)
        damped = normal + np.einsum("n,nj,jk->njk", damping[active], diagonal, np.eye(8))
        step = np.linalg.solve(damped, np.where(stuck, 0, downhill)[..., None])[..., 0]  # (n, 8)
        tried = np.clip(now + step, low, high)
        error = ((targets[active] - _evaluate(tried, x, y)[0]) ** 2).sum(1)
        better = error < errors[active]
        gained = np.where(better, 1 - error / np.maximum(errors[active], 1e-300), 1.0)
        damping[active] = np.maximum(damping[active] * np.where(better, 0.3, 4.0), DAMPED_LEAST)
        parameters[active[better]], errors[active[better]] = tried[better], error[better]
        goes_on = (gained > CONVERGED) & (damping[active] < DAMPED_MOST) & (errors[active] > PERFECT)
        active = active[goes_on]
        if not len(active):
            break
    return parameters, errors


def _canonical(parameters: Array) -> Array:
    """The same functions with amplitude >= 0, theta in [0, pi), phi in [0, 2 pi)."""
    amplitude, alpha, beta, theta, omega, phi, x0, y0 = parameters.T.copy()
    phi = np.where(amplitude < 0, phi + math.pi, phi)
    turns = np.floor(theta / math.pi)
    phi = np.where(turns % 2 == 1, math.pi - phi, phi)  # half a turn: u -> -u, v -> -v
    columns: list[Any] = [np.abs(amplitude), alpha, beta, theta - turns * math.pi, omega]
    return np.stack([*columns, phi % (2 * math.pi), x0, y0], axis=1)
