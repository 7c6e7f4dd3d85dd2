"""What a prediction command writes reads back as it was, in every format."""

import json

import numpy as np
import pytest

from visiontasks.classes import ClassMap
from visiontasks.detection.datasets.voc import read_voc_folder
from visiontasks.detection.datasets.yolo import read_yolo_labels
from visiontasks.detection.outputs import OUTPUTS, describe, record
from visiontasks.detection.types import Detections
from visiontasks.errors import RunError
from visiontasks.io.files import read_document
from visiontasks.ledger import Ledger

CLASSES = ClassMap(("Platelets", "RBC", "WBC", "d", "e", "f", "g", "h"), (3, 1, 7, 90, 5, 6, 8, 9))


def detections(labels, seed=0, size=(200, 300)):
    rng = np.random.default_rng(seed)
    n = len(labels)
    corners = np.sort(rng.uniform(0, 1, (n, 2, 2)), axis=1) * [size[1], size[0]]
    return Detections(
        corners.reshape(n, 4), np.array(labels, dtype=np.int64), np.sort(rng.uniform(0.5, 1, n))[::-1]
    )


PICTURES = {
    "/somewhere/else/000000000139.jpg": detections([1, 1, 2], 1),
    "pictures/with, comma ž.png": detections([], 2),
    "../000000000007.jpeg": detections([0], 3),
    "b/139.jpg": detections([4, 3], 4),
}


def write(name, folder, pictures=PICTURES):
    output = OUTPUTS[name](folder, CLASSES)
    for file, found in pictures.items():
        output.add(file, (200, 300), found)
    assert list(folder.iterdir()) == []  # written last
    return output.close()


def check_same(annotations, classes, names, tolerance):
    assert len(annotations) == len(names)
    for name, found in zip(names, PICTURES.values(), strict=True):
        at = [str(file).rpartition("/")[2].rpartition(".")[0] for file in annotations.files].index(name)
        part = slice(annotations.starts[at], annotations.starts[at + 1])
        assert [classes.names[i] for i in annotations.labels[part]] == [
            CLASSES.names[i] for i in found.labels
        ]
        assert np.abs(annotations.boxes[part] - found.boxes).max(initial=0) <= tolerance
        assert np.abs(annotations.scores[part] - found.scores).max(initial=0) <= 1e-6


def test_csv_has_a_row_a_box_and_one_for_a_picture_without(tmp_path):
    assert write("csv", tmp_path) == [tmp_path / "predictions.csv"]
    rows = read_document(tmp_path / "predictions.csv")
    expected = [
        {"path": file, "label": CLASSES.names[label], "score": score, "box": box}
        for file, found in PICTURES.items()
        for label, score, box in zip(
            found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
        )
    ]
    assert [row["path"] for row in rows if not row["label"]] == ["pictures/with, comma ž.png"]
    columns = ("x1", "y1", "x2", "y2")
    assert [
        {
            **{"path": row["path"], "label": row["label"], "score": float(row["score"])},
            "box": [float(row[column]) for column in columns],
        }
        for row in rows
        if row["label"]
    ] == expected


def test_voc_reads_back(tmp_path):
    files = write("voc", tmp_path)
    names = ["000000000139", "with, comma ž", "000000000007", "139"]
    assert [path.relative_to(tmp_path).as_posix() for path in files] == [
        f"Annotations/{n}.xml" for n in names
    ]
    classes, annotations = read_voc_folder(tmp_path / "Annotations", Ledger())
    check_same(annotations, classes, names, 1e-9)
    assert annotations.sizes.tolist() == [[200, 300]] * 4


def test_yolo_reads_back(tmp_path):
    files = write("yolo", tmp_path)
    names = ["000000000139", "with, comma ž", "000000000007", "139"]
    assert {tmp_path / "labels" / f"{name}.txt" for name in names} <= set(files)
    found = read_yolo_labels(
        tmp_path / "labels",
        [f"{name}.jpg" for name in names],
        np.tile([200, 300], (4, 1)),
        CLASSES,
        Ledger(),
        scores=True,
    )
    check_same(found, CLASSES, names, 1e-2)


def test_coco_results_have_the_category_ids_of_the_data(tmp_path):
    assert write("coco", tmp_path) == [tmp_path / "coco.json"]
    rows = json.loads((tmp_path / "coco.json").read_text())
    assert [row["image_id"] for row in rows[:3]] == [
        "/somewhere/else/000000000139.jpg"
    ] * 3  # 139 comes twice
    assert [row["category_id"] for row in rows] == [1, 1, 7, 3, 5, 90]
    left, top, right, bottom = PICTURES["b/139.jpg"].boxes[1]
    assert rows[-1]["bbox"] == pytest.approx([left, top, right - left, bottom - top])
    assert rows[-1]["score"] == PICTURES["b/139.jpg"].scores[1]


def test_pictures_that_are_named_by_numbers_have_these_as_ids(tmp_path):
    write("coco", tmp_path, {"a/000000000139.jpg": detections([1]), "a/42.jpg": detections([2])})
    assert [row["image_id"] for row in json.loads((tmp_path / "coco.json").read_text())] == [139, 42]


def test_pictures_of_one_name_get_a_counter(tmp_path):
    pictures = {f"{folder}/a.jpg": detections([1], seed) for seed, folder in enumerate("xyz")}
    pictures["classes.jpg"] = detections([2])
    write("yolo", tmp_path, pictures)
    names = {"a.txt", "a-2.txt", "a-3.txt", "classes-2.txt", "classes.txt"}
    assert {path.name for path in (tmp_path / "labels").iterdir()} == names


@pytest.mark.parametrize("name", OUTPUTS)
def test_no_pictures_and_nothing_found_are_written_too(name, tmp_path):
    for folder, pictures in (("none", {}), ("empty", {"a.jpg": detections([])})):
        (tmp_path / folder).mkdir()
        write(name, tmp_path / folder, pictures)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_place_that_cannot_be_written_is_named(name, tmp_path):
    places = {
        "csv": "predictions.csv",
        "coco": "coco.json",
        "voc": "Annotations/a.xml",
        "yolo": "labels/a.txt",
    }
    (tmp_path / places[name]).mkdir(parents=True)
    output = OUTPUTS[name](tmp_path, CLASSES)
    output.add("a.jpg", (200, 300), detections([1]))
    with pytest.raises(RunError, match=places[name].rpartition("/")[2]):
        output.close()


def test_a_record_is_json_and_complete(tmp_path):
    found = detections([2, 1])
    fields = json.loads(json.dumps(record(found, CLASSES, tmp_path, "a.jpg")))
    assert [row["label"] for row in fields["detections"]] == ["WBC", "RBC"]
    assert [row["class"] for row in fields["detections"]] == [2, 1]
    assert [row["score"] for row in fields["detections"]] == found.scores.tolist()
    assert [row["box"] for row in fields["detections"]] == found.boxes.tolist()
    assert record(detections([]), CLASSES, tmp_path, "a.jpg") == {"detections": []}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "nothing"),
        ([2], "1 WBC"),
        ([1, 2, 1, 1], "3 RBC, 1 WBC"),
        ([2, 1], "1 RBC, 1 WBC"),
        ([0, 0, 1, 2, 3, 4, 5, 6, 7], "2 Platelets, 1 RBC, 1 WBC, 1 d, 1 e, 1 f, 2 of 2 more classes"),
    ],
)
def test_a_description_counts_the_classes(labels, words):
    assert describe(detections(labels), CLASSES) == words
