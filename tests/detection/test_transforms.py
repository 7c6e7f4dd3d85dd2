"""Original pixels to network pixels, and batches."""

import json

import numpy as np
import pytest
import torch
import torchvision
from pydantic import ValidationError
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from visiontasks.detection.config import (
    AugmentConfig,
    DetectionConfig,
    InputConfig,
    RegionsConfig,
    WindowsConfig,
)
from visiontasks.detection.scenes import canvas_size, fitted_size
from visiontasks.detection.transforms import build_transform, collate
from visiontasks.errors import DataError
from visiontasks.types import Example, Sample

from .coloured_scenes import (
    CLASSES,
    GEOMETRY,
    PARTNERS,
    PLAIN,
    SCENE,
    boxes_of,
    check_boxes_follow_pixels,
    fetch,
)


@pytest.mark.parametrize("rule", ["fit", "shorter", "stretch"])
@pytest.mark.parametrize("size", [(64, 96), (128, 128), (300, 200)])
def test_resizing_keeps_boxes_on_their_pixels(rule, size):
    transform = build_transform(InputConfig(size=size, resize=rule), None, CLASSES)
    example = transform(SCENE, np.random.default_rng(0), None)
    assert len(check_boxes_follow_pixels(example)) == 3
    info = example.info
    assert example.image.shape == (3, info.resized_height, info.resized_width)
    back = example.target.boxes.numpy() * np.tile(
        [info.width / info.resized_width, info.height / info.resized_height], 2
    )
    assert np.abs(back - SCENE.target.boxes).max() < 1e-4  # the way back is exact
    assert example.truth is SCENE.target


@pytest.mark.parametrize(
    ("rule", "shape", "size", "expected"),
    [
        ("fit", (480, 640), (416, 416), (312, 416)),
        ("fit", (640, 480), (416, 416), (416, 312)),
        ("fit", (10, 20), (100, 100), (50, 100)),
        ("fit", (1, 1), (416, 416), (416, 416)),
        ("fit", (5000, 1), (416, 416), (416, 1)),
        ("fit", (100, 200), (300, 416), (208, 416)),
        ("stretch", (480, 640), (64, 32), (64, 32)),
        ("shorter", (480, 640), (800, 1333), (800, 1066)),
        ("shorter", (640, 480), (800, 1333), (1066, 800)),
        ("shorter", (100, 1000), (800, 1333), (133, 1333)),
        ("shorter", (1, 5000), (800, 1333), (1, 1333)),
    ],
)
def test_sizes_by_rule(rule, shape, size, expected):
    assert fitted_size(shape, InputConfig(size=size, resize=rule)) == expected


@pytest.mark.parametrize(
    "shape", [(480, 640), (641, 479), (375, 500), (1200, 1600), (333, 1000), (800, 1066)]
)
def test_shorter_is_torchvisions_rule(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = np.kron(image[::20, ::20], np.ones((20, 20, 1), np.uint8))[: shape[0], : shape[1]]
    input = InputConfig(size=(400, 666), resize="shorter")
    ours = build_transform(input, None, CLASSES)(Sample(image, None, 0), np.random.default_rng(0), None)
    theirs = GeneralizedRCNNTransform(400, 666, [0.0] * 3, [1.0] * 3).eval()
    batch, _ = theirs([torch.from_numpy(image).permute(2, 0, 1) / 255])
    (expected,), pixels = batch.image_sizes, batch.tensors[0]
    assert ours.image.shape[1:] == expected
    off = (ours.image / 255 - pixels[:, : expected[0], : expected[1]]).abs()
    assert off.max() <= 1.01 / 255  # 8-bit rounding


def test_collate_pads_to_the_largest_in_multiples_of_32():
    transform = build_transform(InputConfig(size=(100, 100)), None, CLASSES)
    examples = [
        transform(Sample(np.full((*shape, 3), 7, np.uint8), boxes_of([[0, 0, 5, 5]] * n), n), None, None)
        for n, shape in enumerate([(50, 100), (100, 30)])
    ]
    batch = collate(examples)
    assert batch.images.shape == (2, 3, 128, 128)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for image, example in zip(batch.images, examples, strict=True):
        height, width = example.image.shape[1:]
        assert torch.equal(image[:, :height, :width], example.image)
        assert image[:, height:].sum() == image[:, :, width:].sum() == 0
    assert [len(target.labels) for target in batch.targets] == [0, 1]
    assert [info.image_id for info in batch.infos] == [0, 1]
    assert batch.proposals is None


def test_collate_of_pictures_to_predict_has_no_targets_and_of_windows_keeps_them():
    transform = build_transform(InputConfig(size=(32, 32)), None, CLASSES)
    example = transform(Sample(np.zeros((9, 9, 3), np.uint8), None, 0), None, None)
    assert (example.target, example.truth) == (None, None)
    assert collate([example]).targets == ()
    windows = Example(torch.zeros(5, 3, 20, 20, dtype=torch.uint8), None, example.info)
    assert collate([windows, windows]).images.shape == (2, 5, 3, 20, 20)
    proposed = Example(example.image, None, example.info, proposals=torch.zeros(3, 4))
    assert collate([proposed]).proposals[0].shape == (3, 4)


@pytest.fixture
def regions_file(tmp_path, monkeypatch):
    """A file that proposes the very boxes of the scene."""
    monkeypatch.setenv("VISIONTASKS_DATA", str(tmp_path))
    boxes = {"a.png": SCENE.target.boxes.tolist()}
    boxes |= {one.image_id: one.target.boxes.tolist() for one in PARTNERS}
    (tmp_path / "regions.json").write_text(json.dumps(boxes))
    return RegionsConfig(file="regions.json")


@pytest.mark.parametrize("name", [None, *GEOMETRY, "mosaic"])
def test_proposals_go_the_way_of_the_boxes(name, regions_file):
    input = InputConfig(size=(160, 192), proposals=regions_file)
    settings = {**PLAIN, **GEOMETRY.get(name, {}), "min_visible": 0.2, "mosaic": float(name == "mosaic")}
    augment = None if name is None else AugmentConfig(**settings)
    transform = build_transform(input, augment, CLASSES)
    for seed in range(5):
        example = transform(SCENE, np.random.default_rng(seed), fetch)
        assert example.proposals.dtype == torch.float32
        assert torch.equal(example.proposals, example.target.boxes)
    assert len(collate([example, example]).proposals) == 2


def test_pictures_without_truth_have_proposals_too(regions_file):
    input = InputConfig(size=(90, 160), proposals=regions_file.model_copy(update={"limit": 2}))
    example = build_transform(input, None, CLASSES)(Sample(SCENE.image, None, "a.png"), None, None)
    assert example.target is None
    assert example.proposals.tolist() == SCENE.target.boxes[:2].tolist()


def test_a_picture_that_the_file_of_regions_does_not_have_is_named(regions_file):
    transform = build_transform(InputConfig(proposals=regions_file), None, CLASSES)
    with pytest.raises(DataError, match=r"regions\.json: expected regions of every picture, .* for 'b\.png'"):
        transform(Sample(SCENE.image, None, "b.png"), None, None)


def test_proposals_are_found_in_the_picture():
    transform = build_transform(InputConfig(size=(90, 160), proposals=RegionsConfig()), None, CLASSES)
    example = transform(SCENE, None, None)
    overlaps = torchvision.ops.box_iou(example.target.boxes, example.proposals)
    assert overlaps.max(dim=1).values.min() > 0.6
    empty = transform(Sample(np.zeros((1, 1, 3), np.uint8), None, 0), None, None)
    assert empty.proposals.shape[1] == 4


def test_fast_rcnn_is_handed_regions_and_nothing_else_is():
    values = {"name": "x", "data": {"root": "."}, "model": {"name": "fast_rcnn"}}
    assert DetectionConfig.model_validate(values).input.proposals == RegionsConfig()
    given = {**values, "input": {"proposals": {"limit": 7}}}
    assert DetectionConfig.model_validate(given).input.proposals.limit == 7
    with pytest.raises(ValidationError, match=r"model\.name: fast_rcnn only"):
        DetectionConfig.model_validate({**given, "model": {"name": "faster_rcnn"}})


def test_regions_are_searched_once_a_training_picture_and_every_time_to_predict(monkeypatch):
    searched = []
    monkeypatch.setattr(
        "visiontasks.detection.scenes.propose",
        lambda image, config: searched.append(image) or np.zeros((0, 4), np.float32),
    )
    input = InputConfig(size=(96, 96), proposals=RegionsConfig())
    for augment, times in ((AugmentConfig(), 1), (None, 3)):
        transform, before = build_transform(input, augment, CLASSES), len(searched)
        for seed in range(3):
            transform(SCENE, np.random.default_rng(seed), None)
        assert len(searched) - before == times


def test_windows_are_cut_where_the_config_says_so():
    windows = WindowsConfig(size=(20, 24), context=1.25, crops=False, count=8)
    transform = build_transform(InputConfig(), AugmentConfig(windows=windows), CLASSES, {})
    example = transform(SCENE, np.random.default_rng(0), None)
    assert example.image.shape == (8, 3, 20, 24)
    assert collate([example, example]).images.shape == (2, 8, 3, 20, 24)


@pytest.mark.parametrize(("shape", "size"), [((50, 90), (416, 672)), ((90, 50), (672, 416))])
def test_the_canvas_stands_with_the_picture_where_the_rule_turns(shape, size):
    assert canvas_size(shape, InputConfig(size=(400, 666), resize="shorter")) == size
    assert canvas_size(shape, InputConfig(size=(400, 666))) == (416, 672)
