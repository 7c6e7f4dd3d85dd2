import json
import logging
import math
import subprocess
import sys

import numpy as np
import pytest

from visiontasks.classes import ClassMap
from visiontasks.classification.metrics import ClassificationEvaluator, compare
from visiontasks.classification.outputs import OUTPUTS, record
from visiontasks.classification.types import Classification
from visiontasks.errors import DataError
from visiontasks.types import ImageInfo

TRUTH = "path,label\na.jpg,cat\nb.jpg,dog\nc.jpg,dog\n"


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        path = tmp_path / name
        path.write_text(json.dumps(text) if isinstance(text, dict) else text, encoding="utf-8")
        return path

    return write_file


def run(write, predictions, truth=TRUTH, name="p.csv", **options):
    return compare(write("t.csv", truth), write(name, predictions), options)


def predictions_json(images, classes=("cat", "dog"), skipped=()):
    return {
        "task": "classification",
        "model": "m",
        "classes": list(classes),
        "images": [
            {
                "file": file,
                "width": 8,
                "height": 8,
                "labels": [
                    {"label": name, "class": list(classes).index(name), "score": score}
                    for name, score in labels
                ],
            }
            for file, labels in images.items()
        ],
        "skipped": [{"file": file, "reason": "truncated"} for file in skipped],
    }


def test_labels_alone_give_the_numbers_that_need_no_score(write):
    numbers = run(write, "path,label\nb.jpg,cat\na.jpg,cat\nc.jpg,dog\n").compute()
    assert numbers["top1"] == pytest.approx(2 / 3)
    assert numbers["recall/dog"] == 0.5
    assert numbers["precision/cat"] == 0.5
    assert all(math.isnan(numbers[name]) for name in ("top5", "ECE", "log_loss"))


def test_scores_of_the_best_label_give_the_calibration(write):
    numbers = run(write, "path,label,score\na.jpg,cat,0.9\nb.jpg,cat,0.9\nc.jpg,dog,0.6\n").compute()
    assert numbers["ECE"] == pytest.approx((2 * 0.4 + 0.4) / 3, abs=1e-6)
    assert math.isnan(numbers["log_loss"])


def test_bom_crlf_and_further_columns_are_accepted(write):
    numbers = run(
        write,
        "\ufeffid,label,path\r\n1,cat,a.jpg\r\n2,dog,./b.jpg\r\n3,dog,c.jpg\r\n",
        truth="\ufefflabel,path,who\r\ncat,a.jpg,x\r\ndog,b.jpg,x\r\ndog,c.jpg,y\r\n",
    ).compute()
    assert numbers["top1"] == 1


def test_our_own_files_measure_as_the_model_did(write, tmp_path):
    rng = np.random.default_rng(0)
    classes = ClassMap(tuple("abcde"))
    predictions = [Classification(row.astype(np.float32)) for row in rng.dirichlet(np.full(5, 0.4), 30)]
    truths = rng.integers(5, size=30)
    ids = [f"set/{i}.jpg" for i in range(30)]
    direct = ClassificationEvaluator(classes)
    direct.update(predictions, truths, [ImageInfo(i, 8, 8, 8, 8) for i in ids])
    truth = "path,label\n" + "".join(f"{i},{classes.names[t]}\n" for i, t in zip(ids, truths, strict=True))
    images = {
        i: [(entry["label"], entry["score"]) for entry in record(p, classes, tmp_path, i)["labels"]]
        for i, p in zip(ids, predictions, strict=True)
    }
    from_json = run(write, predictions_json(images, classes.names), truth, "predictions.json")
    assert repr(from_json.compute()) == repr(direct.compute())
    assert from_json.tables() == direct.tables()

    output = OUTPUTS["csv"](tmp_path, classes)
    for image_id, prediction in zip(ids, predictions, strict=True):
        output.add(image_id, (8, 8), prediction)
    (path,) = output.close()
    from_csv = compare(write("t.csv", truth), path, {"classes": classes.names}).compute()
    for name, value in direct.compute().items():
        unknown = name.startswith("top5") or name == "log_loss"
        assert from_csv[name] == pytest.approx(math.nan if unknown else value, abs=1e-7, nan_ok=True), name


def test_a_folder_that_all_results_begin_with_is_left_out(write):
    images = {f"data/{name}": [("cat", 0.5)] for name in ("a.jpg", "b.jpg")}
    numbers = run(write, predictions_json(images, skipped=["data/c.jpg"]), name="p.json").compute()
    assert numbers["top1"] == pytest.approx(1 / 3)


def test_a_folder_that_only_some_begin_with_is_not(write):
    with pytest.raises(DataError, match=r"2 of .*p\.csv not in .*t\.csv: data/a\.jpg, x/b\.jpg;"):
        run(write, "path,label\ndata/a.jpg,cat\nx/b.jpg,dog\n")


@pytest.mark.parametrize(
    ("name", "predictions"), [("p.csv", "path,label\n"), ("p.json", predictions_json({}))]
)
def test_no_predictions_at_all_score_zero(write, name, predictions):
    evaluator = run(write, predictions, name=name)
    numbers = evaluator.compute()
    assert numbers["top1"] == numbers["macro_F1"] == numbers["top1@high"] == 0
    assert math.isnan(numbers["ECE"])
    assert evaluator.tables()["confusion"]["unpredicted"] == [1, 2]
    assert evaluator.tables()["pictures"][0] == {
        "id": "a.jpg",
        "truth": "cat",
        "prediction": None,
        "score": None,
    }


def test_no_truth_is_undefined_and_warned_of(write, caplog):
    with caplog.at_level(logging.WARNING):
        evaluator = run(write, "path,label\n", truth="path,label\n", classes=("cat", "dog"))
    assert all(math.isnan(value) for value in evaluator.compute().values())
    assert "t.csv: no pictures: every number is undefined" in caplog.text


def test_skipped_pictures_count_as_wrong(write):
    images = {"a.jpg": [("cat", 0.9)], "b.jpg": [("dog", 0.8)]}
    evaluator = run(write, predictions_json(images, skipped=["c.jpg"]), name="p.json")
    assert evaluator.compute()["top1"] == pytest.approx(2 / 3)
    assert evaluator.compute()["recall/dog"] == 0.5


def test_names_can_be_mapped(write):
    text = "path,label\na.jpg,moggy\nb.jpg,dog\nc.jpg,dog\n"
    assert run(write, text, map_class={"moggy": "cat"}).compute()["top1"] == 1


def test_a_class_that_is_only_predicted_scores_zero(write):
    text = "path,label\na.jpg,cow\nb.jpg,dog\nc.jpg,dog\n"
    numbers = run(write, text, classes=("cat", "cow", "dog", "eel")).compute()
    assert numbers["precision/cow"] == numbers["recall/cow"] == 0
    assert math.isnan(numbers["F1/eel"])


def test_rows_that_repeat_another_are_counted(write, caplog):
    with caplog.at_level(logging.WARNING):
        run(write, "path,label\na.jpg,cat\n", truth="path,label\na.jpg,cat\na.jpg,cat\n")
    assert "dropped 1: row that repeats another" in caplog.text


FAULTS = {
    "unknown label": (
        "p.csv",
        "path,label\na.jpg,catt\nb.jpg,dog\nc.jpg,Dog\n",
        r"p\.csv, a\.jpg: unknown class 'catt'; did you mean 'cat'\? .* \(2 such labels\); map it with",
    ),
    "missing prediction": (
        "p.csv",
        "path,label\na.jpg,cat\n",
        r"found 2 of .*t\.csv not in .*p\.csv: b\.jpg, c\.jpg; write",
    ),
    "unknown picture": (
        "p.csv",
        TRUTH + "d.jpg,cat\n",
        r"found 1 of .*p\.csv not in .*t\.csv: d\.jpg; write",
    ),
    "second prediction": ("p.csv", TRUTH + "./a.jpg,cat\n", r"p\.csv, row 4: .* second one for a\.jpg"),
    "empty label": ("p.csv", "path,label\na.jpg,\n", r"p\.csv, row 1: expected a label for a\.jpg"),
    "empty path": ("p.csv", "path,label\n,cat\n", r"p\.csv, row 1: expected a path, found none"),
    "no label column": ("p.csv", "path,class\na.jpg,cat\n", "expected the columns path, label, found path"),
    "score above 1": (
        "p.csv",
        "path,label,score\na.jpg,cat,93\n",
        r"row 1: expected a score from 0 to 1, found '93'",
    ),
    "score is a word": ("p.csv", "path,label,score\na.jpg,cat,high\n", "0 to 1, found 'high'"),
    "score is nan": ("p.csv", "path,label,score\na.jpg,cat,nan\n", "0 to 1, found 'nan'"),
    "nan in JSON": (
        "p.json",
        predictions_json({"a.jpg": [("cat", math.nan)]}),
        r"p\.json, a\.jpg: expected a score from 0 to 1, found nan",
    ),
    "inf in JSON": ("p.json", predictions_json({"a.jpg": [("cat", math.inf)]}), "found inf"),
    "picture without labels": ("p.json", predictions_json({"a.jpg": []}), r"expected a label for a\.jpg"),
    "another task": (
        "p.json",
        {"task": "detection", "classes": ["cat"], "images": [{"file": "a.jpg", "detections": []}]},
        r"p\.json: expected predictions\.json as .* another form: KeyError\('labels'\)",
    ),
    "another document": ("p.json", {"a": 1}, "found a record of another form"),
    "another format": ("p.txt", "a.jpg cat", r"p\.txt: expected a file named"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_of_the_results_is_one_line(write, case):
    name, predictions, message = FAULTS[case]
    with pytest.raises(DataError, match=message) as caught:
        run(write, predictions, name=name)
    assert "\n" not in str(caught.value)


TRUTH_FAULTS = {
    "two labels": (
        "path,label\na.jpg,cat\na.jpg,dog\n",
        r"t\.csv: expected one label a picture, found 1 with two: row 2: a\.jpg is 'dog', before it",
    ),
    "no label": ("path,label\na.jpg, \n", r"t\.csv, row 1: expected a label for a\.jpg, found none"),
    "nothing": ("path,label\n", r"t\.csv: expected rows under the header, found none; name the classes"),
    "no header": ("", r"t\.csv: expected a header line"),
}


@pytest.mark.parametrize("case", TRUTH_FAULTS)
def test_a_fault_of_the_truth_is_one_line(write, case):
    truth, message = TRUTH_FAULTS[case]
    with pytest.raises(DataError, match=message):
        run(write, "path,label\n", truth=truth)


def test_a_truth_outside_the_models_classes_is_an_error(write):
    with pytest.raises(DataError, match=r"t\.csv, b\.jpg: unknown class 'dog'"):
        run(write, predictions_json({}, classes=["cat", "dogs"]), name="p.json")


def test_comparing_files_leaves_torch_alone(write):
    code = (
        "import sys; from pathlib import Path; from visiontasks.classification.metrics import compare;"
        "print(compare(Path(sys.argv[1]), Path(sys.argv[2]), {}).compute()['top1']);"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    files = [str(write("t.csv", TRUTH)), str(write("p.csv", TRUTH))]
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1.0"
