"""`visiontasks segment` and what belongs to it, as a user types it, on drawn shapes."""

import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from visiontasks import api
from visiontasks.data.shapes import draw_shapes
from visiontasks.io.images import read_mask
from visiontasks.io.video import write_video

CLASSES = ["background", "circle", "cross", "ring", "square", "star", "triangle"]


def run_config(root):
    return {
        "task": "segmentation",
        "name": "shapes",
        "data": {"root": str(root), "train": "train", "val": "val", "test": "test"},
        "input": {"size": [48, 64]},
        "augment": {"scale": [0.8, 1.25], "flip": 0.5},
        "model": {"name": "naive", "width": 6, "depth": 2},
        "train": {"epochs": 1, "batch_size": 6, "workers": 0, "optimizer": {"name": "adamw", "lr": 0.01}},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Drawn shapes, and a network without pooling that was trained on them for one quick epoch."""
    root = tmp_path_factory.mktemp("segment")
    draw_shapes(root / "shapes", "segmentation", 24, 0, size=(48, 64))
    (root / "run.yaml").write_text(yaml.safe_dump(run_config(root / "shapes")))
    api.train(root / "run.yaml", {}, out=root / "run")
    return root


def test_segment_writes_what_it_says(call, folder, tmp_path):
    pictures = sorted((folder / "shapes" / "images" / "test").iterdir())
    formats = [f"--format={name}" for name in ("json", "csv", "colour", "ids", "coco")]
    code, said, _ = call("segment", pictures[0].parent, "-w", folder / "run", "-o", "out", *formats)
    assert code == 0
    assert len(said.splitlines()) == len(pictures)
    assert "background" in said
    out = tmp_path / "out"
    result = json.loads((out / "predictions.json").read_text())
    assert (result["task"], result["classes"], result["skipped"]) == ("segmentation", CLASSES, [])
    for entry, picture in zip(result["images"], pictures, strict=True):
        assert entry["file"] == str(picture)
        mask = read_mask(out / entry["mask"])
        assert mask.shape == (entry["height"], entry["width"]) == (48, 64)
        counts = np.bincount(mask.ravel(), minlength=len(CLASSES)) / mask.size
        assert list(entry["shares"].values()) == pytest.approx(counts.tolist())
        assert np.array_equal(read_mask(out / "ids" / f"{picture.stem}.png"), mask)  # their ids are 0, 1, ...
        with Image.open(out / picture.name) as drawn:
            assert drawn.size == (64 * 5, 48 * 5)
    assert len(list((out / "colours").iterdir())) == len(pictures)
    assert {path.name for path in out.glob("*.*") if path.suffix != ".jpg"} == {
        "predictions.json",
        "shares.csv",
        "colours.csv",
        "coco.json",
    }


def test_predictions_evaluated_without_a_model_equal_those_of_the_model(call, folder):
    call("segment", folder / "shapes" / "images" / "test", "-w", folder / "run", "-o", "found", "--no-draw")
    code, _, errors = call(
        *("evaluate", "--task", "segment", "--truth", folder / "shapes" / "masks" / "test"),
        *("--predictions", "found", "--classes", ",".join(CLASSES), "-o", "compared"),
    )
    assert code == 0, errors
    with open("compared/metrics.json") as file:
        compared = json.load(file)
    measured = api.evaluate(folder / "run", split="test")
    assert compared["mIoU"] == pytest.approx(measured["mIoU"], abs=1e-3)
    assert compared["aAcc"] == pytest.approx(measured["aAcc"], abs=1e-3)


def test_a_large_picture_in_tiles_equals_the_whole(call, folder, tmp_path):
    """The network sees 7 x 7 pixels: tiles show the same but at their borders, which yield to others."""
    first = Image.open(next((folder / "shapes" / "images" / "test").iterdir()))
    first.resize((300, 250)).save(tmp_path / "large.png")
    whole = call("segment", "large.png", "-w", folder / "run", "-o", "whole", "--precision", "fp32")
    tiled = call(
        "segment", "large.png", "-w", folder / "run", "-o", "tiled", "--precision", "fp32", "--tile", 64
    )
    assert whole[0] == tiled[0] == 0
    masks = [read_mask(tmp_path / name / "masks" / "large.png") for name in ("whole", "tiled")]
    assert (masks[0] == masks[1]).mean() > 0.9999


def test_a_video_is_drawn_frame_by_frame(call, folder, tmp_path):
    picture = np.asarray(Image.open(next((folder / "shapes" / "images" / "test").iterdir())))
    with write_video(tmp_path / "clip.mp4", 10.0, (48, 64)) as writer:
        for _ in range(3):
            writer.add(picture)
    code, _, errors = call("segment", "clip.mp4", "-w", folder / "run", "-o", "out")
    assert code == 0, errors
    lines = [json.loads(line) for line in (tmp_path / "out" / "clip.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    assert read_mask(tmp_path / "out" / lines[2]["mask"]).shape == (48, 64)
    assert (tmp_path / "out" / "clip.mp4").exists()


def test_row_35_spaces_unicode_and_equal_names(call, folder, tmp_path):
    source = next((folder / "shapes" / "images" / "test").iterdir())
    for name in ("mit Leerzeichen", "ütf 八"):
        (tmp_path / name).mkdir()
        shutil.copy(source, tmp_path / name / "ein Bild ö.jpg")
    code, said, _ = call("segment", "mit Leerzeichen", "ütf 八/*.jpg", "-w", folder / "run")
    assert (code, len(said.splitlines())) == (0, 2)
    out = tmp_path / "runs" / "segment" / "001"
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["ein Bild ö-2.png", "ein Bild ö.png"]


def test_pictures_that_differ_in_their_suffix_have_masks_of_their_own(call, folder, tmp_path):
    source = Image.open(next((folder / "shapes" / "images" / "test").iterdir()))
    (tmp_path / "in").mkdir()
    source.save(tmp_path / "in" / "a.png")
    source.resize((32, 24)).save(tmp_path / "in" / "a.jpg")
    assert call("segment", "in", "-w", folder / "run", "-o", "out")[0] == 0
    for entry in json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]:
        assert read_mask(tmp_path / "out" / entry["mask"]).shape == (entry["height"], entry["width"])


def test_one_bad_picture_among_many_is_skipped_and_listed(call, folder, tmp_path):
    pictures = tmp_path / "pictures"
    shutil.copytree(folder / "shapes" / "images" / "test", pictures)
    (pictures / "broken.jpg").write_bytes(b"no picture at all")
    code, _, errors = call("segment", pictures, "-w", folder / "run", "-o", "out")
    assert code == 1
    assert "broken.jpg" in errors
    result = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert result["skipped"][0]["file"].endswith("broken.jpg")


def spoil_missing(masks):
    (masks / "000003.png").unlink()
    return "expected a mask for images/train/000003.jpg in masks/train, found none; add it"


def spoil_size(masks):
    Image.fromarray(np.zeros((48, 63), np.uint8)).save(masks / "000003.png")
    return "expected the size of its picture images/train/000003.jpg, 48 x 64 (height x width), found 48 x 63"


def spoil_value(masks):
    mask = np.zeros((48, 64), np.uint8)
    mask[:2, :5] = 9
    Image.fromarray(mask).save(masks / "000003.png")
    return "6 triangle), found 9 (10 pixels); name them in data.ids, or list them in data.ignore"


def spoil_jpeg(masks):
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(masks / "000003.png", "JPEG", quality=95)
    return "expected a mask in a lossless format (PNG, TIFF, GIF, BMP), found a JPEG; save it as PNG"


def spoil_scale(masks):
    mask = np.zeros((48, 64), np.uint8)
    mask[:2] = 255
    Image.fromarray(mask).save(masks / "000003.png")
    return "expected class indices, found only 0 and 255; say what they mean with data.ids"


@pytest.mark.parametrize("spoil", [spoil_missing, spoil_size, spoil_value, spoil_jpeg, spoil_scale])
def test_a_wrong_mask_is_one_clear_line(call, folder, tmp_path, spoil):
    shutil.copytree(folder / "shapes", tmp_path / "shapes")
    masks = tmp_path / "shapes" / "masks" / "train"
    words = spoil(masks)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_config(tmp_path / "shapes")))
    code, _, errors = call("train", "run.yaml")
    assert code == 3
    assert words in errors
    assert str(masks if spoil is spoil_missing else masks / "000003.png") in errors
    assert len(errors.splitlines()) == 2 and "visiontasks data check says more" in errors
