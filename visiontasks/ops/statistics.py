"""Means of numbers of which some are undefined, and intervals of resampled ones."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES: Final = 1000  # of a bootstrap
INTERVAL: Final = (2.5, 97.5)  # percentiles of the resampled values: 95%


def mean_present(values: Floats) -> Floats:
    """Mean over the last axis without nan; nan where nothing is left. (..., K) -> (...)."""
    present = ~np.isnan(values)
    count = present.sum(axis=-1)
    total = np.where(present, values, 0.0).sum(axis=-1)
    means: Floats = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return means


def interval(values: Floats) -> tuple[float, float]:
    """95% interval of resampled values (R,): percentiles 2.5 and 97.5; nans are left out."""
    values = values[~np.isnan(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.percentile(values, INTERVAL)
    return float(low), float(high)


def or_none(value: float) -> float | None:
    """JSON has no nan: None stands for what is undefined."""
    return None if math.isnan(value) else value
