"""`visiontasks detect` as typed, with random weights: what is written is whole and fits together."""

import json

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from visiontasks.cli import visiontasks
from visiontasks.io.video import Video, write_video

MODEL = {
    **{"name": "faster_rcnn", "backbone": "small", "options": {"stem": 4, "widths": [8, 8, 8]}},
    **{"pyramid": {"channels": 8}, "head": {"widths": [16]}},
}
CLASSES = ("cell", "Žula, tmavá")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    import torch

    from visiontasks.classes import ClassMap
    from visiontasks.detection import TASK
    from visiontasks.detection.config import FasterRcnnConfig, InputConfig
    from visiontasks.engine.model_files import save_model
    from visiontasks.io.weights import ModelRecord

    torch.manual_seed(0)
    section = FasterRcnnConfig.model_validate(MODEL)
    network = TASK.build_model(section, ClassMap(CLASSES), None, None)
    record = ModelRecord(
        task="detection",
        model=section.model_dump(mode="json"),
        input=InputConfig(size=(64, 96)).model_dump(mode="json"),
        classes=CLASSES,
        options={"confidence": 0.0, "iou": 0.5, "max_detections": 20},
    )
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_model(path, network, record)
    return path


@pytest.fixture
def detect(call, weights):
    """Run `detect` in an empty folder. Gives (exit code, stdout, stderr)."""
    return lambda *arguments: call("detect", *arguments, "-w", weights)


def save(path, size, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(path)
    return path


def film(path, count=5, size=(48, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    with write_video(path, 10.0, size) as writer:
        for frame in noise:
            writer.add(frame)
    return path


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def check_detections(entry, most=20):
    assert 0 < len(entry["detections"]) <= most
    for found in entry["detections"]:
        assert found["label"] == CLASSES[found["class"]]
        left, top, right, bottom = found["box"]
        assert 0 <= left < right <= entry["width"]
        assert 0 <= top < bottom <= entry["height"]
    scores = [found["score"] for found in entry["detections"]]
    assert scores == sorted(scores, reverse=True)


def test_pictures_of_any_size_and_every_format(detect, tmp_path):
    sizes = {"a.png": (50, 70), "sub/ä b 八.jpg": (200, 30), "tiny.png": (1, 1), "wide.png": (3, 700)}
    for name, size in sizes.items():
        save(tmp_path / "in" / name, size)
    formats = [part for name in ("csv", "coco", "yolo", "voc") for part in ("--format", name)]
    code, said, errors = detect("in", "-o", "out", *formats)
    assert code == 0
    assert len(said.splitlines()) == 4
    assert "4 pictures in" in errors
    result = read_json(tmp_path / "out" / "predictions.json")
    assert (result["task"], result["classes"], result["skipped"]) == ("detection", list(CLASSES), [])
    assert {(entry["height"], entry["width"]) for entry in result["images"]} == set(sizes.values())
    for entry in result["images"]:
        check_detections(entry)
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    stems = ("a", "tiny", "wide", "ä b 八")
    assert {f"labels/{stem}.txt" for stem in stems} | {f"Annotations/{stem}.xml" for stem in stems} < written
    assert {"a.png", "tiny.png", "wide.png", "ä b 八.jpg", "coco.json", "predictions.csv"} < written
    assert PIL.Image.open(tmp_path / "out" / "tiny.png").size == (200, 200)


def test_flags_replace_the_models_operating_point(detect, tmp_path):
    save(tmp_path / "in" / "a.png", (60, 80))
    count = {}
    for name, flags in {
        "all": (),
        "few": ("--max-det", 3),
        "none": ("--conf", 1),
        "apart": ("--iou", 0.0),
    }.items():
        assert detect("in/a.png", "-o", name, *flags)[0] == 0
        count[name] = len(read_json(tmp_path / name / "predictions.json")["images"][0]["detections"])
    assert count["all"] == 20
    assert count["few"] == 3
    assert count["none"] == 0
    assert "nothing" in detect("in/a.png", "-o", "none", "--conf", 1)[1]
    assert 0 < count["apart"] < 20


def test_tiles_cover_a_large_picture(detect, tmp_path):
    save(tmp_path / "in" / "large.png", (300, 500))
    code, _, _ = detect("in/large.png", "-o", "out", "--tile", 128, "--overlap", 0.3, "--no-draw")
    assert code == 0
    (entry,) = read_json(tmp_path / "out" / "predictions.json")["images"]
    check_detections(entry, most=1000)
    boxes = np.array([found["box"] for found in entry["detections"]])
    assert len(boxes) > 20  # more than the stored limit of a picture
    assert (boxes[:, 2:] - boxes[:, :2]).min() < 128
    assert boxes[:, 2].max() > 400
    assert boxes[:, 3].max() > 200
    detect("in/large.png", "-o", "capped", "--tile", 128, "--max-det", 7)
    check_detections(read_json(tmp_path / "capped" / "predictions.json")["images"][0], most=7)


def test_a_video_becomes_json_lines_and_a_drawn_video(detect, tmp_path):
    film(tmp_path / "in" / "Film ž.mp4")
    film(tmp_path / "in" / "more" / "Film ž.mov", count=3)
    before = (tmp_path / "in" / "Film ž.mp4").read_bytes()
    code, said, errors = detect("in/Film ž.mp4", "in/more/Film ž.mov", "-o", "out")
    assert code == 0
    assert [line.split("  ")[1] for line in said.splitlines()] == ["5 frames", "3 frames"]
    assert "8 frames in" in errors
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"predictions.json", *(f"Film ž{n}.{s}" for n in ("", "-2") for s in ("mp4", "jsonl"))}
    lines = [json.loads(line) for line in (tmp_path / "out" / "Film ž.jsonl").read_text("utf-8").splitlines()]
    assert [(line["file"], line["frame"], line["seconds"]) for line in lines] == [
        ("in/Film ž.mp4", i, i / 10) for i in range(5)
    ]
    for line in lines:
        assert (line["height"], line["width"]) == (48, 64)
        check_detections(line)
    drawn = Video(tmp_path / "out" / "Film ž.mp4")
    assert (drawn.height, drawn.width, drawn.rate, len(list(drawn.frames()))) == (240, 320, 10.0, 5)
    assert (tmp_path / "in" / "Film ž.mp4").read_bytes() == before  # inputs are never modified


def test_frames_and_pictures_of_the_same_pixels_have_the_same_detections(detect, tmp_path):
    path = film(tmp_path / "in" / "a.mp4", count=2)
    for number, frame in enumerate(Video(path).frames()):
        PIL.Image.fromarray(frame).save(tmp_path / "in" / f"{number}.png")
    detect("in/0.png", "in/1.png", path, "-o", "out", "--precision", "fp32", "--batch-size", 1)
    pictures = read_json(tmp_path / "out" / "predictions.json")["images"]
    lines = (tmp_path / "out" / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["detections"] for line in lines] == [p["detections"] for p in pictures]


def test_json_is_a_line_a_frame_and_a_line_for_all_pictures(detect, tmp_path):
    film(tmp_path / "in" / "a.mp4", count=2)
    save(tmp_path / "in" / "b.png", (20, 30))
    code, said, errors = detect("in/a.mp4", "in/b.png", "--json", "--no-draw", "-o", "out")
    assert code == 0
    *frames, pictures = [json.loads(line) for line in said.splitlines()]
    assert [line["frame"] for line in frames] == [0, 1]
    assert [entry["file"] for entry in pictures["images"]] == ["in/b.png"]
    assert "2 frames" in errors
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"predictions.json", "a.jsonl"}
    assert len(detect("in/a.mp4", "--json", "--no-draw", "-o", "only")[1].splitlines()) == 2


def test_a_video_that_cannot_be_read_is_skipped_and_one_that_ends_early_is_kept(detect, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.mp4").write_bytes(b"no video at all")
    film(tmp_path / "in" / "good.mp4")
    code, said, errors = detect("in/bad.mp4", "in/good.mp4", "-o", "out")
    assert code == 1
    assert "skipped: in/bad.mp4: expected a video" in errors
    assert "5 frames, skipped 1 in" in errors
    assert "good.mp4" in said
    skipped = read_json(tmp_path / "out" / "predictions.json")["skipped"]
    assert [entry["file"] for entry in skipped] == ["in/bad.mp4"]
    code, _, error = detect("in/bad.mp4", "--strict", "-o", "strict")
    assert (code, "in/bad.mp4: expected a video" in error) == (3, True)


FAULTS = [
    (("in/a.png", "--conf", "1.5"), 2, "--conf"),
    (("in/a.png", "--overlap", "1"), 2, "--overlap"),
    (("in/a.png", "--tile", "8"), 2, "--tile"),
    (("in/a.png", "--method", "magic"), 2, "faster-rcnn"),
    (("in/a.png", "--method", "sliding-window"), 2, "expected a network of the kind sliding-window"),
    (("in/a.mp4", "--format", "coco"), 2, "found the video in/a.mp4, whose results are JSON lines"),
    (("in/a.mp4", "-o", "in"), 2, "holds an input"),
    (("in/nothing.mp4",), 2, "found nothing at 'in/nothing.mp4'"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), FAULTS, ids=lambda value: str(value)[:30])
def test_wrong_flags_are_named(arguments, code, words, detect, tmp_path):
    save(tmp_path / "in" / "a.png", (8, 8))
    film(tmp_path / "in" / "a.mp4", count=1)
    found, _, error = detect(*arguments)
    assert (found, words in error) == (code, True), error


@pytest.mark.parametrize("flags", [("--conf", "nan"), ("--iou", "nan"), ("--tile", "64", "--overlap", "nan")])
def test_no_number_is_in_no_range(flags):
    result = CliRunner().invoke(visiontasks, ["detect", "a.jpg", *flags])
    assert result.exit_code == 2 and "not a number" in result.output


def test_an_overlap_without_tiles_is_refused():
    result = CliRunner().invoke(visiontasks, ["detect", "a.jpg", "--overlap", "0.5"])
    assert "expected --overlap beside --tile" in str(result.exception)
