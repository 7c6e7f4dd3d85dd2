"""Scenes composed of a data set's pictures: their truth is what they show."""

import pickle

import numpy as np
import PIL.Image
import pytest
from annotated_files import config_of

from visiontasks.detection.data_tools import DATA_TOOLS
from visiontasks.detection.datasets import layouts, open_source, scenes
from visiontasks.detection.datasets.layouts import Composer, Patch, split_square
from visiontasks.engine.evaluate import was_trained_on
from visiontasks.errors import DataError, ImageError
from visiontasks.ledger import Ledger

SIDE = 64
COLOURS = {"blue": (20, 40, 220), "red": (220, 40, 20)}
BOX = (16, 8, 48, 56)


@pytest.fixture
def root(tmp_path):
    """Grey pictures, each with a box in its class's colour."""
    rows = []
    for number in range(8):
        name = sorted(COLOURS)[number % 2]
        left, top, right, bottom = np.add(BOX, (number, -number, number, -number)).tolist()
        pixels = np.full((SIDE, SIDE, 3), 110 + number, dtype=np.uint8)
        pixels[top:bottom, left:right] = COLOURS[name]
        PIL.Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{left},{top},{right},{bottom},{name}\n")
    for split, part in (("train", rows[:6]), ("val", rows[6:])):
        (tmp_path / f"{split}.csv").write_text("path,x1,y1,x2,y2,label\n" + "".join(part))
    return tmp_path


def open_scenes(root, split="train", seed=0, *, val="val.csv", **scenes):
    values = {"train": "train.csv", "val": val, "scenes": {"train": 60, "val": 40, **scenes}}
    return open_source(config_of(root, "csv", seed=seed, **values), split, Ledger(strict=True))


def test_a_scene_is_a_function_of_seed_split_and_number(root):
    source, again = open_scenes(root), pickle.loads(pickle.dumps(open_scenes(root)))
    assert len(source) == 60
    for i in (3, 0):
        one, other = source[i], again[i]
        assert one.image_id == other.image_id == f"train scene {i:06}"
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.target.boxes, other.target.boxes)
    assert source.fingerprint == again.fingerprint
    for other in (open_scenes(root, seed=1), open_scenes(root, size=128), open_scenes(root, train=61)):
        assert other.fingerprint != source.fingerprint
    assert not np.array_equal(open_scenes(root, seed=1)[3].image, source[3].image)


def test_scenes_are_made_of_the_splits_own_pictures(root):
    train, val = open_scenes(root), open_scenes(root, "val")
    assert len(val) == 40
    assert set(val.pictures.files) == {"6.png", "7.png"}
    assert set(train.pictures.files).isdisjoint(val.pictures.files)
    assert val.classes == train.classes


def test_scenes_of_training_pictures_are_no_others(root):
    train = open_scenes(root)
    assert was_trained_on(open_scenes(root, "val", val="train.csv"), train)
    assert not was_trained_on(open_scenes(root, "val"), train)


def test_the_test_split_stays_as_it_is(root):
    config = config_of(root, "csv", test="val.csv", scenes={})
    assert list(open_source(config, "test", Ledger()).files) == ["6.png", "7.png"]


def test_boxes_are_where_their_colours_are(root):
    """A box's class is the colour that most of it shows; beside the boxes there is little of either."""
    source = open_scenes(root, size=192)
    shares = []
    for scene in (source[i] for i in range(len(source))):
        assert scene.image.shape == (192, 192, 3) and scene.image.dtype == np.uint8
        pixels = scene.image.astype(int)
        shown = {"red": pixels[..., 0] - pixels[..., 2] > 60, "blue": pixels[..., 2] - pixels[..., 0] > 60}
        inside = np.zeros((192, 192), dtype=bool)
        for box, label in zip(scene.target.boxes, scene.target.labels, strict=True):
            assert (box >= 0).all() and (box <= 192).all()
            assert (box[2:] - box[:2] >= layouts.LEAST_SIDE).all()
            left, top, right, bottom = np.round(box).astype(int)
            inside[top:bottom, left:right] = True
            shares.append(shown[source.classes.names[label]][top:bottom, left:right].mean())
        assert (shown["red"] | shown["blue"])[~inside].mean() < 0.25
    assert len(shares) > 100
    assert np.mean(np.array(shares) > 0.9) > 0.7  # others are before them
    assert min(shares) > 0.35


def test_scenes_are_of_every_kind_and_objects_of_many_sizes(root):
    source = open_scenes(root, train=300)
    counts = DATA_TOOLS.count(source)
    assert len(set(range(300)) - set(counts.picture.tolist())) > 3  # without objects
    annotations = source.annotations
    per_scene = np.diff(annotations.starts)
    assert per_scene.max() >= 5
    sides = np.sqrt((annotations.boxes[:, 2:] - annotations.boxes[:, :2]).prod(axis=1))
    assert np.quantile(sides, 0.1) < 50 and np.quantile(sides, 0.95) > 150
    assert np.array_equal(annotations.truth(7).boxes, source[7].target.boxes)
    assert np.array_equal(annotations.truth(7).labels, source[7].target.labels)


def test_tiles_cover_the_square_once():
    for seed in range(50):
        tiles = split_square(np.random.default_rng(seed), 100)
        covered = np.zeros((100, 100), dtype=int)
        for left, top, right, bottom in tiles:
            assert right - left >= 20 and bottom - top >= 20
            assert (covered[top:bottom, right:] == 0).all()  # what is to the right comes later
            covered[top:bottom, left:right] += 1
        assert (covered == 1).all()
        assert 2 <= len(tiles) <= 6


def composer_of(root):
    return Composer(open_scenes(root).pictures.annotations, 256)


def test_what_lies_behind_loses_its_place(root):
    """Picture 0 fills a scene, its box at (64, 32, 192, 224); others lie before it."""
    composer = composer_of(root)
    behind = Patch(0, (0, 0, 64, 64), (0, 0, 256, 256))
    seen = composer._seen([behind])
    assert seen.boxes.tolist() == [[64, 32, 192, 224]]
    assert seen.kept.all() and seen.hidden.tolist() == [0]
    left_half = Patch(1, (0, 0, 64, 64), (0, 0, 128, 256), is_object=False)
    seen = composer._seen([behind, left_half])
    assert seen.boxes.tolist() == [[128, 32, 192, 224]]
    assert seen.hidden.tolist() == [64 * 192]
    assert seen.kept.tolist() == [True]
    corner = Patch(1, (0, 0, 64, 64), (0, 0, 128, 128), is_object=False)
    assert composer._seen([behind, corner]).boxes.tolist() == [[64, 32, 192, 224]]
    most = Patch(1, (0, 0, 64, 64), (0, 0, 150, 256), is_object=False)
    assert composer._seen([behind, most]).kept.tolist() == [False]


def test_a_patch_appears_over_its_fades(monkeypatch):
    monkeypatch.setattr(scenes, "_worn", lambda image, rng: image)
    images = [np.full((4, 4, 3), 0, dtype=np.uint8), np.full((4, 4, 3), 200, dtype=np.uint8)]
    patches = (
        Patch(0, (0, 0, 4, 4), (0, 0, 64, 64)),
        Patch(1, (0, 0, 4, 4), (16, -8, 48, 24), (16, 0, 0, 0)),
    )
    layout = layouts.Layout(patches, np.zeros((0, 4)), np.zeros(0, dtype=np.int64))
    image = scenes.paint(layout, images, 64, np.random.default_rng(0))
    row = image[4, :, 0].astype(int)
    assert (row[:16] == 0).all() and (row[32:48] == 200).all() and (row[48:] == 0).all()
    assert (np.diff(row[16:33]) >= 0).all() and abs(row[23] + row[24] - 200) <= 2
    assert (image[24:, :, 0] == 0).all()


def test_pictures_that_cannot_be_read_are_left_out_or_named(root):
    source = open_scenes(root)
    for number in range(6):
        (root / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"\d\.png"):
        source[0]
    with pytest.raises(
        DataError, match=r"expected pictures with boxes to compose scenes of, found none of 6"
    ):
        open_scenes(root)
    (root / "train.csv").write_text("path,x1,y1,x2,y2,label\n6.png,0,0,4,4,red\n7.png,0,0,40,40,blue\n")
    assert open_scenes(root).composer.usable.tolist() == [1]  # a box of 4 px is too small
