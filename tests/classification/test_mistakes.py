"""The worst errors of a classifier: against sorting all of them."""

import numpy as np
import pytest

from visiontasks.classes import ClassMap
from visiontasks.classification.metrics.scores import SMALLEST_PROBABILITY
from visiontasks.classification.mistakes import ClassificationMistakes, cut
from visiontasks.classification.types import Classification
from visiontasks.types import ImageInfo

CLASSES = ClassMap(("cat", "dog", "rocket"))


def info(number):
    return ImageInfo(number, 8, 8, 8, 8)


def gathered(n, probabilities, truths, step=7):
    mistakes = ClassificationMistakes(CLASSES, n)
    for start in range(0, len(truths), step):
        part = range(start, min(start + step, len(truths)))
        mistakes.update(
            [Classification(probabilities[i].astype(np.float32)) for i in part],
            [truths[i] for i in part],
            [info(i) for i in part],
        )
    return mistakes.worst()


@pytest.mark.parametrize("n", [1, 5, 200])
def test_the_worst_are_those_of_a_full_sort(n):
    rng = np.random.default_rng(n)
    probabilities, truths = rng.dirichlet(np.ones(3), 60), rng.integers(0, 3, 60).tolist()
    loss = {i: -np.log(probabilities[i][truths[i]]) for i in range(60)}
    wrong = [i for i in range(60) if probabilities[i].argmax() != truths[i]]
    expected = sorted(wrong, key=lambda i: -loss[i])[:n]
    found = gathered(n, probabilities, truths)
    assert [one.image_id for one in found] == expected
    for one in found:
        assert one.cost == pytest.approx(loss[one.image_id], rel=1e-5)
        assert one.predicted == probabilities[one.image_id].argmax() and one.truth == truths[one.image_id]
        assert one.score == pytest.approx(probabilities[one.image_id].max())
        assert one.box is None and one.place is None


def test_of_equal_losses_the_surer_then_the_first():
    sure, unsure = np.array([1.0, 0, 0]), np.array([0.6, 0.4, 0])
    found = gathered(3, np.array([unsure, sure, unsure, sure]), [2, 2, 2, 2])
    assert [one.image_id for one in found] == [1, 3, 0]
    assert found[0].cost == pytest.approx(-np.log(SMALLEST_PROBABILITY))


def test_no_errors_and_a_part_of_a_picture():
    assert gathered(3, np.eye(3), [0, 1, 2]) == []
    assert cut(2, (0, 0, 1, 1)) == 2
