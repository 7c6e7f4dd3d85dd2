"""What classification predicts. Its ground truth is a class index (an `int`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """One picture's prediction.

    probabilities: (K,) float32, one a class, in [0, 1], summing to 1. Of equal ones the lower index
        ranks first.
    """

    probabilities: NDArray[np.float32]

    @property
    def best(self) -> int:
        """Index of the most probable class."""
        return int(np.argmax(self.probabilities))

    @property
    def score(self) -> float:
        """Probability of the most probable class."""
        return float(self.probabilities[self.best])

    def as_truth(self) -> int:
        """The most probable class, as if it were the true one."""
        return self.best

    def top(self, k: int) -> list[tuple[int, float]]:
        """The k most probable classes (all, where there are fewer) as (index, probability), best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(int(index), float(self.probabilities[index])) for index in order]
