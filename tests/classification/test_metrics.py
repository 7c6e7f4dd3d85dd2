import json
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from visiontasks.classes import ClassMap
from visiontasks.classification.metrics import ClassificationEvaluator
from visiontasks.classification.metrics.scores import (
    bootstrap_confusion,
    bootstrap_mean,
    class_scores,
    confusion_matrix,
)
from visiontasks.classification.types import Classification
from visiontasks.errors import DataError
from visiontasks.ops.statistics import interval, mean_present
from visiontasks.types import ImageInfo


def classes_of(k):
    return ClassMap(tuple(f"class {i}" for i in range(k)))


def infos_of(ids):
    return [ImageInfo(image_id, 8, 8, 8, 8) for image_id in ids]


def evaluator_of(probabilities, truths, ids=None):
    evaluator = ClassificationEvaluator(classes_of(np.shape(probabilities)[1]))
    ids = [f"{i:04}.jpg" for i in range(len(truths))] if ids is None else ids
    predictions = [Classification(np.asarray(row, dtype=np.float32)) for row in probabilities]
    evaluator.update(predictions, truths, infos_of(ids))
    return evaluator


def draw_case(seed, n, k):
    """Random probabilities, some confident, and truths that favour a few classes."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) * rng.choice([0.5, 3, 10])
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities, rng.choice(k, n, p=rng.dirichlet(np.full(k, 0.5)))


cases = given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), k=st.integers(2, 12))


def same(ours, theirs, tolerance=1e-12):
    assert ours == pytest.approx(theirs, abs=tolerance, nan_ok=True)


@cases
@settings(max_examples=60, deadline=None)
def test_numbers_equal_those_of_scikit_learn(seed, n, k):
    probabilities, truths = draw_case(seed, n, k)
    evaluator = evaluator_of(probabilities, truths)
    numbers = evaluator.compute()
    predicted = probabilities.argmax(axis=1)
    labels = list(range(k))
    same(numbers["top1"], sk.accuracy_score(truths, predicted))
    if k > 5:
        same(numbers["top5"], sk.top_k_accuracy_score(truths, probabilities, k=5, labels=labels))
    matrix = sk.confusion_matrix(truths, predicted, labels=labels)
    assert evaluator.tables()["confusion"]["counts"] == matrix.tolist()
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        truths, predicted, labels=labels, zero_division=0.0
    )
    present = np.union1d(truths, predicted)
    for i in labels:
        for name, values in (("precision", precision), ("recall", recall), ("F1", f1)):
            same(numbers[f"{name}/class {i}"], values[i] if i in present else math.nan)
    macro = sk.precision_recall_fscore_support(truths, predicted, average="macro", zero_division=0.0)
    for name, value in zip(("precision", "recall", "F1"), macro[:3], strict=True):
        same(numbers[f"macro_{name}"], value)
    exact = probabilities.astype(np.float64)
    clipped = np.clip(exact, np.finfo(np.float32).eps, 1)  # scikit-learn clips by the array's own type
    expected = sk.log_loss(truths, exact / exact.sum(axis=1, keepdims=True), labels=labels)
    direct = -np.log(clipped[np.arange(n), truths]).mean()
    same(numbers["log_loss"], direct)
    if exact[np.arange(n), truths].min() > 1e-6:
        same(numbers["log_loss"], expected, 1e-6)


@cases
@settings(max_examples=60, deadline=None)
def test_calibration_error_equals_the_definition(seed, n, k):
    probabilities, truths = draw_case(seed, n, k)
    gap = 0.0
    for m in range(1, 16):  # Guo et al. 2017, eq. 3, picture by picture
        inside = [i for i in range(n) if (m - 1) / 15 < float(probabilities[i].max()) <= m / 15]
        if inside:
            accuracy = sum(int(probabilities[i].argmax() == truths[i]) for i in inside) / len(inside)
            confidence = sum(float(probabilities[i].max()) for i in inside) / len(inside)
            gap += len(inside) / n * abs(accuracy - confidence)
    evaluator = evaluator_of(probabilities, truths)
    same(evaluator.compute()["ECE"], gap)
    rows = evaluator.tables()["reliability"]
    assert len(rows) == 15
    assert sum(row["count"] for row in rows) == n


def test_calibration_worked_by_hand():
    # two pictures at 0.9, one right: gap 0.4; two at 0.6, both right: gap 0.4
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]]
    assert evaluator_of(probabilities, [0, 1, 0, 0]).compute()["ECE"] == pytest.approx(0.4, abs=1e-7)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 40), shards=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_shards_in_any_order_equal_one_process(seed, n, shards):
    probabilities, truths = draw_case(seed, n, 7)
    ids = [f"picture {i}" for i in range(n)]
    whole = evaluator_of(probabilities, truths, ids)
    order, shuffle = list(range(n)), random.Random(seed)
    shuffle.shuffle(order)
    parts = [evaluator_of(probabilities[[]], [], []) for _ in range(shards)]
    for i in order:
        prediction = Classification(probabilities[i])
        parts[shuffle.randrange(shards)].update([prediction], [truths[i]], infos_of([ids[i]]))
    shuffle.shuffle(parts)
    for part in parts[1:]:
        parts[0].merge(part)
    assert repr(parts[0].compute()) == repr(whole.compute())  # bit for bit; nan equals nan
    assert parts[0].tables() == whole.tables()


def test_a_picture_that_comes_twice_is_refused():
    evaluator = evaluator_of([[0.9, 0.1]], [0], ["a.jpg"])
    with pytest.raises(DataError, match=r"found a\.jpg twice"):
        evaluator.update([Classification(np.float32([0.5, 0.5]))], [0], infos_of(["a.jpg"]))
    with pytest.raises(DataError, match=r"found a\.jpg twice"):
        evaluator.merge(evaluator_of([[0.9, 0.1]], [0], ["a.jpg"]))


def test_evaluators_of_other_classes_do_not_merge():
    with pytest.raises(DataError, match="only in another: class 2"):
        evaluator_of([[0.9, 0.1]], [0], ["a"]).merge(evaluator_of([[0.9, 0.1, 0.0]], [0], ["b"]))


BAD_PROBABILITIES = {
    "nan": ([0.5, math.nan], "expected finite probabilities, found nan or inf for bad.jpg"),
    "inf": ([0.5, math.inf], "expected finite probabilities, found nan or inf for bad.jpg"),
    "logits": ([4.0, -3.0], "found a sum of 1, a least of -3 for bad.jpg; apply softmax"),
    "no distribution": ([0.5, 0.2], "found a sum of 0.7, a least of 0.2 for bad.jpg; apply softmax"),
}


@pytest.mark.parametrize("case", BAD_PROBABILITIES)
def test_what_is_no_probability_is_refused_with_the_picture(case):
    row, message = BAD_PROBABILITIES[case]
    with pytest.raises(DataError, match=message):
        evaluator_of([[0.5, 0.5], row], [0, 0], ["good.jpg", "bad.jpg"])


def test_without_pictures_every_number_is_undefined():
    evaluator = ClassificationEvaluator(classes_of(6))
    numbers = evaluator.compute()
    assert {"top1", "top1@low", "top5@high", "macro_F1", "ECE", "log_loss", "recall/class 5"} <= set(numbers)
    assert all(math.isnan(value) for value in numbers.values())
    assert evaluator.tables()["pictures"] == []


def test_top5_is_undefined_below_five_classes():
    assert math.isnan(evaluator_of(np.full((3, 4), 0.25), [0, 1, 2]).compute()["top5"])
    assert evaluator_of(np.full((3, 5), 0.2), [0, 1, 2]).compute()["top5"] == 1


def test_equal_probabilities_rank_by_index():
    equal = np.full((2, 6), 1 / 6)
    numbers = evaluator_of(equal, [0, 5]).compute()
    assert numbers["top1"] == 0.5
    assert numbers["top5"] == 0.5
    assert [index for index, _ in Classification(equal[0].astype(np.float32)).top(5)] == [0, 1, 2, 3, 4]


def test_absent_and_only_predicted_classes():
    # class 0 is right, class 1 only predicted, class 2 only true, class 3 absent
    numbers = evaluator_of([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]], [0, 2]).compute()
    for name in ("precision", "recall", "F1"):
        values = [numbers[f"{name}/class {i}"] for i in range(4)]
        assert values[:3] == [1, 0, 0]
        assert math.isnan(values[3])
        assert numbers[f"macro_{name}"] == pytest.approx(1 / 3)


def test_a_certain_miss_costs_a_finite_log_loss():
    assert evaluator_of([[1.0, 0.0]], [1]).compute()["log_loss"] == pytest.approx(
        -math.log(np.finfo(np.float32).eps)
    )


def test_tables_are_json_and_name_the_pictures():
    evaluator = evaluator_of([[0.25, 0.75], [0.5, 0.5]], [1, 1], ["b/2.jpg", "a/1.jpg"])
    tables = json.loads(json.dumps(evaluator.tables(), allow_nan=False))
    assert tables["pictures"] == [
        {"id": "a/1.jpg", "truth": "class 1", "prediction": "class 0", "score": 0.5},
        {"id": "b/2.jpg", "truth": "class 1", "prediction": "class 1", "score": 0.75},
    ]
    assert tables["confusion"] == {
        "classes": ["class 0", "class 1"],
        "counts": [[0, 0], [1, 1]],
        "unpredicted": [0, 0],
    }
    assert tables["reliability"][7]["count"] == 1  # 7/15 < 0.5 <= 8/15


def test_the_protocol_names_its_choices():
    protocol = ClassificationEvaluator.protocol
    for word in ("top5 undefined below 5", "15 bins", "clipped", "95% percentile bootstrap", "1000"):
        assert word in protocol


def test_intervals_of_the_cells_equal_a_bootstrap_of_the_pictures():
    rng = np.random.default_rng(5)
    n, k = 400, 4
    truths = rng.choice(k, n, p=[0.6, 0.25, 0.1, 0.05])
    predicted = np.where(rng.random(n) < 0.7, truths, rng.integers(k, size=n))
    matrix = confusion_matrix(truths, predicted, k)
    ours = bootstrap_confusion(matrix, np.zeros(k, dtype=np.int64), np.random.default_rng(0))
    picks = rng.integers(n, size=(4000, n))
    theirs = [
        ((truths[p] == predicted[p]).mean(), sk.f1_score(truths[p], predicted[p], average="macro"))
        for p in picks[:800]
    ]
    for values, reference in zip(ours, np.transpose(theirs), strict=True):
        assert len(values) == 1000
        assert np.mean(values) == pytest.approx(np.mean(reference), abs=0.005)
        assert np.std(values) == pytest.approx(np.std(reference), rel=0.12)
        assert interval(values) == pytest.approx(interval(reference), abs=0.012)


def test_the_interval_of_top1_has_the_width_of_the_normal_approximation():
    hits, n = 930, 1000
    low, high = interval(bootstrap_mean(hits, n, np.random.default_rng(0)))
    half = 1.96 * math.sqrt(0.93 * 0.07 / n)
    assert (low, high) == pytest.approx((0.93 - half, 0.93 + half), abs=0.003)


def test_intervals_enclose_their_numbers():
    numbers = evaluator_of(*draw_case(3, 300, 8)).compute()
    for name in ("top1", "top5", "macro_F1"):
        assert numbers[f"{name}@low"] < numbers[name] < numbers[f"{name}@high"]


def test_pictures_without_a_prediction_are_wrong_in_the_intervals_too():
    matrix, unpredicted = np.array([[10, 0], [0, 0]]), np.array([0, 10])
    accuracy, f1 = bootstrap_confusion(matrix, unpredicted, np.random.default_rng(0))
    assert accuracy.mean() == pytest.approx(0.5, abs=0.02)
    assert f1.mean() == pytest.approx(0.5, abs=0.02)


def test_many_classes_fit_into_memory():
    k = 1000
    matrix = np.zeros((k, k), dtype=np.int64)
    matrix[np.arange(k), np.arange(k)] = 5
    accuracy, f1 = bootstrap_confusion(matrix, np.zeros(k, dtype=np.int64), np.random.default_rng(0))
    assert (accuracy == 1).all()
    assert (f1 == 1).all()


def test_scores_work_along_leading_axes():
    matrices = np.random.default_rng(0).integers(0, 5, size=(3, 4, 4))
    hits, truths, predicted = (
        np.diagonal(matrices, axis1=1, axis2=2), matrices.sum(axis=2), matrices.sum(axis=1)
    )  # fmt: skip
    together = class_scores(hits, truths, predicted)
    for i in range(3):
        for all_of_them, one in zip(together, class_scores(hits[i], truths[i], predicted[i]), strict=True):
            assert np.array_equal(all_of_them[i], one, equal_nan=True)
    assert mean_present(np.array([[1.0, math.nan], [math.nan, math.nan]])) == pytest.approx(
        [1.0, math.nan], nan_ok=True
    )
