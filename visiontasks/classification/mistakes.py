"""What a classifier gets wrong: the pictures whose true class it believes in least."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from visiontasks.classes import ClassMap
from visiontasks.classification.metrics.scores import SMALLEST_PROBABILITY
from visiontasks.classification.types import Classification
from visiontasks.types import ImageInfo, Mistake, Window


class ClassificationMistakes:
    """Keeps the n worst of the pictures that passed by: of each wrong top-1, -ln of the truth's probability.

    Each costs top-1 the same; the loss says how far from right it is.
    """

    unit = "loss"
    meaning = "pictures whose best class is wrong, by -ln of the probability that the true class is given"

    def __init__(self, classes: ClassMap, n: int) -> None:
        self.n = n
        self._count = 0
        self._heap: list[
            tuple[float, float, int, Mistake]
        ] = []  # the least costly on top; of equals the last

    def update(
        self, predictions: Sequence[Classification], truths: Sequence[int], infos: Sequence[ImageInfo]
    ) -> None:
        """Take in a batch; entry i of each argument belongs to one picture."""
        for prediction, truth, info in zip(predictions, truths, infos, strict=True):
            self._count += 1
            best = prediction.best
            if best == truth:
                continue
            cost = -math.log(max(float(prediction.probabilities[truth]), SMALLEST_PROBABILITY))
            found = Mistake(info.image_id, "wrong class", cost, best, int(truth), prediction.score)
            entry = (cost, prediction.score, -self._count, found)
            if len(self._heap) < self.n:
                heapq.heappush(self._heap, entry)
            else:
                heapq.heappushpop(self._heap, entry)

    def worst(self) -> list[Mistake]:
        """Largest loss first; of equal ones the surer error."""
        return [entry[-1] for entry in sorted(self._heap, reverse=True)]


def cut(labels: int | Classification, window: Window) -> int | Classification:
    """What a picture shows is said of all of it."""
    return labels
