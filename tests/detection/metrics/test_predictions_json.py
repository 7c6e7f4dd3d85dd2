import json
import math

import pytest

from visiontasks.detection.metrics import compare
from visiontasks.errors import DataError

from .formats import annotations, predictions_json, write_truth

pytestmark = pytest.mark.usefixtures("few_resamples")


def test_skipped_pictures_are_misses(tmp_path, write):
    document = predictions_json(annotations(1, scores=True))
    first = document["images"].pop(0)
    truth = write_truth(tmp_path, "coco")
    with pytest.raises(DataError, match=r"p.json: .* found none on 1: images/a.jpg"):
        compare(truth, write("p.json", document), {})
    document["skipped"] = [{"file": first["file"], "reason": "truncated"}]
    skipped = compare(truth, write("p.json", document), {}).compute()
    document["skipped"], document["images"] = [], [*document["images"], {**first, "detections": []}]
    assert skipped == pytest.approx(
        compare(truth, write("p.json", document), {}).compute(), abs=0, nan_ok=True
    )


def first_detection(document):
    return document["images"][0]["detections"][0]


CHANGES = {  # name: change of predictions.json, what the message must say
    "unknown picture": (
        lambda document: document["images"][1].update(file="z.jpg"),
        r"found 1 that it does not have.*z.jpg",
    ),
    "twice": (
        lambda document: document["images"].append(document["images"][0]),
        r"images\[4\]: expected each picture once, found data/images/a.jpg",
    ),
    "another size": (
        lambda document: document["images"][0].update(width=640),
        r"images\[0\] \(data/images/a.jpg\): .* height 64 and width 80.* found 64 and 640",
    ),
    "no label": (
        lambda document: first_detection(document).pop("label"),
        r"images\[0\]: .* another form: KeyError\('label'\)",
    ),
    "no box": (
        lambda document: first_detection(document).update(box=[1, 2]),
        r"images\[0\]: .* another form",
    ),
    "another task": (
        lambda document: document["images"][0].pop("detections"),
        r"images\[0\]: .* another form: KeyError\('detections'\)",
    ),
    "infinity": (
        lambda document: first_detection(document).update(score=math.inf),
        r"images\[0\]: expected finite numbers, found Infinity",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_faults_of_predictions_json(tmp_path, write, name):
    change, message = CHANGES[name]
    document = predictions_json(annotations(1, scores=True))
    change(document)
    with pytest.raises(DataError, match=f"p.json.*{message}"):
        compare(write_truth(tmp_path, "coco"), write("p.json", document), {})


def test_an_infinite_number_that_json_allows(tmp_path, write):
    text = json.dumps(predictions_json(annotations(1, scores=True))).replace(
        '"score": 0', '"score": 1e999, "s": 0', 1
    )
    with pytest.raises(
        DataError, match=r"images\[0\] \(data/images/a.jpg\): expected finite boxes and scores"
    ):
        compare(write_truth(tmp_path, "coco"), write("p.json", text), {})


def test_pictures_with_one_name_in_two_folders(tmp_path, write):
    """`x/a.jpg` and `y/a.jpg`: the bare name could be either, the path says which."""
    images = [
        {"id": i, "file_name": f"{folder}/a.jpg", "height": 50, "width": 50}
        for i, folder in enumerate("xy", 1)
    ]
    annotation = {"id": 1, "image_id": 2, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
    truth = write("gt.json", {
        "info": {}, "images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]
    })  # fmt: skip
    detection = {"label": "cat", "class": 0, "score": 0.9, "box": [0, 0, 9, 9]}

    def document(*names):
        return {"classes": ["cat"], "images": [{"file": name, "detections": [detection]} for name in names]}

    numbers = compare(truth, write("p.json", document("data/y/a.jpg", "data/x/a.jpg")), {}).compute()
    assert numbers["AR100"] == 1
    with pytest.raises(
        DataError, match=r"found 2 that it does not have, or has several times: a.jpg, b/a.jpg"
    ):
        compare(truth, write("p.json", document("a.jpg", "b/a.jpg")), {})
