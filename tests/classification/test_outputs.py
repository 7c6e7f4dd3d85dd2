import json
import random

import numpy as np
import pytest

from visiontasks.classes import ClassMap
from visiontasks.classification.outputs import OUTPUTS, describe, record
from visiontasks.classification.types import Classification
from visiontasks.errors import RunError
from visiontasks.io.files import read_document

CLASSES = ClassMap(("cat", 'a "quoted", name', "dog", "кот", "emu", "fox", "gnu"))


def prediction(*probabilities):
    return Classification(np.float32(probabilities))


def test_a_prediction_ranks_its_classes():
    found = prediction(0.125, 0.5, 0.25, 0.125)
    assert (found.best, found.score) == (1, 0.5)
    assert found.top(3) == [(1, 0.5), (2, 0.25), (0, 0.125)]
    assert found.top(9)[3] == (3, 0.125)
    assert found.top(1)[0] == (found.best, found.score)


def test_of_equal_classes_the_lower_index_is_best():
    found = prediction(*[0.125] * 8)
    assert found.best == 0
    assert [index for index, _ in found.top(8)] == list(range(8))


def test_a_record_lists_the_five_best(tmp_path):
    found = prediction(0.25, 0, 0.5, 0.125, 0.0625, 0.03125, 0.03125)
    fields = record(found, CLASSES, tmp_path, "a.jpg")
    assert json.loads(json.dumps(fields)) == {
        "labels": [
            {"label": "dog", "class": 2, "score": 0.5},
            {"label": "cat", "class": 0, "score": 0.25},
            {"label": "кот", "class": 3, "score": 0.125},
            {"label": "emu", "class": 4, "score": 0.0625},
            {"label": "fox", "class": 5, "score": 0.03125},
        ]
    }
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_few_classes_lists_all(tmp_path):
    labels = record(prediction(0.25, 0.75), ClassMap(("a", "b")), tmp_path, "a.jpg")["labels"]
    assert [entry["label"] for entry in labels] == ["b", "a"]


def test_a_description_is_the_best_class():
    assert describe(prediction(0.07, 0, 0.93, 0, 0, 0, 0), CLASSES) == "dog 0.93"


def test_the_csv_reads_back_as_it_was(tmp_path):
    output = OUTPUTS["csv"](tmp_path, CLASSES)
    shuffle = random.Random(0)
    files = ["a.jpg", "with, comma.jpg", "日本/ž.png", "a.jpg"]
    for i, file in enumerate(files):
        probabilities = np.zeros(7, np.float32)
        probabilities[i] = shuffle.random()
        output.add(file, (4, 6), Classification(probabilities))
    assert not (tmp_path / "predictions.csv").exists()
    assert output.close() == [tmp_path / "predictions.csv"]
    rows = read_document(tmp_path / "predictions.csv")
    assert [row["path"] for row in rows] == files
    assert [row["label"] for row in rows] == list(CLASSES.names[:4])
    shuffle.seed(0)
    assert [np.float32(row["score"]) for row in rows] == [np.float32(shuffle.random()) for _ in files]


def test_no_results_are_a_header(tmp_path):
    OUTPUTS["csv"](tmp_path, CLASSES).close()
    assert (tmp_path / "predictions.csv").read_text() == "path,label,score\n"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "predictions.csv").mkdir()
    with pytest.raises(RunError, match=r"predictions\.csv"):
        OUTPUTS["csv"](tmp_path, CLASSES).close()
