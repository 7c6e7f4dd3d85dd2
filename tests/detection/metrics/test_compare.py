import json
import logging
import math
import subprocess
import sys

import pytest

from visiontasks.classes import ClassMap
from visiontasks.detection.datasets.voc import write_voc
from visiontasks.detection.datasets.yolo import write_yolo
from visiontasks.detection.metrics import compare
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger

from .formats import CLASSES, annotations, predictions_json, shown, write_predictions, write_truth

pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.mark.parametrize("truth", ["coco", "voc", "yolo"])
@pytest.mark.parametrize("predictions", ["coco", "voc", "yolo", "predictions.json"])
def test_each_format_gives_the_same_numbers(tmp_path, truth, predictions):
    if predictions == "coco" and truth != "coco":
        pytest.skip("COCO's category ids mean nothing without COCO's truth")
    found = annotations(1, scores=True)
    expected = compare(
        write_truth(tmp_path, "coco"), write_predictions(tmp_path, "coco", found), {}
    ).compute()
    paths = write_truth(tmp_path, truth), write_predictions(tmp_path, predictions, found)
    numbers = compare(*paths, {}).compute()
    assert 0.2 < numbers["AP"] < 0.9
    assert shown(numbers) == pytest.approx(shown(expected), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("form", ["coco", "predictions.json"])
def test_no_predictions(tmp_path, write, form):
    empty = (
        []
        if form == "coco"
        else {"task": "detection", "classes": ["cat", "dog"], "images": [], "skipped": []}
    )
    numbers = compare(write_truth(tmp_path, "coco"), write("dt.json", empty), {}).compute()
    assert [numbers[name] for name in ("AP", "AP50", "AR100", "VOC12")] == [0] * 4


def test_renamed_classes(tmp_path, write):
    document = predictions_json(annotations(1, scores=True))
    truth = write_truth(tmp_path, "coco")
    expected = compare(truth, write("a.json", document), {}).compute()
    text = json.dumps(document).replace('"cat"', '"feline"')
    with pytest.raises(DataError, match=r"b.json, images\[0\] \(data/images/a.jpg\): unknown class 'feline'"):
        compare(truth, write("b.json", text), {})
    renamed = {"map_class": {"feline": "cat"}}
    numbers = compare(truth, write("b.json", text), renamed).compute()
    assert numbers == pytest.approx(expected, abs=0, nan_ok=True)
    with pytest.raises(DataError, match="unknown class 'bird'"):
        compare(truth, write("b.json", text), {"map_class": {"feline": "bird"}})


def test_renamed_classes_of_xml_files(tmp_path):
    found = annotations(1, scores=True)
    truth = write_truth(tmp_path, "coco")
    expected = compare(truth, write_predictions(tmp_path, "voc", found), {}).compute()
    write_voc(tmp_path / "other", ClassMap(("feline", "dog")), found, Ledger())
    numbers = compare(truth, tmp_path / "other", {"map_class": {"feline": "cat"}}).compute()
    assert numbers == pytest.approx(expected, abs=0, nan_ok=True)
    with pytest.raises(DataError, match=r"object 1.*unknown class 'feline'|unknown class 'feline'"):
        compare(truth, tmp_path / "other", {})


def test_given_classes(tmp_path):
    found = annotations(1, scores=True)
    truth, predictions = write_truth(tmp_path, "coco"), write_predictions(tmp_path, "coco", found)
    expected = compare(truth, predictions, {}).compute()
    turned = compare(truth, predictions, {"classes": ["dog", "cat"]})
    assert turned.classes == ClassMap(("dog", "cat"), (18, 3))
    assert shown(turned.compute()) == pytest.approx(shown(expected), abs=1e-12, nan_ok=True)
    with pytest.raises(DataError, match=r"only in .*gt.json: dog"):
        compare(truth, predictions, {"classes": ["cat"]})
    voc = compare(
        write_truth(tmp_path, "voc"),
        write_predictions(tmp_path, "voc", found),
        {"classes": ["bird", "cat", "dog"]},
    )
    assert math.isnan(voc.compute()["AP/bird"])


def test_files_without_scores(tmp_path):
    truth = write_truth(tmp_path, "voc")
    with pytest.raises(DataError, match=r"expected a score in each object of predictions"):
        compare(truth, truth, {})
    write_yolo(tmp_path / "bare", CLASSES, annotations(0, scores=False), Ledger())
    with pytest.raises(DataError, match=r"[abc].txt:1: expected class, x, y, width, height, score"):
        compare(truth, tmp_path / "bare" / "labels", {})


def test_missing_xml_files_are_told(tmp_path, caplog):
    found = write_predictions(tmp_path, "voc", annotations(1, scores=True))
    (next(found.rglob("d.xml"))).unlink()
    with caplog.at_level(logging.WARNING):
        compare(write_truth(tmp_path, "coco"), found, {})
    assert "no file for 1 of 4 pictures: nothing was found on them (images/d.jpg)" in caplog.text


@pytest.mark.parametrize(
    ("truth", "predictions", "message"),
    [
        ("gt.txt", None, r"gt.txt: expected COCO's JSON, or a folder"),
        ("empty", None, r"empty: expected VOC's XML files or YOLO's text files"),
        (None, "dt.csv", r"dt.csv: expected COCO's results or predictions.json"),
        (None, "empty", r"empty: expected VOC's XML files or YOLO's text files"),
        (None, "none.json", r"none.json: expected a JSON file, found no such file"),
    ],
)
def test_files_of_other_kinds(tmp_path, truth, predictions, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "dt.csv").write_text("a,b\n")
    good = write_truth(tmp_path, "coco")
    with pytest.raises(DataError, match=message):
        compare(tmp_path / truth if truth else good, tmp_path / (predictions or "dt.csv"), {})


def test_needs_no_torch(tmp_path):
    truth = write_truth(tmp_path, "coco")
    found = write_predictions(tmp_path, "coco", annotations(1, scores=True))
    code = (
        "import sys; from pathlib import Path; from visiontasks.detection.metrics import compare;"
        "compare(Path(sys.argv[1]), Path(sys.argv[2]), {}).tables(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, truth, found], check=True)
