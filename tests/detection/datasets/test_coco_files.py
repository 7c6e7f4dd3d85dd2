"""COCO's JSON: what is read, repaired, dropped and refused; each message names file and record."""

import json
import logging

import numpy as np
import pytest
from annotated_files import CLASSES, annotations_of, build_coco, coco_document, open_split, save_picture
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as codec
from pycocotools.coco import COCO

from visiontasks.detection.datasets.coco import read_coco_file, write_coco
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger


def read(tmp_path, document, *, strict=False):
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(document) if not isinstance(document, str) else document)
    ledger = Ledger(strict)
    classes, annotations = read_coco_file(file, ledger)
    return classes, annotations, [str(entry) for entry in ledger.entries]


def edited(table, number, **changes):
    """The document with some keys of one record replaced, or removed (None)."""
    document = coco_document()
    record = document[table][number]
    record.update(changes)
    document[table][number] = {key: value for key, value in record.items() if value is not None}
    return document


def test_golden(tmp_path):
    classes, found, entries = read(tmp_path, coco_document(), strict=True)
    assert classes.names == ("cat", "dog")
    assert classes.file_ids == (2, 18)
    assert list(found.files) == ["a.png", "žirafa 1.png", "empty.png"]
    assert list(found.image_ids) == [7, 3, 9]
    assert found.sizes.tolist() == [[40, 60]] * 3
    assert found.picture.tolist() == [0, 1, 1]
    assert found.boxes.tolist() == [[5.5, 5, 9.5, 9], [1, 2, 11, 22], [0, 0, 60, 40]]
    assert found.labels.tolist() == [0, 1, 0]
    assert found.crowd.tolist() == [False, False, True]
    assert found.area.tolist() == [16, 150, 2000]
    assert found.records.tolist() == [1, 0, 2]
    assert len(found.truth(2)) == 0  # a picture without annotations is a negative
    assert found.scores is None and not entries


def test_order_of_the_lists_does_not_matter(tmp_path):
    document = coco_document()
    _, turned, _ = read(tmp_path, dict(reversed(document.items())))
    _, found, _ = read(tmp_path, document)
    assert turned.boxes.tolist() == found.boxes.tolist()
    assert turned.labels.tolist() == found.labels.tolist()


def test_byte_order_mark_and_crlf(tmp_path):
    text = json.dumps(coco_document(), indent=1).replace("\n", "\r\n")
    assert len(read(tmp_path, "\ufeff" + text)[1].boxes) == 3


@given(seed=st.integers(0, 1000))
def test_same_boxes_as_pycocotools(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    ids = rng.permutation(100)[:5].tolist()
    document = coco_document(
        images=[{"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in ids],
        annotations=[
            {"id": n + 1, "image_id": int(rng.choice(ids)), "category_id": int(rng.choice([2, 18])),
             "bbox": rng.uniform(0, 30, 4).round(2).tolist(), "area": 5.0, "iscrowd": int(rng.integers(2))}
            for n in range(12)
        ],
    )  # fmt: skip
    file = tmp_path_factory.mktemp("coco") / "t.json"
    file.write_text(json.dumps(document))
    classes, found = read_coco_file(file, Ledger(strict=True))
    reference = COCO()
    reference.dataset = document
    reference.createIndex()
    for place, ident in enumerate(found.image_ids):
        theirs = reference.loadAnns(reference.getAnnIds(imgIds=[ident], iscrowd=None))
        ours = found.truth(place)
        assert [classes.file_ids[label] for label in ours.labels] == [a["category_id"] for a in theirs]
        assert ours.crowd.tolist() == [bool(a["iscrowd"]) for a in theirs]
        xywh = [[a, b, c - a, d - b] for a, b, c, d in ours.boxes.tolist()]
        np.testing.assert_allclose(
            np.array(xywh).reshape(-1, 4), np.array([a["bbox"] for a in theirs]).reshape(-1, 4), atol=1e-12
        )


REPAIRED = {  # row 4, 6, 7 of the table
    "no info": (coco_document(), "info", "no 'info'"),
    "no iscrowd": (edited("annotations", 0, iscrowd=None), None, "no iscrowd: 0"),
    "no area": (edited("annotations", 0, area=None), None, "no area: the box's"),
    "no id": (edited("annotations", 0, id=None), None, "no id: numbered"),
    "id 0": (edited("annotations", 0, id=0), None, "id 0, which means 'unmatched'"),
    "text id": (edited("annotations", 0, image_id="3"), None, "image_id written as text: taken as a number"),
    "text category": (edited("categories", 0, id="18"), None, "id written as text: taken as a number"),
    "text of a picture": (edited("images", 1, id="3"), None, "id written as text: taken as a number"),
    "fraction": (edited("annotations", 0, category_id=18.0), None, "category_id written as a fraction"),
    "no size": (edited("images", 1, height=None), None, "no height and width: the picture's"),
}


@pytest.mark.parametrize("case", REPAIRED)
def test_what_is_filled_in_is_counted_and_strict_refuses_it(tmp_path, case):
    document, removed, reason = REPAIRED[case]
    document = {key: value for key, value in document.items() if key != removed}
    classes, found, entries = read(tmp_path, document)
    (entry,) = entries
    assert entry.startswith("repaired") and reason in entry and "truth.json" in entry
    assert removed or "[0]" in entry or "images[1]" in entry
    assert classes.file_ids == (2, 18)
    assert found.boxes[1].tolist() == [1, 2, 11, 22]
    assert found.area[1] == (200 if case == "no area" else 150)
    with pytest.raises(DataError, match="strict"):
        read(tmp_path, document, strict=True)


def test_one_entry_counts_what_every_record_lacks(tmp_path):
    document = coco_document()
    for record in document["annotations"]:
        del record["iscrowd"]
    (entry,) = read(tmp_path, document)[2]
    assert "annotations[0] and 2 more" in entry
    assert entry.endswith("no iscrowd: 0 (in 3 annotations)")


def test_ids_that_are_texts_stay_texts(tmp_path):
    document = (
        json.dumps(coco_document()).replace('"id": 7', '"id": "left"').replace('_id": 7', '_id": "left"')
    )
    assert list(read(tmp_path, document)[1].image_ids) == ["left", 3, 9]


def test_a_missing_box_is_that_of_the_polygons(tmp_path):
    document = edited("annotations", 0, bbox=None, segmentation=[[1, 2, 11, 2, 11, 12], [3, 3, 5, 22, 4, 9]])
    _, found, entries = read(tmp_path, document)
    assert found.boxes[1].tolist() == [1, 2, 11, 22]
    assert "no bbox: the polygons'" in entries[0]


def test_a_missing_box_is_that_of_the_good_parts(tmp_path):
    document = edited("annotations", 0, bbox=None, segmentation=[[1, 2, 11, 2, 11, 12], [0, 0, 50, 30]])
    _, found, entries = read(tmp_path, document)
    assert found.boxes[1].tolist() == [1, 2, 11, 12]
    assert "dropped" in entries[0] and "no bbox: the polygons'" in entries[1]


def test_without_a_box_and_a_good_part_an_annotation_is_dropped(tmp_path):
    document = edited("annotations", 0, bbox=None, segmentation=[[0, 0, 50, 30]])
    _, found, entries = read(tmp_path, document)
    assert found.records.tolist() == [1, 2]
    assert "annotations[0].segmentation[0]" in entries[0]
    assert entries[1].startswith("dropped")
    assert entries[1].endswith("annotations[0]: no bbox, and no polygon to take one from")
    document["annotations"][1]["category_id"] = 4  # later records keep their numbers
    with pytest.raises(DataError, match=r"annotations\[1\]: .*found 4"):
        read(tmp_path, document)


def fault(table, number, message, **changes):
    """A document with one record changed, and what is to be said of that record."""
    return edited(table, number, **changes), rf"truth\.json, {table}\[{number}\]: {message}"


REFUSED = {
    "picture id twice": fault("images", 2, r"expected each id once, found 7, as in images\[0\]", id=7),
    "the same as text": fault("images", 2, r"expected each id once, found 7, as in images\[0\]", id="7"),
    "category id twice": fault("categories", 1, r".*found 18, as in categories\[0\] \(dog\)", id=18),
    "annotation id twice": fault("annotations", 2, r".*found 1, as in annotations\[0\]", id=1),
    "one as text": fault("annotations", 2, r".*found 1, as in annotations\[0\]", id="1"),
    "no category name": fault("categories", 1, "expected a category with a name", name=""),
    "no file name": fault("images", 1, "expected a picture with a file_name", file_name=None),
    "picture without id": fault("images", 1, "expected a number as id, found nothing", id=None),
    "size": fault("images", 1, "expected a width in pixels, found -3", width=-3),
    "ignore": fault("annotations", 0, "expected no ignore=1 without iscrowd=1", ignore=1),
    "crowd": fault("annotations", 0, "expected iscrowd 0 or 1, found 2; correct it", iscrowd=2),
    "category": fault(
        "annotations",
        1,
        r"expected category_id to be one of the file's 2 \(2, 18\), found 4; 1 annotations",
        category_id=4,
    ),
    "picture": fault("annotations", 1, "expected image_id to be one .*found 70", image_id=70),
    "no picture": fault("annotations", 1, "expected a number as image_id, found nothing", image_id=None),
    "no box": fault("annotations", 1, "expected a bbox of four numbers .*found nothing", bbox=None),
    "three numbers": fault("annotations", 1, r".*found \[1, 2, 3\]", bbox=[1, 2, 3]),
    "texts": fault("annotations", 1, r'.*found \["1", "2", "3", "4"\]', bbox=list("1234")),
    "long id": fault("annotations", 1, "expected an id of at most 64 bits", id=10**20),
    "area": fault("annotations", 1, 'expected an area in square pixels, found "big"', area="big"),
    "negative area": fault("annotations", 1, "expected an area in square pixels, found -1; correct", area=-1),
    "true as area": fault("annotations", 1, "expected an area in square pixels, found true", area=True),
    "true in a box": fault("annotations", 1, r".*found \[1, 2, true, 4\]; correct it", bbox=[1, 2, True, 4]),
    "difficult": fault("annotations", 1, 'expected difficult 0 or 1, found "0"; correct it', difficult="0"),
    "no outline": fault("annotations", 1, "expected polygons or a run length, found 3", segmentation=3),
    "flat polygon": fault("annotations", 1, "expected polygons as lists", segmentation=[1, 2, 3, 4, 5, 6]),
    "class name twice": (edited("categories", 1, name="dog"), "categories: .*found twice: dog"),
    "no object": (coco_document(annotations=[4]), r"annotations\[0\]: expected an object, found 4"),
    "no categories": (coco_document(categories=[]), "categories: expected at least one class, found none"),
    "no list": (coco_document(annotations={}), r"expected a list under 'annotations', found \{\}"),
    "results": ([{"image_id": 1}], "expected COCO's lists images, annotations, categories, found a list"),
    "keys": ({"images": [], "info": 1}, "found images, info; add annotations, categories"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_names_file_and_record(tmp_path, case):
    document, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, document)
    assert "truth.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("place", ["16", "5.5"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, number, place):
    text = (
        json.dumps(coco_document()).replace(f" {place},", f" {number},").replace(f"[{place},", f"[{number},")
    )
    assert number in text
    with pytest.raises(DataError, match=r"truth\.json.*annotations\[1\]: expected finite numbers"):
        read(tmp_path, text)


BAD_PARTS = {
    "two points": ([1, 2, 3, 4], "fewer than three points"),
    "odd": ([1, 2, 3, 4, 5, 6, 7], "an odd count of numbers"),
    "empty": ([], "fewer than three points"),
}


@pytest.mark.parametrize("case", BAD_PARTS)
def test_a_bad_polygon_part_is_dropped_and_counted(tmp_path, case):
    part, reason = BAD_PARTS[case]
    document = edited("annotations", 1, segmentation=[[1, 2, 3, 4, 5, 6], part])
    _, found, entries = read(tmp_path, document)
    assert len(found.boxes) == 3
    (entry,) = entries
    assert entry.startswith("dropped") and "annotations[1].segmentation[1]" in entry and reason in entry
    with pytest.raises(DataError, match="strict"):
        read(tmp_path, document, strict=True)


RUN_LENGTHS = {  # of a picture of 40 x 60; the texts are pycocotools' own
    "counts": ([1000, 400, 1000], None),
    "text": (codec.encode(np.asfortranarray(np.eye(40, 60, dtype=np.uint8)))["counts"].decode(), None),
    "sum": ([1000, 401, 1000], "expected run lengths that sum to 40 x 60 = 2400 pixels, found 2401"),
    "sum of text": (
        codec.encode(np.asfortranarray(np.eye(40, 61, dtype=np.uint8)))["counts"].decode(),
        "expected run lengths that sum to 40 x 60 = 2400 pixels, found 2440",
    ),
    "no counts": (None, "expected counts of a run length, found nothing"),
}


@pytest.mark.parametrize("case", RUN_LENGTHS)
@pytest.mark.parametrize("turn", [False, True])
def test_run_lengths(tmp_path, case, turn):
    counts, message = RUN_LENGTHS[case]
    document = edited("annotations", 2, segmentation={"size": [40, 60], "counts": counts})
    document = dict(reversed(document.items())) if turn else document
    if message is None:
        assert len(read(tmp_path, document, strict=True)[1].boxes) == 3
    else:
        with pytest.raises(DataError, match=rf"truth\.json, annotations\[2\]: {message}"):
            read(tmp_path, document)


@pytest.mark.parametrize("turn", [False, True])
def test_a_run_length_of_another_size_than_its_picture_is_refused(tmp_path, turn):
    document = edited("annotations", 2, segmentation={"size": [60, 40], "counts": [2400]})
    document = dict(reversed(document.items())) if turn else document
    with pytest.raises(DataError, match=r"annotations\[2\]: .* size \[40, 60\], found \[60, 40\]"):
        read(tmp_path, document)


def test_no_polygons_are_no_fault(tmp_path):
    assert read(tmp_path, edited("annotations", 1, segmentation=[]), strict=True)[2] == []


def test_pictures_are_found_where_they_usually_are(tmp_path):
    build_coco(tmp_path)
    source = open_split(tmp_path, "coco", train="annotations/train.json", strict=True)
    assert list(source.annotations.files) == ["images/a.png", "images/empty.png", "images/žirafa 1.png"]
    assert source[2].image_id == 3
    (tmp_path / "images").rename(tmp_path / "train")
    source = open_split(tmp_path, "coco", train="annotations/train.json")
    assert source.annotations.files[0] == "train/a.png"
    (tmp_path / "train").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"train\.json: expected its pictures \('a\.png'.*set data\.images"):
        open_split(tmp_path, "coco", train="annotations/train.json")
    source = open_split(tmp_path, "coco", train="annotations/train.json", images="elsewhere")
    assert source[0].image.shape == (40, 60, 3)


def test_a_missing_size_is_the_pictures(tmp_path):
    document = coco_document()
    del document["images"][0]["width"]
    build_coco(tmp_path, document)
    source = open_split(tmp_path, "coco", train="annotations/train.json")
    assert source.annotations.sizes.tolist() == [[40, 60]] * 3


def test_a_picture_listed_twice_is_refused(tmp_path):
    build_coco(tmp_path, edited("images", 2, file_name="./a.png"))
    with pytest.raises(
        DataError, match=r"images\[2\]: expected each picture once, found 'a.png' again, as in .*\[0\]"
    ):
        open_split(tmp_path, "coco", train="annotations/train.json")


def test_corners_written_as_sizes_are_noticed(tmp_path, caplog):
    boxes = [[20, 10, 50, 35], [30, 5, 40, 30], [40, 20, 55, 39], [5, 5, 10, 10], [35, 22, 59, 40]]
    annotations = [
        {"id": n, "image_id": 3, "category_id": 2, "bbox": box, "area": 1, "iscrowd": 0}
        for n, box in enumerate(boxes, start=1)
    ]
    build_coco(tmp_path, coco_document(annotations=annotations))
    with caplog.at_level(logging.WARNING):
        open_split(tmp_path, "coco", "val", val="annotations/train.json")
    assert "4 of 5 boxes reach beyond their pictures (first: images/žirafa 1.png)" in caplog.text


def test_truth_is_written_as_other_programs_read_it(tmp_path):
    build_coco(tmp_path)
    save_picture(tmp_path / "images/a.png")
    classes, found = read_coco_file(tmp_path / "annotations" / "train.json", Ledger())
    write_coco(tmp_path / "out.json", classes, found)
    reference = COCO(tmp_path / "out.json")
    assert sorted(reference.getCatIds()) == [2, 18]
    assert sorted(reference.getImgIds()) == [3, 7, 9]
    assert reference.loadAnns([2])[0]["bbox"] == [1, 2, 10, 20]
    assert [a["iscrowd"] for a in reference.dataset["annotations"]] == [0, 0, 1]


def test_paths_as_ids_are_numbered_from_1(tmp_path):
    write_coco(tmp_path / "out.json", CLASSES, annotations_of({"a.png": [((1, 2, 3, 4), 2)], "b.png": []}))
    document = json.loads((tmp_path / "out.json").read_text())
    assert [(image["id"], image["file_name"]) for image in document["images"]] == [(1, "a.png"), (2, "b.png")]
    assert document["annotations"][0]["category_id"] == 3
    assert document["annotations"][0]["id"] == 1


def test_predictions_are_written_as_results(tmp_path):
    build_coco(tmp_path)
    file = tmp_path / "annotations" / "train.json"
    classes, found = read_coco_file(file, Ledger())
    found.scores = np.array([0.25, 0.5, 1.0])
    write_coco(tmp_path / "results.json", classes, found)
    reference = COCO(file).loadRes(str(tmp_path / "results.json"))
    assert [a["score"] for a in reference.dataset["annotations"]] == [0.25, 0.5, 1.0]
    assert [a["category_id"] for a in reference.dataset["annotations"]] == [2, 18, 2]
    assert reference.dataset["annotations"][0]["bbox"] == [5.5, 5, 4, 4]
