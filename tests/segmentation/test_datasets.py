"""What holds for every format: values and names, faults of masks, splits, counts."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from visiontasks.classes import ClassMap
from visiontasks.errors import DataError, ImageError
from visiontasks.ledger import Ledger
from visiontasks.model import data_section
from visiontasks.segmentation.config import DataConfig
from visiontasks.segmentation.datasets import open_source
from visiontasks.tasks import load_task

from .mask_files import (
    HEIGHT,
    WIDTH,
    add_colour_mask,
    add_mask,
    add_palette_mask,
    add_picture,
    config_of,
    ids_of,
    jpeg_bytes,
    opened,
    stripes,
)

NAMES = ["sky", "road", "car"]


@pytest.fixture
def root(tmp_path):
    """Three pictures of sky, road and car; in c half of the pixels are ignored."""
    for i, (name, values) in enumerate(
        {"a": stripes(0), "b": stripes(0, 1), "c": stripes(2, 255, 1, 255)}.items()
    ):
        add_picture(tmp_path / "train" / f"{name}.jpg", shade=i)
        add_mask(tmp_path / "trainannot" / f"{name}.png", values)
    return tmp_path


def test_a_sample_is_its_picture_mask_and_path(root):
    source = opened(root, ids=NAMES)
    assert source.classes == ClassMap(("sky", "road", "car"), (0, 1, 2))
    assert ids_of(source) == ["train/a.jpg", "train/b.jpg", "train/c.jpg"]
    sample = source[2]
    assert sample.image.shape == (HEIGHT, WIDTH, 3)
    assert sample.target.dtype == np.uint8
    assert np.array_equal(sample.target, stripes(2, 255, 1, 255))
    assert sample.image_id == "train/c.jpg"


def test_values_with_gaps_are_named_and_several_may_be_one_class(root):
    add_mask(root / "trainannot" / "a.png", stripes(7, 26, 200, 24))
    add_mask(root / "trainannot" / "b.png", 24)
    add_mask(root / "trainannot" / "c.png", 255)
    source = opened(root, ids={"being": [24, 200], "road": 7, "car": 26}, ignore=[255])
    assert source.classes == ClassMap(("being", "road", "car"), (24, 7, 26))
    assert np.array_equal(source[0].target, stripes(1, 2, 0, 0))
    assert (source[1].target == 0).all()
    assert (source[2].target == 255).all()


def test_values_of_16_bits(root):
    for name in "abc":
        add_mask(root / "trainannot" / f"{name}.png", stripes(1000, 0, 65535), np.uint16)
    source = opened(root, ids={"ground": 0, "lake": 1000}, ignore=[65535])
    assert np.array_equal(source[0].target, stripes(1, 0, 255))
    with pytest.raises(DataError, match=r"a\.png.*0 ground, 1000 lake\), found 65535 \(12 pixels\)"):
        opened(root, ids={"ground": 0, "lake": 1000})[0]


def test_row_25_palette_masks_hold_indices(root):
    add_palette_mask(root / "trainannot" / "b.png", stripes(2, 1, 0))
    assert np.array_equal(opened(root, ids=NAMES)[1].target, stripes(2, 1, 0))


def test_the_order_of_names_is_the_configs(root):
    source = opened(root, ids=NAMES, classes=["car", "sky", "road"])
    assert source.classes == ClassMap(("car", "sky", "road"), (2, 0, 1))
    assert np.array_equal(source[2].target, stripes(0, 255, 2, 255))


def test_classes_can_be_renamed_and_ignored(root):
    source = opened(root, ids=NAMES, classes={"car": "vehicle"}, ignore=["sky"])
    assert source.classes.names == ("road", "vehicle")
    assert (source[0].target == 255).all()
    assert np.array_equal(source[1].target, stripes(255, 0))


def test_names_come_from_classes_txt_or_the_list_of_classes(root):
    assert opened(root, classes=NAMES).classes.names == ("sky", "road", "car")
    (root / "classes.txt").write_bytes("\ufeffsky\r\nroad\r\ncar\r\n\r\n".encode())
    assert opened(root).classes.names == ("sky", "road", "car")
    assert opened(root, classes=["car", "road", "sky"])[1].target[0].tolist() == [2, 1] * 4


def test_the_indices_are_those_of_the_classes_asked_for(root):
    source = opened(root, ids=NAMES, strict=True)
    wanted = ClassMap(("car", "bike", "road", "sky"))
    asked = open_source(config_of(root, ids=NAMES), "train", Ledger(strict=True), wanted)
    assert asked.classes == wanted
    assert np.array_equal(asked[1].target, stripes(3, 2))
    assert asked.fingerprint != source.fingerprint
    with pytest.raises(DataError, match=r"unknown class 'car'; .*choices: cars, road, sky"):
        open_source(
            config_of(root, ids=NAMES), "train", Ledger(strict=True), ClassMap(("sky", "road", "cars"))
        )


NAMING_FAULTS = {
    "nothing says": ({}, "expected names for the masks' values, found none; set data.ids"),
    "unknown name to ignore": ({"ids": NAMES, "ignore": ["void"]}, "data.ignore: unknown class 'void'"),
    "named and ignored": ({"ids": NAMES, "ignore": [2]}, "found 2 as 'car' and in data.ignore"),
    "value out of range": ({"ids": NAMES, "ignore": [65536]}, "values of 0 to 65535 .* found 65536"),
    "order lacks one": ({"ids": NAMES, "classes": ["sky", "road"]}, "unknown class 'car'"),
    "order has one more": (
        {"ids": NAMES, "classes": [*NAMES, "bus"]},
        "expected a value for each class, found none for 1: bus",
    ),
    "two become one": ({"ids": NAMES, "classes": {"car": "sky"}}, "found twice: sky"),
}


@pytest.mark.parametrize("case", NAMING_FAULTS)
def test_names_that_do_not_fit_are_refused(root, case):
    values, message = NAMING_FAULTS[case]
    with pytest.raises(DataError, match=message) as caught:
        opened(root, **values)
    assert "\n" not in str(caught.value)


def test_a_faulty_classes_txt_is_named(root):
    (root / "classes.txt").write_text("sky\nroad\nsky\n")
    with pytest.raises(DataError, match=r"classes\.txt: .*all different, found 'sky' twice"):
        opened(root)
    (root / "classes.txt").write_text("sky\n\nroad\n")
    with pytest.raises(DataError, match="found an empty line"):
        opened(root)


def test_row_27_unknown_values_are_listed_with_their_pixels(root):
    add_mask(root / "trainannot" / "b.png", stripes(0, 9, 1, 9, 9, 17, 1, 1))
    with pytest.raises(DataError) as caught:
        opened(root, ids=NAMES)[1]
    assert str(caught.value) == (
        f"{root / 'trainannot' / 'b.png'}: expected the values of the classes (0 sky, 1 road, 2 car), "
        "found 9 (18 pixels), 17 (6 pixels); name them in data.ids, or list them in data.ignore"
    )
    with pytest.raises(DataError, match=r"b\.png"):
        opened(root, ids=NAMES).class_pixels()


def test_row_26_a_jpeg_mask_is_refused(root):
    for name in ("b.jpg", "b.png"):  # by content, not by name
        (root / "trainannot" / "b.png").unlink(missing_ok=True)
        (root / "trainannot" / name).write_bytes(jpeg_bytes(stripes(0, 1)))
        with pytest.raises(DataError, match=r"b\.\w+: expected a mask in a lossless format .* found a JPEG"):
            opened(root, ids=NAMES)[1]
        (root / "trainannot" / name).unlink()


@pytest.mark.parametrize("size", [(HEIGHT + 1, WIDTH), (HEIGHT, WIDTH - 1)])
def test_row_28_a_mask_of_another_size_is_refused(root, size):
    add_mask(root / "trainannot" / "b.png", np.zeros(size))
    with pytest.raises(DataError) as caught:
        opened(root, ids=NAMES)[1]
    assert f"{root / 'trainannot' / 'b.png'}: expected the size of its picture train/b.jpg" in str(
        caught.value
    )
    assert f"6 x 8 (height x width), found {size[0]} x {size[1]}" in str(caught.value)


def test_a_missing_mask_is_an_error_that_lists_it(root):
    (root / "trainannot" / "b.png").unlink()
    with pytest.raises(DataError, match=r"trainannot: .* found none for 1 of 3: train/b\.jpg; add them"):
        opened(root, ids=NAMES)


@pytest.mark.parametrize("values", [255, stripes(0, 255)])
def test_masks_of_0_and_255_are_refused_until_they_are_explained(root, values):
    for name in "abc":
        add_mask(root / "trainannot" / f"{name}.png", values)
    with pytest.raises(
        DataError, match=r"a\.png: expected class indices, found only .*255; say what they mean"
    ):
        opened(root, ids=["ground", "object"])[0]
    mapped = opened(root, ids={"ground": 0, "object": 255})[0].target
    assert set(np.unique(mapped)) <= {0, 1}
    assert mapped[0, 1] == 1
    assert opened(root, ids=["ground", "object"], ignore=[255])[0].target[0, 1] == 255


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n truncated"])
def test_a_damaged_mask_is_an_error_and_no_skipped_picture(root, content):
    (root / "trainannot" / "b.png").write_bytes(content)
    with pytest.raises(DataError, match=r"trainannot/b\.png") as caught:
        opened(root, ids=NAMES)[1]
    assert not isinstance(caught.value, ImageError)


def test_a_mask_in_colours_says_what_to_do(root):
    add_colour_mask(root / "trainannot" / "b.png", (1, 2, 3))
    with pytest.raises(DataError, match=r"b\.png: expected one index a pixel, found colours"):
        opened(root, ids=NAMES)[1]


def test_counts_of_pixels(root):
    source = opened(root, ids=NAMES)
    pixels, around = source.class_pixels()
    size = HEIGHT * WIDTH
    assert pixels.dtype == around.dtype == np.int64
    assert pixels.tolist() == [size + size // 2, size // 2 + size // 4, size // 4]
    assert around.tolist() == [2 * size, size + size // 2, size // 2]  # ignored pixels do not count
    assert source.class_pixels()[0] is pixels  # counted once


def test_holdout_keeps_a_share_that_names_alone_decide(tmp_path):
    for i in range(20):
        add_picture(tmp_path / "train" / f"{i}.png")
        add_mask(tmp_path / "trainannot" / f"{i}.png", 0)
    values = {"ids": ["sky"], "holdout": 0.25}
    train, val = (opened(tmp_path, split, **values) for split in ("train", "val"))
    assert (len(train), len(val)) == (15, 5)
    assert sorted(ids_of(train) + ids_of(val)) == ids_of(opened(tmp_path, ids=["sky"]))
    assert ids_of(opened(tmp_path, "val", **values, seed=1)) != ids_of(val)
    assert ids_of(opened(tmp_path, "val", **values)) == ids_of(val)


def test_splits_can_be_joined(root):
    add_picture(root / "val" / "a.jpg")
    add_mask(root / "valannot" / "a.png", 2)
    source = opened(root, train="train + val", ids=NAMES)
    assert ids_of(source) == ["train/a.jpg", "train/b.jpg", "train/c.jpg", "val/a.jpg"]
    assert (source[3].target == 2).all()
    with pytest.raises(DataError, match=r"each picture once .* found train/a\.jpg twice"):
        opened(root, train="train+train", ids=NAMES)


def test_a_plus_may_be_part_of_a_name(root):
    for kind in ("", "annot"):
        (root / f"train{kind}").rename(root / f"a+b{kind}")
    assert ids_of(opened(root, train="a+b", ids=NAMES))[0] == "a+b/a.jpg"


def test_a_split_that_is_not_set_is_named(root):
    with pytest.raises(DataError, match=r"expected a val split, found data\.val: null; .*holds: train/"):
        opened(root, "val", ids=NAMES)


def test_the_fingerprint_knows_pictures_masks_and_names(root):
    first = opened(root, ids=NAMES).fingerprint
    assert opened(root, ids=NAMES).fingerprint == first
    assert opened(root, ids=["sky", "road", "bus"]).fingerprint != first
    assert opened(root, ids={"sky": [0, 3], "road": 1, "car": 2}).fingerprint != first
    path = root / "trainannot" / "a.png"
    add_mask(path, 1)
    size, second = path.stat().st_size, opened(root, ids=NAMES).fingerprint
    add_mask(path, 2)
    assert path.stat().st_size == size  # the content counts
    assert len({first, second, opened(root, ids=NAMES).fingerprint}) == 3


def test_a_source_travels_to_other_processes(root):
    source = opened(root, ids=NAMES)
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(copy[2].target, source[2].target)
    assert copy.classes == source.classes
    assert copy.ledger.entries == source.ledger.entries


def test_inputs_are_not_modified(root):
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    source = opened(root, ids=NAMES)
    source.class_pixels()
    source[0].target[:] = 9
    assert source[0].target[0, 0] == 0
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("damage", [b"", b"no picture"])
def test_row_31_a_picture_that_cannot_be_read_is_an_image_error(root, damage):
    (root / "train" / "b.jpg").write_bytes(damage)
    with pytest.raises(ImageError, match=r"train/b\.jpg"):
        opened(root, ids=NAMES)[1]


def test_row_34_large_pictures_and_masks_are_refused_before_decoding(root):
    with pytest.raises(ImageError, match=f"expected at most {HEIGHT * WIDTH - 1} pixels"):
        opened(root, ids=NAMES, max_pixels=HEIGHT * WIDTH - 1)[0]


def test_row_34_pixels_are_counted_without_the_pictures_that_are_skipped(root):
    large = (HEIGHT + 1, WIDTH)
    add_picture(root / "train" / "b.jpg", large)
    add_mask(root / "trainannot" / "b.png", np.ones(large))
    (root / "train" / "c.jpg").write_bytes(b"")
    source = opened(root, ids=NAMES, max_pixels=HEIGHT * WIDTH)
    pixels, _ = source.class_pixels()
    assert pixels.tolist() == np.bincount(source[0].target.ravel(), minlength=3)[:3].tolist()
    skipped = list(source.ledger.entries)
    assert [entry.action for entry in skipped] == ["skipped"] * 2
    for place, entry in enumerate(skipped, 1):  # what the loader writes: nothing is counted twice
        with pytest.raises(ImageError) as caught:
            source[place]
        assert (entry.file, entry.reason) == caught.value.file_and_reason
    assert (
        "expected at most 48 pixels, found 7 x 8; raise --max-pixels, or data.max_pixels" in skipped[0].reason
    )
    with pytest.raises(DataError, match=r"b\.jpg.*strict"):
        opened(root, ids=NAMES, max_pixels=HEIGHT * WIDTH, strict=True).class_pixels()


def test_row_34_a_large_mask_of_a_small_picture_is_an_error(root):
    add_mask(root / "trainannot" / "b.png", np.ones((HEIGHT + 1, WIDTH)))
    with pytest.raises(DataError, match=r"b\.png: expected at most 48 pixels, .* data\.max_pixels"):
        opened(root, ids=NAMES, max_pixels=HEIGHT * WIDTH).class_pixels()


@pytest.mark.parametrize("source", ["data.ids", "classes.txt", "data.classes"])
def test_map_class_keeps_the_names_of_masks_or_says_where_they_went(root, source):
    """A list in data.classes gives way: it is an order only, unless nothing else names the masks."""
    names = ["sky", "road", "automobile"]
    values = {"root": str(root), "test": "train", "classes": names}
    if source == "data.ids":
        values["ids"] = names
    elif source == "classes.txt":
        (root / "classes.txt").write_text("\n".join(names))
    (root / "data.yaml").write_text(json.dumps(values))
    classes = ClassMap(("car", "road", "sky"))
    model = SimpleNamespace(name="a model", classes=classes, task=load_task("segmentation"))
    config = data_section(model, root / "data.yaml", {"automobile": "car"})
    if source == "data.classes":
        with pytest.raises(
            DataError, match=r"found only data\.classes: \{old: new\} \(--map-class .*set data\.ids"
        ):
            open_source(config, "test", Ledger(), classes)
    else:
        found = open_source(config, "test", Ledger(), classes)
        expected = opened(root, ids=NAMES)
        turned = np.array([2, 1, 0] + [255] * 253, np.uint8)
        for i in range(len(found)):
            assert np.array_equal(found[i].target, turned[expected[i].target])


def test_row_33_a_wrong_extension_is_noted_and_strict_refuses_it(root):
    (root / "train" / "b.jpg").unlink()
    add_picture(root / "train" / "b.png")
    (root / "train" / "b.png").rename(root / "train" / "b.jpg")
    source = opened(root, ids=NAMES)
    assert source[1].image.shape == (HEIGHT, WIDTH, 3)
    (entry,) = source.ledger.entries
    assert (entry.action, entry.file) == ("repaired", str(root / "train" / "b.jpg"))
    with pytest.raises(DataError, match=r"b\.jpg.*strict"):
        opened(root, ids=NAMES, strict=True)[1]


def test_row_29_a_mask_lies_on_the_upright_picture(root):
    lying = PIL.Image.new("RGB", (HEIGHT, WIDTH))  # WIDTH high, as the camera held it
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    lying.save(root / "train" / "b.jpg", exif=exif)
    sample = opened(root, ids=NAMES)[1]
    assert sample.image.shape[:2] == sample.target.shape == (HEIGHT, WIDTH)


def test_opening_leaves_torch_and_albumentations_alone():
    code = (
        "import sys; import visiontasks.segmentation, visiontasks.segmentation.datasets;"
        "print(sorted({'torch', 'albumentations', 'matplotlib', 'pycocotools'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


CAMVID = Path(os.environ.get("VISIONTASKS_DATA", "../shared/data")) / "camvid"


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"no real data at {CAMVID}")
def test_camvid():
    names = "sky building pole road pavement tree sign-symbol fence car pedestrian bicyclist".split()
    config = DataConfig(root=str(CAMVID.resolve()), train="train", val="val", ids=tuple(names), ignore=(11,))
    source = open_source(config, "val", Ledger(strict=True))
    assert len(source) == 101
    sample = source[50]
    assert sample.image.shape == (360, 480, 3)
    pixels, around = source.class_pixels()
    assert pixels.min() > 0
    assert pixels.sum() < 101 * 360 * 480
    assert pixels[0] / around[0] == pytest.approx(0.0934, abs=5e-4)
