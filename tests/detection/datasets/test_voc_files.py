"""Pascal VOC's XML files and lists."""

import numpy as np
import pytest
from annotated_files import CLASSES, annotations_of, assert_same, open_split, save_picture

from visiontasks.classes import ClassMap
from visiontasks.detection.datasets.voc import read_voc_folder, write_voc, write_voc_list
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger

OBJECT = """\
<object>
<name>{name}</name>
<pose>Left</pose>
<truncated>0</truncated>
<difficult>{difficult}</difficult>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>
</object>
"""
PICTURE = """\
<annotation>
<folder>elsewhere</folder>
<filename>{name}.png</filename>
<size><width>60</width><height>40</height><depth>3</depth></size>
<segmented>0</segmented>
{objects}</annotation>
"""


def xml_of(name, *objects):
    texts = (OBJECT.format(name=label, box=box, difficult=flag) for label, box, flag in objects)
    return PICTURE.format(name=name, objects="".join(texts))


def build(root, texts=None, *, split="train"):
    texts = texts or {
        "b": xml_of("b", ("dog", (1, 1, 60, 40), 0), ("cat", (11, 6, 20, 25), 1)),
        "žirafa 1": xml_of("žirafa 1"),
    }
    for name, text in texts.items():
        save_picture(root / "JPEGImages" / f"{name}.png")
        file = root / "Annotations" / f"{name}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    listing = root / "ImageSets" / "Main" / f"{split}.txt"
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("".join(f"{name}\n" for name in texts))
    return root / "Annotations" / "b.xml"


def open_voc(root, **values):
    return open_split(root, "voc", **{"train": "train", **values})


def test_golden(tmp_path):
    build(tmp_path)
    source = open_voc(tmp_path, strict=True)
    assert source.classes.names == ("cat", "dog")
    sample = source[0]
    assert sample.image_id == "JPEGImages/b.png"
    assert sample.target.boxes.tolist() == [[0, 0, 60, 40], [10, 5, 20, 25]]  # 1 off the mins, not the maxs
    assert sample.target.labels.tolist() == [1, 0]
    assert sample.target.difficult.tolist() == [False, True]
    assert sample.target.area.tolist() == [2400, 200]
    assert len(source[1].target) == 0  # without objects: a negative


def test_byte_order_mark_and_crlf(tmp_path):
    file = build(tmp_path)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    listing = tmp_path / "ImageSets/Main/train.txt"
    listing.write_bytes(b"\xef\xbb\xbf" + listing.read_bytes().replace(b"\n", b"\r\n"))
    assert len(open_voc(tmp_path, strict=True).annotations.boxes) == 2


DELETIONS = {  # row 18: what is missing -> what is noted
    "<pose>Left</pose>": None,
    "<truncated>0</truncated>": None,
    "<segmented>0</segmented>": None,
    "<folder>elsewhere</folder>": None,
    "<filename>b.png</filename>": None,
    "<depth>3</depth>": None,
    "<difficult>0</difficult>": "no flag 'difficult': 0",
    "<height>40</height>": "no size: the picture's",
    "<size><width>60</width><height>40</height><depth>3</depth></size>": "no size: the picture's",
}


@pytest.mark.parametrize("piece", DELETIONS)
def test_a_missing_field_is_filled_in(tmp_path, piece):
    file = build(tmp_path)
    assert piece in file.read_text()
    file.write_text(file.read_text().replace(piece, ""))
    source = open_voc(tmp_path)
    assert source[0].target.boxes.tolist() == [[0, 0, 60, 40], [10, 5, 20, 25]]
    assert source.annotations.sizes.tolist() == [[40, 60]] * 2
    reason = DELETIONS[piece]
    assert [entry.reason for entry in source.ledger.entries] == ([reason] if reason else [])
    if reason:
        with pytest.raises(DataError, match=r"b\.xml.*strict"):
            open_voc(tmp_path, strict=True)


def test_fractions_are_kept(tmp_path):
    build(tmp_path, {"b": xml_of("b", ("dog", ("12.25", "6.5", "20.75", "2.5e1"), 0))})
    assert open_voc(tmp_path, strict=True)[0].target.boxes.tolist() == [[11.25, 5.5, 20.75, 25]]


FAULTS = {
    "no name": ("<name>cat</name>", "", "object 2: expected the name of a class, found none; fill it in"),
    "no box": ("bndbox>", "box>", "object 1: expected a bndbox, found none; add it"),
    "no corner": ("<ymax>25</ymax>", "", "object 2: expected a number as ymax, found none"),
    "no number": ("<ymax>25<", "<ymax>far<", "object 2: expected a number as ymax, found 'far'; fill it in"),
    "NaN": ("<ymax>25<", "<ymax>nan<", "object 2: expected finite numbers, found ymax nan; correct it"),
    "infinity": ("<ymax>25<", "<ymax>1e999<", "object 2: expected finite numbers, found ymax 1e999"),
    "flag": ("<difficult>1<", "<difficult>7<", "object 2: expected difficult 0 or 1, found '7'"),
    "size": ("<width>60<", "<width>wide<", "size: expected a width in pixels, found 'wide'; correct it"),
    "half a pixel": ("<width>60<", "<width>60.5<", "size: expected a width in pixels, found '60.5'"),
    "huge": ("<width>60<", f"<width>{'9' * 20}<", "size: expected a width in pixels, found '9999"),
    "other XML": (
        "annotation>",
        "annotations>",
        "expected VOC's <annotation>, found <annotations>; take it out",
    ),
    "DOCTYPE": ("<annotation>", "<!DOCTYPE x><annotation>", "expected XML without DOCTYPE"),
    "syntax": ("</annotation>", "", "expected XML, found a fault"),
    "score": ("<name>cat</name>", "<name>cat</name><score>1</score>", "object 2: expected scores for all"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_names_file_and_object(tmp_path, case):
    old, new, message = FAULTS[case]
    file = build(tmp_path)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(DataError, match=message) as caught:
        open_voc(tmp_path)
    assert "Annotations/b.xml" in str(caught.value)


def test_whole_sides_may_be_written_as_floats(tmp_path):
    file = build(tmp_path)
    file.write_text(file.read_text().replace("<width>60<", "<width>60.0<"))
    assert open_voc(tmp_path).annotations.sizes.tolist()[0] == [40, 60]


def test_a_size_that_is_not_the_pictures_is_an_error_when_it_is_read(tmp_path):
    file = build(tmp_path)
    swapped = "<width>40</width><height>60</height>"
    file.write_text(file.read_text().replace("<width>60</width><height>40</height>", swapped))
    source = open_voc(tmp_path)
    with pytest.raises(
        DataError, match=r"JPEGImages/b\.png: expected 60 x 40 pixels.*found 40 x 60; swap them"
    ):
        source[0]
    assert source[1].image.shape == (40, 60, 3)


def test_lists_of_one_class_have_a_flag_behind_the_name(tmp_path):
    build(tmp_path)
    (tmp_path / "ImageSets/Main/dog_train.txt").write_text("b  1\nžirafa 1 -1\n")
    assert list(open_voc(tmp_path, train="dog_train").annotations.files) == [
        "JPEGImages/b.png",
        "JPEGImages/žirafa 1.png",
    ]


def test_a_name_without_its_file_is_an_error_with_its_line(tmp_path):
    build(tmp_path)
    (tmp_path / "ImageSets/Main/train.txt").write_text("b\n\nc\n")
    with pytest.raises(DataError, match=r"train\.txt:3: expected Annotations/c\.xml, found no such file"):
        open_voc(tmp_path)


def test_a_name_that_repeats_is_dropped(tmp_path):
    build(tmp_path)
    (tmp_path / "ImageSets/Main/train.txt").write_text("b\nb\n")
    source = open_voc(tmp_path)
    assert len(source) == 1
    assert [str(entry).rpartition("/")[2] for entry in source.ledger.entries] == [
        "train.txt, line 2: name that repeats line 1"
    ]


def test_an_unknown_list_says_which_there_are(tmp_path):
    build(tmp_path)
    with pytest.raises(
        DataError, match=r"ImageSets/Main/trian\.txt or a folder 'trian'.*found the lists train;"
    ):
        open_voc(tmp_path, train="trian")


@pytest.mark.parametrize("folder", ["a", "a/labels"])
def test_a_folder_of_xml_files_is_a_split(tmp_path, folder):
    build(tmp_path)
    (tmp_path / folder).parent.mkdir(exist_ok=True)
    (tmp_path / "Annotations").rename(tmp_path / folder)
    (tmp_path / "JPEGImages").rename(tmp_path / ("b" if folder == "a" else "a/images"))
    values = {"images": "b"} if folder == "a" else {}
    source = open_voc(tmp_path, train=folder, **values)
    assert len(source) == 2
    assert source[0].image.shape == (40, 60, 3)


def test_no_objects_at_all_is_an_error(tmp_path):
    build(tmp_path, {"b": xml_of("b")})
    with pytest.raises(
        DataError, match=r"train\.txt: expected objects in the XML files, found none in 1 files"
    ):
        open_voc(tmp_path)


def test_pictures_are_found_by_stem_then_by_the_name_in_the_file(tmp_path):
    file = build(tmp_path)
    save_picture(tmp_path / "JPEGImages/b.jpg")
    assert "JPEGImages/b.png" in open_voc(tmp_path).annotations.files  # as its <filename> says
    file.write_text(file.read_text().replace("<filename>b.png", "<filename>C:\\pictures\\c.png"))
    assert "JPEGImages/b.jpg" in open_voc(tmp_path).annotations.files
    for name in ("b.jpg", "b.png"):
        (tmp_path / "JPEGImages" / name).unlink()
    save_picture(tmp_path / "JPEGImages/c.png")
    assert "JPEGImages/c.png" in open_voc(tmp_path).annotations.files


def test_predictions_have_scores(tmp_path):
    pictures = {"JPEGImages/a.jpg": [((0, 0, 10, 10), 1), ((0.5, 3, 9, 9.5), 0)], "JPEGImages/b.jpg": []}
    expected = annotations_of(pictures, scores=[0.25, 0.75])
    write_voc(tmp_path, CLASSES, expected, Ledger())
    classes, found = read_voc_folder(tmp_path, Ledger(strict=True), CLASSES)
    assert classes is CLASSES
    assert list(found.image_ids) == ["a", "b"]
    assert list(found.files) == ["a.jpg", "b.jpg"]
    assert found.boxes.tolist() == expected.boxes.tolist()
    assert found.labels.tolist() == [1, 0]
    assert found.scores.tolist() == [0.25, 0.75]
    with pytest.raises(DataError, match=r"a, object 1: unknown class 'dog'; choices: cat, eel"):
        read_voc_folder(tmp_path, Ledger(), ClassMap(("cat", "eel")))


def test_no_predictions_at_all_are_read_with_the_classes_of_the_truth(tmp_path):
    write_voc(tmp_path, CLASSES, annotations_of({"a.jpg": []}, scores=[]), Ledger())
    _, found = read_voc_folder(tmp_path, Ledger(), CLASSES)
    assert len(found) == 1 and len(found.boxes) == 0


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_without_xml_files_says_what_it_holds(tmp_path, there):
    if there:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "a.json").write_text("{}")
    with pytest.raises(
        DataError, match="expected a folder of VOC's XML files, found .*" + ("a.json" if there else "")
    ):
        read_voc_folder(tmp_path / "x", Ledger())


def test_whole_numbers_are_written_without_a_fraction(tmp_path):
    (file,) = write_voc(tmp_path, CLASSES, annotations_of({"a.jpg": [((0, 4, 10, 9.5), 1)]}), Ledger())
    text = file.read_text()
    assert "<xmin>1</xmin>" in text and "<ymin>5</ymin>" in text and "<ymax>9.5</ymax>" in text


def test_crowds_are_left_out_and_counted(tmp_path):
    truth = annotations_of({"a.jpg": [((0, 0, 9, 9), 0), ((1, 1, 5, 5), 1)]}, crowd=[True, False])
    ledger = Ledger()
    (file,) = write_voc(tmp_path, CLASSES, truth, ledger)
    assert file.read_text().count("<object>") == 1
    assert [(entry.action, entry.record) for entry in ledger.entries] == [("dropped", "1 boxes")]


def test_two_pictures_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.png: expected each picture once, found 'a' again, as in a\.jpg"):
        write_voc(tmp_path, CLASSES, annotations_of({"a.jpg": [], "a.png": []}), Ledger())


def test_markup_in_a_class_name_is_text(tmp_path):
    classes = ClassMap(("<script>&", "b"))
    write_voc(tmp_path, classes, annotations_of({"a.jpg": [((0, 0, 9, 9), 0)]}), Ledger())
    assert read_voc_folder(tmp_path, Ledger())[0].names == ("<script>&",)


def test_a_written_split_is_read_back(tmp_path):
    pictures = {"JPEGImages/x/a.png": [((1, 2, 3, 4), 2), ((5, 5, 9.25, 9), 0)], "JPEGImages/b.png": []}
    truth = annotations_of(pictures, difficult=[True, False])
    for name in pictures:
        save_picture(tmp_path / name)
    write_voc(tmp_path / "Annotations", CLASSES, truth, Ledger())
    assert write_voc_list(tmp_path, "val", truth).read_text() == "x/a\nb\n"
    source = open_split(tmp_path, "voc", "val", val="val", strict=True, wanted=CLASSES)
    assert_same(source.annotations, truth, columns=("boxes", "labels", "difficult", "area"))
    assert np.all(source.annotations.sizes == (40, 60))
