"""Masks in another format: each pixel, each name and each ignored pixel comes back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visiontasks.errors import DataError
from visiontasks.io.images import encode_mask
from visiontasks.ledger import Ledger
from visiontasks.segmentation.config import DataConfig
from visiontasks.segmentation.data_tools import DATA_TOOLS
from visiontasks.segmentation.data_writers import WRITERS
from visiontasks.segmentation.datasets import open_source

from .mask_files import add_colour_mask, add_mask, add_picture, opened, stripes

NAMES = st.text("abcZé ,'\"#:-", min_size=1, max_size=6).map(str.strip).filter(bool)


def reopened(folder, written, split="train"):
    config = DataConfig.model_validate({"root": str(folder), **written.values})
    return open_source(config, split, Ledger(strict=True))


def convert(source, folder, name, split="train"):
    """A source in another format, its pictures copied."""
    ledger = Ledger()
    written = WRITERS[name](folder, {split: source}, ledger)
    for file, picture in zip(source.files, written.pictures[split], strict=True):
        target = folder / picture
        target.parent.mkdir(parents=True, exist_ok=True)
        assert not target.exists()
        target.write_bytes((source.root / file).read_bytes())
    return reopened(folder, written, split), ledger


def make(root, names, masks, **values):
    for i, mask in enumerate(masks):
        add_picture(root / "train" / f"{i}.png", size=mask.shape, shade=i)
        path = root / "trainannot" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_mask(mask))
    return opened(root, ids=names, ignore=[255], **values)


@st.composite
def labelled(draw):
    """Names, and masks of them with ignored pixels here and there."""
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    if draw(st.booleans()) and "background" not in names:
        names.insert(draw(st.integers(0, len(names))), "background")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = []
    for _ in range(draw(st.integers(1, 3))):
        size = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
        values = np.array([*range(len(names)), 255])[: draw(st.integers(1, len(names) + 1))]
        masks.append(rng.choice(values, size).astype(np.uint8))
    return names, masks


@settings(max_examples=8, deadline=None)
@given(case=labelled())
def test_a_round_trip_through_each_pair_of_formats_is_the_identity(case, tmp_path_factory):
    names, masks = case
    root = tmp_path_factory.mktemp("masks")
    source = make(root / "own", names, masks)
    for first in WRITERS:
        between, _ = convert(source, root / first, first)
        for second in WRITERS:
            last, _ = convert(between, root / f"{first}-{second}", second)
            assert last.classes.names == tuple(names)
            assert len(last) == len(masks)
            for i, mask in enumerate(masks):
                assert np.array_equal(last[i].target, mask)


@pytest.mark.parametrize("name", WRITERS)
def test_as_many_classes_as_a_mask_can_hold(tmp_path, name):
    names = [f"c{i}" for i in range(254)] + ["background"]
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    converted, _ = convert(make(tmp_path / "own", names, [mask]), tmp_path / "new", name)
    assert converted.classes.names == tuple(names)
    assert np.array_equal(converted[0].target, mask)


@pytest.mark.parametrize("name", WRITERS)
def test_pictures_of_one_name_stay_apart(tmp_path, name):
    files = ("x/.a.jpg", "x/a.jpg", "x/A.png", "x/a-2.bmp", "x/b/a.jpg")
    masks = [f"m/{i}.png" for i in range(len(files))]
    for i, file in enumerate(files):
        add_picture(tmp_path / file, shade=50 * i)
        add_mask(tmp_path / masks[i], stripes(i, 255))
    lines = "".join(f"{file}\t{mask}\n" for file, mask in zip(files, masks, strict=True))
    (tmp_path / "l.txt").write_text(lines)
    source = opened(tmp_path, format="list", train="l.txt", ids=list("abcde"), ignore=[255])
    converted, _ = convert(source, tmp_path / "new", name)
    assert len(converted) == len(files)
    for i in range(len(files)):
        sample = converted[i]
        assert np.array_equal(sample.target, stripes(round(sample.image[0, 0, 0] / 50), 255))


def test_splits_lie_side_by_side(tmp_path):
    sources = {}
    for split in ("train", "val"):
        add_picture(tmp_path / split / "a.jpg")
        add_mask(tmp_path / f"{split}annot" / "a.png", 0 if split == "train" else 1)
    for split in ("train", "val"):
        sources[split] = opened(tmp_path, split, val="val", ids=["a", "b"])
    for name, write in WRITERS.items():
        written = write(tmp_path / name, sources, Ledger())
        assert written.pictures == {"train": ["images/train/a.jpg"], "val": ["images/val/a.jpg"]}
        for split, index in (("train", 0), ("val", 1)):
            add_picture(tmp_path / name / "images" / split / "a.jpg")
            assert (reopened(tmp_path / name, written, split)[0].target == index).all()


def test_the_datas_own_colours_are_kept_and_the_ignored_one_is_another(tmp_path):
    table = {"red": "#ff0000", "last": "#e0e0c0"}  # the latter is VOC's colour of 255
    add_picture(tmp_path / "own" / "train" / "a.png")
    palette = np.array([[255, 0, 0], [224, 224, 192], [1, 2, 3]], np.uint8)
    add_colour_mask(tmp_path / "own" / "trainannot" / "a.png", palette[stripes(0, 1, 2)])
    source = opened(tmp_path / "own", format="colour", colours=table, ignore=["#010203"])
    converted, ledger = convert(source, tmp_path / "new", "colour")
    assert converted.classes.file_ids == ("#ff0000", "#e0e0c0")
    assert np.array_equal(converted[0].target, stripes(0, 1, 255))
    assert not ledger.entries


LOST = {
    "masks": ({"ids": {"sky": 7, "road": 9}}, "own values or colours in masks: numbered from 0"),
    "colour": ({"ids": {"sky": 7, "road": 9}}, "own values in masks: colours of Pascal VOC's palette"),
}


@pytest.mark.parametrize("name", LOST)
def test_what_a_format_cannot_carry_is_listed(tmp_path, name):
    values, reason = LOST[name]
    add_picture(tmp_path / "train" / "a.png")
    add_mask(tmp_path / "trainannot" / "a.png", stripes(7, 9))
    converted, ledger = convert(opened(tmp_path, **values), tmp_path / "new", name)
    assert [entry.reason for entry in ledger.entries] == [f"the classes' {reason}"]
    assert np.array_equal(converted[0].target, stripes(0, 1))


def test_categories_keep_the_values_of_the_classes(tmp_path):
    add_picture(tmp_path / "train" / "a.png")
    add_mask(tmp_path / "trainannot" / "a.png", stripes(7, 9, 255))
    values = {"ids": {"sky": 7, "background": 9}}
    converted, ledger = convert(opened(tmp_path, **values), tmp_path / "new", "coco")
    assert converted.classes.file_ids[0] == 7
    assert np.array_equal(converted[0].target, stripes(0, 1, 255))
    assert not ledger.entries


def test_a_name_of_two_lines_is_refused(tmp_path):
    source = make(tmp_path / "own", ["a", "b\nc"], [np.zeros((2, 2), np.uint8)])
    with pytest.raises(DataError, match=r"class names of one line for classes\.txt, found 'b\\nc'; rename"):
        WRITERS["masks"](tmp_path / "new", {"train": source}, Ledger())


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_is_recognised(tmp_path, name):
    masks = [np.array([[0, 1], [255, 1]], np.uint8)]
    convert(make(tmp_path / "own", ["sky", "road"], masks), tmp_path / "new", name)
    best = DATA_TOOLS.recognise(tmp_path / "new")[0]
    assert best.values["format"] == name
    source = open_source(DataConfig.model_validate(best.values), "train", Ledger(strict=True))
    if name != "coco":  # whose file does not say that what nothing is painted on is ignored
        assert source.classes.names == ("sky", "road")
        assert np.array_equal(source[0].target, masks[0])
