"""Things that pairs hold together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def join_pairs(n: int, pairs: Ints) -> Ints:
    """(n,) group numbers from 0, in the order of first places, of things that pairs (M, 2) hold together."""
    group = np.arange(n)
    while True:
        lowest = np.minimum(group[pairs[:, 0]], group[pairs[:, 1]])  # (M,)
        joined = group.copy()
        np.minimum.at(joined, pairs.ravel(), np.repeat(lowest, 2))
        joined = joined[joined]
        if np.array_equal(joined, group):
            return np.unique(group, return_inverse=True)[1].ravel()
        group = joined
