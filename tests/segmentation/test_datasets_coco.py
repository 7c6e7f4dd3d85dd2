"""Format `coco`: polygons and run lengths painted to masks."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from visiontasks.data.shapes import draw_shapes
from visiontasks.errors import DataError, ImageError
from visiontasks.segmentation.datasets.painting import encode_run_length

from .mask_files import HEIGHT, WIDTH, add_picture, ids_of, opened

SIZE = (HEIGHT, WIDTH)
SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]  # pixels 1..4 of rows 1..4


def document(*annotations, **changes):
    return {
        "info": {},
        "images": [{"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [
            {"id": i, "image_id": 7, "iscrowd": 0, **annotation}
            for i, annotation in enumerate(annotations, 1)
        ],
        "categories": [{"id": 17, "name": "cat"}, {"id": 3, "name": "car"}],
        **changes,
    }


def open_coco(root, content, **values):
    add_picture(root / "images" / "a.jpg")
    (root / "train.json").write_text(json.dumps(content))
    return opened(root, format="coco", train="train.json", **values)


def open_one(root, segmentation, category=17, **values):
    return open_coco(root, document({"category_id": category, "segmentation": segmentation}), **values)


def square(index, background=0):
    mask = np.full(SIZE, background, np.uint8)
    mask[1:5, 1:5] = index
    return mask


def test_a_polygon_is_painted_and_the_rest_is_background(tmp_path):
    source = open_one(tmp_path, [SQUARE])
    assert source.classes.names == ("background", "car", "cat")
    assert source.classes.file_ids == (0, 3, 17)
    assert ids_of(source) == ["images/a.jpg"]
    assert np.array_equal(source[0].target, square(2))


@pytest.mark.parametrize("compressed", [True, False])
def test_a_run_length_is_painted(tmp_path, compressed):
    shown = square(1).astype(bool)
    encoded = encode_run_length(shown)
    if not compressed:
        runs = np.diff(np.flatnonzero(np.diff(np.r_[2, shown.T.ravel(), 2])))
        encoded = {"size": list(SIZE), "counts": [int(run) for run in runs]}
    assert np.array_equal(open_one(tmp_path, encoded, category=3)[0].target, square(1))


def test_smaller_objects_are_painted_over_larger_ones_in_any_order(tmp_path):
    everything = [0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]
    objects = [
        {"category_id": 17, "segmentation": [SQUARE]},
        {"category_id": 3, "segmentation": [everything]},
    ]
    for annotations in (objects, objects[::-1]):
        target = open_coco(tmp_path, document(*annotations))[0].target
        assert np.array_equal(target, square(2, background=1))


def test_the_parts_of_an_object_are_one(tmp_path):
    parts = [[0, 0, 2, 0, 2, 2, 0, 2], [4, 4, 6, 4, 6, 6, 4, 6]]
    target = open_one(tmp_path, parts)[0].target
    assert (target[:2, :2] == 2).all()
    assert (target[4:6, 4:6] == 2).all()
    assert (target == 2).sum() == 8


def test_a_category_that_is_called_background_is_it(tmp_path):
    categories = [{"id": 5, "name": "background"}, {"id": 17, "name": "cat"}]
    content = document({"category_id": 17, "segmentation": [SQUARE]}, categories=categories)
    source = open_coco(tmp_path, content)
    assert source.classes.names == ("background", "cat")
    assert source.classes.file_ids == (5, 17)
    assert np.array_equal(source[0].target, square(1))


def test_what_is_not_painted_can_be_ignored_and_categories_too(tmp_path):
    source = open_one(tmp_path, [SQUARE], ignore=["background"])
    assert source.classes.names == ("car", "cat")
    assert np.array_equal(source[0].target, square(1, background=255))
    assert np.array_equal(open_one(tmp_path, [SQUARE], ignore=[17])[0].target, square(255))
    with pytest.raises(DataError, match=r"data\.ignore: unknown category 'dog'"):
        open_one(tmp_path, [SQUARE], ignore=["dog"])


def test_row_16_a_picture_without_annotations_is_background(tmp_path):
    assert (open_coco(tmp_path, document())[0].target == 0).all()


ROW_13 = {
    "two points": ([1, 1, 5, 5], "fewer than three points"),
    "odd": ([1, 1, 5, 1, 5, 5, 1], "an odd count of numbers"),
    "empty": ([], "fewer than three points"),
}


@pytest.mark.parametrize("case", ROW_13)
def test_row_13_a_bad_part_is_dropped_and_counted(tmp_path, case):
    part, reason = ROW_13[case]
    source = open_one(tmp_path, [SQUARE, part])
    assert np.array_equal(source[0].target, square(2))
    (entry,) = source.ledger.entries
    assert (entry.reason, entry.record) == (f"polygon part with {reason}", "annotations[0].segmentation[1]")
    with pytest.raises(DataError, match="strict"):
        open_one(tmp_path, [SQUARE, part], strict=True)


@pytest.mark.parametrize("segmentation", [None, [], [[1, 1, 2]]])
def test_an_annotation_without_a_usable_segmentation_is_dropped(tmp_path, segmentation):
    source = open_one(tmp_path, segmentation)
    assert (source[0].target == 0).all()
    assert any("annotations without a segmentation" in str(entry) for entry in source.ledger.entries)


@pytest.mark.parametrize("change", [-1, 1])
def test_row_14_a_run_length_of_another_sum_is_refused(tmp_path, change):
    encoded = {"size": list(SIZE), "counts": [HEIGHT * WIDTH - 5, 5 + change]}
    with pytest.raises(DataError, match=r"annotations\[0\]: .*sum to 6 x 8 = 48 pixels, found 4[79]"):
        open_one(tmp_path, encoded)


@pytest.mark.parametrize(
    "counts", [None, 3, ["1"], [1.5, 46.5], "\u00e9", "P", "\x00", "o" * 40, [2**70], [-1, 49]]
)
def test_row_14_what_is_no_run_length_is_refused(tmp_path, counts):
    with pytest.raises(DataError, match=r"train\.json, annotations\[0\]: expected"):
        open_one(tmp_path, {"size": list(SIZE), "counts": counts})


def test_row_14_a_run_length_of_another_size_is_refused(tmp_path):
    encoded = {"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}
    with pytest.raises(DataError, match=r"annotations\[0\]: .*picture's size \[6, 8\], found \[8, 6\]"):
        open_one(tmp_path, encoded)


@pytest.mark.parametrize("part", [[1, 1, 1e9, 1, 5, 5], [1, 1, -1e300, 1, 5, 5], [1, 1, 10**400, 1, 5, 5]])
def test_numbers_far_outside_the_picture_are_refused(tmp_path, part):
    with pytest.raises(DataError, match=r"annotations\[0\]: expected polygons"):
        open_one(tmp_path, [part])


FAULTS = {
    "not numbers": (
        document({"category_id": 3, "segmentation": [["a", "b"] * 3]}),
        r"\[0\]: expected polygons as",
    ),
    "text": (
        document({"category_id": 3, "segmentation": "abc"}),
        r"\[0\]: expected polygons or a run length",
    ),
    "category": (
        document({"category_id": 4, "segmentation": [SQUARE]}),
        r"\[0\]: expected category_id to be one of the file's 2 \(3, 17\), found 4",
    ),
    "picture": (
        document({"category_id": 3, "image_id": 8}),
        r"\[0\]: expected image_id to be one .*\(7\), found 8",
    ),
    "row 5": (
        document({"category_id": 3}, {"category_id": 17, "id": 1}),
        r"annotations\[1\]: expected each id once, found 1, as in annotations\[0\]; renumber them",
    ),
    "row 6, collision": (
        document({"category_id": 3}, {"category_id": 17, "id": "1"}),
        r"annotations\[1\]: expected each id once, found 1, as in annotations\[0\]",
    ),
    "row 6, pictures": (
        document(images=[{"id": ident, "file_name": f"{ident!r}.jpg"} for ident in (7, "7")]),
        r"images\[1\]: expected each id once, found 7, as in images\[0\]",
    ),
    "row 8": (
        document({"category_id": 3, "ignore": 1}),
        r"annotations\[0\]: expected no ignore=1 without iscrowd=1 .* set iscrowd=1",
    ),
    "crowd": (
        document({"category_id": 3, "iscrowd": 2}),
        r"annotations\[0\]: expected iscrowd 0 or 1, found 2",
    ),
    "picture twice": (
        document(images=[{"id": i, "file_name": name} for i, name in enumerate(["a.jpg", "./a.jpg"])]),
        r"images\[1\]: expected each picture once, found 'a\.jpg' again, as in .*images\[0\]",
    ),
    "no pictures": (document(images=[]), "expected a picture at least under 'images', found none"),
    "twice": (document(categories=[{"id": 3, "name": "a"}] * 2), r"categories\[1\]: expected each id once"),
    "names": (document(categories=[{"id": i, "name": "a"} for i in (1, 2)]), r"categories: .*found twice: a"),
    "no name": (document(categories=[{"id": 1}]), r"categories\[0\]: expected a category with a name"),
    "no list": ({"images": [], "annotations": []}, "found annotations, images; add categories"),
    "leads out": (
        document(images=[{"id": 7, "file_name": "../a.jpg", "height": 6, "width": 8}]),
        r"images\[0\]: .*which has '\.\.' in it",
    ),
    "elsewhere": (
        document(images=[{"id": 7, "file_name": "b.jpg", "height": 6, "width": 8}]),
        r"expected its pictures \('b\.jpg', \.\.\.\) .*found none in \./, images/, train/",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_file_is_named_with_its_record(tmp_path, case):
    content, message = FAULTS[case]
    if case == "leads out":
        add_picture(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=rf"(?s)train\.json.*{message}"):
        open_coco(tmp_path / "root", content)


def test_row_28_a_picture_of_another_size_is_refused(tmp_path):
    content = document(images=[{"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH + 1}])
    with pytest.raises(
        DataError, match=r"images\[0\]: expected the size of its picture images/a\.jpg, 6 x 8"
    ):
        open_coco(tmp_path, content)[0]


def pictures(*names, **keys):
    """Records of pictures, ids from 7, without sizes."""
    return [{"id": i, "file_name": name, **keys} for i, name in enumerate(names, 7)]


@pytest.mark.parametrize("keys", [{}, {"height": None, "width": None}, {"height": HEIGHT}, {"width": 0}])
def test_row_7_sizes_come_from_the_pictures_where_the_file_does_not_say_them(tmp_path, keys):
    content = document({"category_id": 17, "segmentation": [SQUARE]}, images=pictures("a.jpg", **keys))
    source = open_coco(tmp_path, content)
    assert np.array_equal(source[0].target, square(2))
    assert [str(entry) for entry in source.ledger.entries] == [
        f"repaired {tmp_path / 'train.json'}, images[0]: no height and width: the picture's"
    ]
    with pytest.raises(DataError, match="strict"):
        open_coco(tmp_path, content, strict=True)


@pytest.mark.parametrize("damage", [None, b"", b"no picture"])
@pytest.mark.parametrize("segmentation", [[SQUARE], {"size": list(SIZE), "counts": [HEIGHT * WIDTH]}])
def test_rows_30_and_31_a_picture_of_no_known_size_is_skipped_alone(tmp_path, damage, segmentation):
    annotations = [
        {"category_id": 3, "segmentation": segmentation, "image_id": 8},
        {"category_id": 17, "segmentation": [SQUARE]},
    ]
    if damage is not None:
        add_picture(tmp_path / "images" / "b.jpg")
        (tmp_path / "images" / "b.jpg").write_bytes(damage)
    source = open_coco(tmp_path, document(*annotations, images=pictures("a.jpg", "b.jpg")))
    assert np.array_equal(source[0].target, square(2))
    with pytest.raises(ImageError, match=r"images/b\.jpg: expected a picture") as caught:
        source[1]
    (repaired,) = source.ledger.entries
    assert repaired.record == "images[0] and 1 more"
    pixels, _ = source.class_pixels()
    assert pixels.tolist() == [HEIGHT * WIDTH - 16, 0, 16]
    (entry,) = [entry for entry in source.ledger.entries if entry.action == "skipped"]
    assert (entry.file, entry.reason) == caught.value.file_and_reason  # as the loader's: counted once


def test_a_picture_that_appears_after_opening_is_named(tmp_path):
    annotation = {"category_id": 3, "segmentation": [SQUARE], "image_id": 8}
    source = open_coco(tmp_path, document(annotation, images=pictures("a.jpg", "b.jpg")))
    add_picture(tmp_path / "images" / "b.jpg")
    with pytest.raises(DataError, match=r"train\.json, images\[1\]: expected height and width, or a picture"):
        source[1]


@pytest.mark.parametrize("name", ["/etc/hostname", "../a.jpg", "x/../../a.jpg"])
@pytest.mark.parametrize("values", [{}, {"images": "images"}])
def test_row_36_a_path_far_down_the_list_that_leads_out_is_refused(tmp_path, name, values):
    add_picture(tmp_path / "a.jpg")
    images = pictures("a.jpg", *(f"{i}.jpg" for i in range(50)), name, height=HEIGHT, width=WIDTH)
    with pytest.raises(DataError, match=r"train\.json, images\[51\]: .*expected a path"):
        open_coco(tmp_path / "root", document(images=images), **values)


def test_the_folder_of_the_pictures_can_be_set(tmp_path):
    add_picture(tmp_path / "photos" / "train" / "a.jpg")
    source = open_coco(tmp_path, document(), images="photos/{split}")
    assert ids_of(source) == ["photos/train/a.jpg"]
    with pytest.raises(
        DataError, match=r"train\.json: expected its pictures .*found none in photos/; set data"
    ):
        open_coco(tmp_path, document(), images="photos")


TEXT_IDS = {
    "picture": document(images=[{"id": "7", "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}]),
    "category": document(categories=[{"id": "17", "name": "cat"}, {"id": 3, "name": "car"}]),
    "annotation's picture": document({"image_id": "7"}),
    "annotation": document({"id": "1"}),
}
AN_OBJECT = {"id": 90, "image_id": 7, "category_id": 17, "iscrowd": 0, "segmentation": [SQUARE]}


@pytest.mark.parametrize("case", TEXT_IDS)
def test_row_6_an_id_that_is_a_number_as_text_is_repaired(tmp_path, case):
    content = TEXT_IDS[case]
    content["annotations"] = [AN_OBJECT | annotation for annotation in content["annotations"] or [{}]]
    source = open_coco(tmp_path, content)
    assert source.classes.file_ids == (0, 3, 17)
    assert np.array_equal(source[0].target, square(2))
    (entry,) = source.ledger.entries
    assert (entry.action, entry.record[-3:]) == ("repaired", "[0]")
    assert "written as text: taken as a number" in entry.reason
    with pytest.raises(DataError, match="strict"):
        open_coco(tmp_path, content, strict=True)


def test_ids_that_are_texts_stay_texts(tmp_path):
    text = (
        json.dumps(document(AN_OBJECT)).replace('"id": 7', '"id": "left"').replace('_id": 7', '_id": "left"')
    )
    source = open_coco(tmp_path, json.loads(text), strict=True)
    assert np.array_equal(source[0].target, square(2))


def test_polygons_agree_with_another_painter(tmp_path):
    polygon = [2.5, 1.0, 17.5, 4.0, 13.0, 15.5, 6.0, 12.0]
    content = document(
        {"category_id": 17, "segmentation": [polygon]},
        images=[{"id": 7, "file_name": "large.png", "height": 18, "width": 20}],
    )
    add_picture(tmp_path / "large.png", (18, 20))
    painted = open_coco(tmp_path, content)[0].target == 2
    canvas = Image.new("L", (8 * 20, 8 * 18))
    ImageDraw.Draw(canvas).polygon([8 * x for x in polygon], fill=1)
    share = np.asarray(canvas).reshape(18, 8, 20, 8).mean(axis=(1, 3))  # of each pixel that is inside
    assert painted[share == 1].all()
    assert not painted[share == 0].any()
    assert painted.sum() == pytest.approx(share.sum(), rel=0.05)


def test_drawn_shapes_of_detection_open_as_they_are(tmp_path):
    root = tmp_path / "shapes"
    draw_shapes(root, "detection", 18, 0, size=(48, 64))
    draw_shapes(tmp_path / "masks", "segmentation", 18, 0, size=(48, 64))
    source = opened(root, format="coco", train="annotations/train.json", strict=True)
    drawn = opened(tmp_path / "masks", strict=True)
    assert source.classes.names == drawn.classes.names
    assert source.classes.file_ids == (0, 1, 3, 4, 8, 13, 21)
    agree = np.mean([(source[i].target == drawn[i].target).mean() for i in range(len(drawn))])
    assert agree > 0.97  # outlines are painted by another rule; shapes that overlap in another order
