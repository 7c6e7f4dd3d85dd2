import json

import cv2
import numpy as np
import PIL.Image
import pytest
from pycocotools import mask as coco_mask

from visiontasks.classification.config import ClassificationConfig, DataConfig
from visiontasks.config_files import parse_config
from visiontasks.data import scenes
from visiontasks.data.shapes import CATEGORY_IDS, CLASSES, SPLITS, draw_shapes
from visiontasks.errors import UsageError
from visiontasks.io.files import read_yaml

SIZE = (96, 128)
COUNTS = {"train": 24, "val": 6, "test": 6}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """One data set a task, all of the same seed."""
    root = tmp_path_factory.mktemp("drawn")
    return {
        task: draw_shapes(root / task, task, 36, 7, size=(32, 40) if task == "classification" else SIZE)
        for task in ("classification", "detection", "segmentation")
    }


def _contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _coco(drawn, split):
    return json.loads((drawn["detection"].root / "annotations" / f"{split}.json").read_text())


def _decoded(annotation):
    """What pycocotools paints for an annotation, (H, W) bool."""
    encoded = coco_mask.merge(coco_mask.frPyObjects(annotation["segmentation"], *SIZE))
    return coco_mask.decode(encoded).astype(bool)


@pytest.mark.parametrize("split", SPLITS)
def test_classification_is_a_folder_a_class(drawn, split):
    result = drawn["classification"]
    assert result.counts == COUNTS and result.classes == CLASSES
    files = sorted((result.root / split).glob("*/*"))
    assert {file.parent.name for file in files} == set(CLASSES)
    assert len(files) == COUNTS[split] == len({file.name for file in files})
    for file in files:
        with PIL.Image.open(file) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (40, 32))


def test_classification_s_config_trains_from_this_folder(drawn):
    root = drawn["classification"].root
    values, _ = read_yaml(drawn["classification"].config)
    config = parse_config(ClassificationConfig, values, file="classification.yaml")
    assert config.data.root == str(root.resolve())
    assert config.input.size == (32, 32)  # half of 40 would be too little
    for split in SPLITS:
        assert (root / getattr(config.data, split)).is_dir()
    values, _ = read_yaml(root / "data.yaml")
    assert parse_config(DataConfig, values, file="data.yaml") == config.data


def test_config_holds_any_folder_s_name(tmp_path):
    out = tmp_path / "it's #1: “ä” {x}"
    values, _ = read_yaml(draw_shapes(out, "classification", 18, 0, size=(32, 32)).config)
    assert values["data"]["root"] == str(out.resolve())


@pytest.mark.parametrize("split", SPLITS)
def test_detection_is_coco(drawn, split):
    root, document = drawn["detection"].root, _coco(drawn, split)
    assert [image["id"] for image in document["images"]] == list(range(1, COUNTS[split] + 1))
    assert {path.name for path in (root / "images" / split).iterdir()} == {
        image["file_name"] for image in document["images"]
    }
    for image in document["images"]:
        with PIL.Image.open(root / "images" / split / image["file_name"]) as picture:
            assert (picture.format, picture.height, picture.width) == ("JPEG", *SIZE)
        assert (image["height"], image["width"]) == SIZE
    assert {c["id"]: c["name"] for c in document["categories"]} == dict(
        zip(CATEGORY_IDS, CLASSES, strict=True)
    )
    annotations = document["annotations"]
    assert [a["id"] for a in annotations] == list(range(1, len(annotations) + 1))
    assert {a["category_id"] for a in annotations} == set(CATEGORY_IDS)
    assert {a["image_id"] for a in annotations} == {image["id"] for image in document["images"]}


def test_boxes_and_areas_are_those_of_the_outlines(drawn):
    for annotation in (a for split in SPLITS for a in _coco(drawn, split)["annotations"]):
        x, y, width, height = annotation["bbox"]
        assert 0 <= x and 0 <= y and x + width <= SIZE[1] and y + height <= SIZE[0]
        painted = _decoded(annotation)
        rows, columns = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
        tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert np.abs(np.array([x, y, x + width, y + height]) - tight).max() <= 1
        assert annotation["area"] == pytest.approx(painted.sum(), abs=1.5 * painted.sum() ** 0.5)


def test_masks_agree_with_the_outlines_but_for_one_pixel(drawn):
    """Detection and segmentation of one seed are the same scenes."""
    square = np.ones((3, 3), np.uint8)
    for split in SPLITS:
        document = _coco(drawn, split)
        for image in document["images"]:
            name = image["file_name"].replace(".jpg", ".png")
            mask = np.asarray(PIL.Image.open(drawn["segmentation"].root / "masks" / split / name))
            covered = np.zeros(SIZE, np.uint8)
            for annotation in (a for a in document["annotations"] if a["image_id"] == image["id"]):
                painted = _decoded(annotation).astype(np.uint8)
                label = CATEGORY_IDS.index(annotation["category_id"]) + 1
                assert set(mask[cv2.erode(painted, square) > 0]) <= {label}
                covered |= cv2.dilate(painted, square)
            assert not mask[covered == 0].any()


@pytest.mark.parametrize("split", SPLITS)
def test_segmentation_is_index_masks(drawn, split):
    result = drawn["segmentation"]
    names = (result.root / "classes.txt").read_text().splitlines()
    assert names == ["background", *CLASSES] == list(result.classes)
    masks = sorted((result.root / "masks" / split).iterdir())
    pictures = sorted((result.root / "images" / split).iterdir())
    assert [m.stem for m in masks] == [p.stem for p in pictures] and len(masks) == COUNTS[split]
    seen = set()
    for path in masks:
        with PIL.Image.open(path) as mask:
            assert mask.mode == "P" and (mask.height, mask.width) == SIZE
            seen |= set(np.unique(np.asarray(mask)))
    assert seen == set(range(len(names)))
    for path in pictures:  # the scenes of detection
        assert path.read_bytes() == (drawn["detection"].root / "images" / split / path.name).read_bytes()


def test_some_shapes_hide_parts_of_others_but_never_most():
    hidden = []
    for i in range(20):
        rng = np.random.default_rng(i)
        picture = scenes.draw_picture(rng, SIZE, list(rng.integers(6, size=3)), (0.1, 0.3))
        pixels = [
            coco_mask.decode(
                coco_mask.merge(coco_mask.frPyObjects([p.ravel().tolist() for p in s.polygons], *SIZE))
            )
            for s in picture.shapes
        ]
        assert np.sum(pixels, axis=0).max() <= 2  # neighbours share at most the pixels of their common edge
        boxes = np.array([s.box for s in picture.shapes])
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        meet = np.all((low[:, None] < high[None]) & (low[None] < high[:, None]), axis=-1)
        hidden.append(meet.sum() > len(boxes))
    assert any(hidden) and not all(hidden)


def test_shapes_stand_out_from_their_grounds():
    for i in range(48):
        picture = scenes.draw_picture(np.random.default_rng(i), (64, 64), [i % 6], (0.22, 0.4))
        lab = cv2.cvtColor(picture.image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        inside = np.median(lab[cv2.erode(picture.mask, np.ones((3, 3), np.uint8)) > 0], axis=0)
        around = np.median(lab[picture.mask == 0], axis=0)
        assert np.linalg.norm(inside - around) > 15


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_same_seed_same_bytes_and_more_pictures_keep_the_first(tmp_path, drawn, task):
    size = (32, 40) if task == "classification" else SIZE
    first = _contents(drawn[task].root)
    pictures = {path for path in first if path.suffix in (".png", ".jpg")}
    again = _contents(draw_shapes(tmp_path / "again", task, 36, 7, size=size).root)
    assert {path: data for path, data in again.items() if path.suffix != ".yaml"} == {
        path: data for path, data in first.items() if path.suffix != ".yaml"
    }
    more = _contents(draw_shapes(tmp_path / "more", task, 60, 7, size=size).root)
    assert len(more) > len(first)
    assert {path: more[path] for path in pictures} == {path: first[path] for path in pictures}
    other = _contents(draw_shapes(tmp_path / "other", task, 36, 8, size=size).root)
    assert all(other[path] != first[path] for path in pictures if "masks" not in path.parts)


def test_splits_are_different_pictures(drawn):
    files = [path for path in drawn["detection"].root.rglob("*.jpg")]
    assert len({path.read_bytes() for path in files}) == len(files) == 36


def test_a_drawn_folder_is_drawn_anew_only_when_asked(tmp_path):
    out = tmp_path / "shapes"
    draw_shapes(out, "segmentation", 18, 0, size=(32, 32))
    with pytest.raises(UsageError, match=r"shapes with drawn shapes; choose another, or --overwrite"):
        draw_shapes(out, "classification", 18, 0, size=(32, 32))
    draw_shapes(out, "classification", 18, 0, size=(32, 32), overwrite=True)
    assert {path.name for path in out.iterdir()} == {
        "drawn.json", "train", "val", "test", "data.yaml", "classification.yaml"
    }  # fmt: skip


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_others_are_never_touched(tmp_path, overwrite):
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    with pytest.raises(UsageError, match="with files of yours"):
        draw_shapes(tmp_path, "detection", 18, 0, overwrite=overwrite)
    with pytest.raises(UsageError, match=r"the file .*thesis\.txt"):
        draw_shapes(precious, "detection", 18, 0, overwrite=overwrite)
    assert _contents(tmp_path) == {precious.relative_to(tmp_path): b"years of work"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "detect"}, "unknown task 'detect'; did you mean 'detection'"),
        ({"n": 17}, "at least 18 pictures .* found 17"),
        ({"seed": -1}, "seed of at least 0, found -1"),
        ({"size": (31, 64)}, "at least 32x32 pixels, found 31x64"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        draw_shapes(tmp_path / "out", **{"task": "detection", "n": 18, "seed": 0, **arguments})
    assert not (tmp_path / "out").exists()
