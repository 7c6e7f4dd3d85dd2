"""Means of numbers of which some are undefined."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def mean_present(values: Floats) -> Floats:
    """Mean over the last axis without nan; nan where nothing is left. (..., K) -> (...)."""
    present = ~np.isnan(values)
    count = present.sum(axis=-1)
    total = np.where(present, values, 0.0).sum(axis=-1)
    means: Floats = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return means
