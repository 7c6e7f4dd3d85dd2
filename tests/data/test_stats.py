"""Counts and shares, checked by hand on a few pictures."""

import json

import numpy as np
import pytest

from visiontasks.data.opening import open_data
from visiontasks.data.shapes import draw_shapes
from visiontasks.data.stats import measure, plot, quantiles, to_json
from visiontasks.errors import DataError
from visiontasks.tasks import TASKS, load_task


@pytest.fixture(scope="module", params=TASKS)
def data(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("stats") / "shapes"
    draw_shapes(root, request.param, 18, 0, size=(48, 64))
    return open_data(root, [load_task(request.param)])


def labels_of(sample):
    """The labels on a picture, one entry for each picture, box or pixel."""
    target = sample.target
    if isinstance(target, int | np.integer):
        return [int(target)]
    return (target.ravel() if isinstance(target, np.ndarray) else target.labels).tolist()


def test_counts_are_those_of_the_truth(data):
    for split, one in measure(data).items():
        source = data.sources[split]
        labels = [labels_of(source[place]) for place in range(len(source))]
        k = len(source.classes)
        expected = [sum(found.count(label) for found in labels) for label in range(k)]
        assert (one.total, one.labels.tolist()) == (6, expected)
        shows = np.array([[label in found for label in one.most] for found in labels], dtype=int)
        assert one.pictures.tolist() == [sum(label in found for found in labels) for label in range(k)]
        assert one.together.tolist() == (shows.T @ shows).tolist()
        assert one.sizes.tolist() == [[48, 64]] * 6


def test_json_holds_every_split_and_is_strict(data):
    measured = measure(data)
    content = json.loads(json.dumps(to_json(data, measured), allow_nan=False))
    assert (content["task"], list(content["splits"])) == (data.task.name, ["train", "val", "test"])
    train = content["splits"]["train"]
    assert (train["pictures"], train["unreadable"]) == (6, 0)
    assert train["sizes"]["width"] == {"min": 64, "p5": 64, "median": 64, "p95": 64, "max": 64}
    assert [row["class"] for row in train["classes"]] == list(data.sources["train"].classes.names)
    assert train["together"]["classes"] == [row["class"] for row in train["classes"]]
    assert plot(measured, data.task.data.counted).startswith(b"\x89PNG")


def test_only_some_splits(data):
    assert list(measure(data, ["val"])) == ["val"]


def test_unreadable_pictures_are_counted_and_have_no_size(tmp_path):
    root = tmp_path / "shapes"
    draw_shapes(root, "classification", 18, 0, size=(32, 32))
    next((root / "val" / "star").iterdir()).write_bytes(b"no picture")
    data = open_data(root, [load_task("classification")])
    one = measure(data)["val"]
    assert (one.total, len(one.sizes)) == (6, 5)
    assert to_json(data, {"val": one})["splits"]["val"]["unreadable"] == 1


def test_a_split_that_cannot_be_opened_is_said(tmp_path):
    root = tmp_path / "shapes"
    draw_shapes(root, "detection", 18, 0, size=(32, 32))
    data = open_data(root / "data.yaml", [load_task("detection")])
    (root / "annotations" / "val.json").write_text("[")
    data = open_data(root / "data.yaml", [load_task("detection")])
    with pytest.raises(DataError, match=r"val\.json"):
        measure(data)
    assert list(measure(data, ["train"])) == ["train"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], {}),
        ([3], {"min": 3, "p5": 3, "median": 3, "p95": 3, "max": 3}),
        (range(101), {"min": 0, "p5": 5, "median": 50, "p95": 95, "max": 100}),
    ],
    ids=["none", "one", "many"],
)
def test_quantiles(values, expected):
    assert quantiles(np.array(values)) == expected
