"""Windows for training: labels say what they show, boxes follow pixels, the same draw gives the same."""

import cv2
import numpy as np
import pytest
import torch

from visiontasks.classes import ClassMap
from visiontasks.config_files import parse_config
from visiontasks.detection.config import DetectionConfig, WindowsConfig
from visiontasks.detection.models.box_deltas import decode_boxes
from visiontasks.detection.types import IGNORED, Boxes
from visiontasks.detection.windows import CutWindows, cut_windows, sample_windows
from visiontasks.errors import ConfigError
from visiontasks.ops.boxes import iou_matrix
from visiontasks.ops.pictures import to_tensor
from visiontasks.types import Sample

CLASSES = ClassMap(("disc", "square", "star"))
SIZE = (120, 160)
NONE = np.zeros((0, 4))


def truth_of(boxes, labels, crowd=None):
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    flags = np.zeros(len(boxes), dtype=bool)
    crowd = flags if crowd is None else np.array(crowd)
    return Boxes(boxes, np.array(labels, dtype=np.int64), crowd, flags, np.ones(len(boxes)))


def windows_config(**values):
    return WindowsConfig(size=(32, 32), context=1.25, crops=False, **values)


def full_config(**values):
    """A run's config, with the derived values filled in."""
    given = {
        "name": "windows",
        "data": {"root": "x", **values.pop("data", {})},
        "input": values.pop("input", {}),
        "model": {"name": "sliding_window", "backbone": "small", "window": [32, 32], "context": 1.5},
        "augment": values,
    }
    return parse_config(DetectionConfig, given, file="run.yaml")


MIXED = truth_of([[20, 20, 50, 50], [60, 20, 90, 50], [100, 70, 140, 110], [10, 70, 40, 100]], [0, 0, 0, 2])


def test_labels_say_what_windows_show():
    config = windows_config(count=400, positive_iou=0.6, negative_iou=0.3)
    cores, target = sample_windows(MIXED, SIZE, NONE, config, 3, np.random.default_rng(0))
    labels = target.labels.numpy()
    overlaps = iou_matrix(cores, MIXED.boxes)
    best = overlaps.argmax(axis=1)
    shows = labels < 3
    assert set(labels.tolist()) == {0, 2, 3}
    assert (overlaps.max(axis=1)[shows] >= 0.6).all()
    assert (overlaps.max(axis=1)[~shows] <= 0.3).all()
    assert (labels[shows] == MIXED.labels[best[shows]]).all()
    assert shows.sum() == 160
    found = decode_boxes(target.offsets, torch.from_numpy(cores).float()).numpy()
    np.testing.assert_allclose(found[shows], MIXED.boxes[best[shows]], atol=1e-3)
    assert (target.offsets[~shows] == 0).all()


def test_each_class_comes_as_often():
    config = windows_config(count=1000, positives=1.0)
    _, target = sample_windows(MIXED, SIZE, NONE, config, 3, np.random.default_rng(0))
    counts = np.bincount(target.labels.numpy(), minlength=3)
    assert counts[1] == 0
    assert abs(counts[0] - counts[2]) < 100


def test_hard_negatives_are_shown_unless_they_are_objects_by_now():
    hard = np.array([[110.0, 5, 130, 25], [20, 20, 50, 36], [20, 20, 50, 50]])
    config = windows_config(count=100, positives=0.0, hard=0.5)
    cores, target = sample_windows(MIXED, SIZE, hard, config, 3, np.random.default_rng(0))
    overlaps = iou_matrix(hard, cores)
    assert overlaps[0].max() > 0.7
    assert target.labels[int(overlaps[0].argmax())] == 3
    assert (
        target.labels[int(overlaps[1].argmax())] == IGNORED
    )  # it shows more of the object than background may


def test_windows_in_crowds_are_left_out():
    truth = truth_of([[0, 0, 160, 120]], [1], [True])
    cores, target = sample_windows(truth, SIZE, NONE, windows_config(count=50), 3, np.random.default_rng(0))
    assert set(target.labels.tolist()) <= {3, IGNORED}
    inside = ((cores >= 0) & (cores <= [160, 120, 160, 120])).all(axis=1)
    assert inside.any()
    assert (target.labels[torch.from_numpy(inside)] == IGNORED).all()


def test_pictures_without_objects_are_background():
    config = windows_config(count=30, sizes=(0.1, 0.3))
    cores, target = sample_windows(truth_of([], []), SIZE, NONE, config, 3, np.random.default_rng(0))
    assert (target.labels == 3).all()
    sides = np.sqrt(np.prod(cores[:, 2:] - cores[:, :2], axis=1)) / 120
    assert ((sides > 0.1 / 1.35) & (sides < 0.3 * 1.35)).all()
    centres = (cores[:, :2] + cores[:, 2:]) / 2
    assert ((centres >= 0) & (centres <= [160, 120])).all()


@pytest.mark.parametrize(("truth", "label"), [(truth_of([[0, 0, 160, 120]], [1]), 1), (truth_of([], []), 3)])
def test_a_crop_is_one_object_or_background(truth, label):
    config = WindowsConfig(size=(32, 32), context=1.0, crops=True, count=20, shift=0.1, stretch=1.1)
    cores, target = sample_windows(truth, SIZE, NONE, config, 3, np.random.default_rng(0))
    assert (target.labels == label).all()
    assert (iou_matrix(cores, np.array([[0.0, 0, 160, 120]])) > 0.6).all()


def test_a_window_of_the_pictures_scale_is_cut_exactly():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    windows = np.array([[10.0, 5, 42, 37], [0, 0, 32, 32]])
    found = cut_windows(to_tensor(image), windows, (32, 32), (10, 20, 30)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found[0], image[5:37, 10:42])
    np.testing.assert_array_equal(found[1], image[:32, :32])


def test_shrinking_averages_and_outside_is_the_fill():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    windows = np.array([[0.0, 0, 64, 64], [100, 100, 164, 164]])
    found = cut_windows(to_tensor(image), windows, (32, 16), (10, 20, 30)).permute(0, 2, 3, 1).numpy()
    expected = image.reshape(32, 2, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(found[0] - expected).max() <= 1
    assert (found[1] == [10, 20, 30]).all()


@pytest.mark.parametrize("augment", [{}, {"flip": 1.0}, {"vertical_flip": 1.0}, {"rotate90": 1.0}])
def test_boxes_follow_pixels(augment):
    """A white rectangle on black: where the box says it is, the window is white."""
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    image[30:70, 40:120] = 255
    config = full_config(flip=augment.pop("flip", 0.0), windows={"count": 40, "positives": 1.0}, **augment)
    transform = CutWindows(config.input, config.augment, CLASSES)
    sample = Sample(image, truth_of([[40, 30, 120, 70]], [1]), "a.png")
    example = transform(sample, np.random.default_rng(0), None)
    side = 32 / 1.5
    core = torch.tensor([16 - side / 2, 16 - side / 2, 16 + side / 2, 16 + side / 2])
    boxes = decode_boxes(example.target.offsets, core.expand(40, 4)).numpy()
    y, x = np.mgrid[0:32, 0:32] + 0.5
    for window, (left, top, right, bottom) in zip(example.image.numpy(), boxes, strict=True):
        inside = (x > left + 1) & (x < right - 1) & (y > top + 1) & (y < bottom - 1)
        outside = (x < left - 1) | (x > right + 1) | (y < top - 1) | (y > bottom + 1)
        assert window[0][inside].min() > 200
        assert window[0][outside].max() < 150  # black, or the mean colour beyond the picture
    assert abs(boxes[:, 2] - boxes[:, 0]).mean() != pytest.approx(
        abs(boxes[:, 3] - boxes[:, 1]).mean(), abs=0.1
    )


def test_the_same_draw_gives_the_same_example():
    image = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    config = full_config(color_jitter=0.3, vertical_flip=0.5, rotate90=0.5)
    hard = {"7": torch.tensor([[0.0, 0, 20, 20]])}
    transform = CutWindows(config.input, config.augment, CLASSES, hard)
    first, second, other = (
        transform(Sample(image, MIXED, 7), np.random.default_rng(seed), None) for seed in (0, 0, 1)
    )
    assert first.image.shape == (64, 3, 32, 32)
    assert first.image.dtype == torch.uint8
    assert first.info.image_id == 7
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.target.offsets, second.target.offsets)
    assert not torch.equal(first.image, other.image)


def test_windows_of_large_pictures_are_cut_at_the_networks_scale():
    image = np.zeros((240, 320, 3), dtype=np.uint8)
    image[60:140, 80:240] = 255
    sample = Sample(image, truth_of([[80, 60, 240, 140]], [1]), "a.png")
    hard = {"a.png": torch.tensor([[0.0, 0, 40, 40]])}
    config = full_config(flip=0.0, windows={"count": 20}, input={"size": [60, 80]})
    example = CutWindows(config.input, config.augment, CLASSES, hard)(sample, np.random.default_rng(0), None)
    info = example.info
    assert (info.height, info.width, info.resized_height, info.resized_width) == (240, 320, 60, 80)
    small = Sample(
        cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA), truth_of([[20, 15, 60, 35]], [1]), "a.png"
    )
    hard = {"a.png": torch.tensor([[0.0, 0, 10, 10]])}
    expected = CutWindows(config.input, config.augment, CLASSES, hard)(small, np.random.default_rng(0), None)
    assert torch.equal(example.image, expected.image)
    assert torch.equal(example.target.offsets, expected.target.offsets)
    assert (example.target.labels == 1).any()


def test_colours_change_and_places_do_not():
    image = np.random.default_rng(1).integers(60, 200, (*SIZE, 3), dtype=np.uint8)
    config = full_config(color_jitter=0.3, flip=0.0, windows={"count": 16})
    plain = full_config(color_jitter=0.0, flip=0.0, windows={"count": 16})
    found, expected = (
        CutWindows(c.input, c.augment, CLASSES)(Sample(image, MIXED, 7), np.random.default_rng(0), None)
        for c in (config, plain)
    )
    assert torch.equal(found.target.offsets, expected.target.offsets)
    for a, b in zip(found.image.float(), expected.image.float(), strict=True):
        assert np.corrcoef(a.flatten(), b.flatten())[0, 1] > 0.8
    assert (found.image != expected.image).float().mean() > 0.5


def test_the_transform_is_told_what_the_networks_windows_are():
    config = full_config(data={"format": "crops"}, windows={"count": 8})
    windows = config.augment.windows
    assert (windows.size, windows.context, windows.crops, windows.count) == ((32, 32), 1.5, True, 8)
    again = parse_config(DetectionConfig, config.model_dump(mode="json"), file="again.yaml")
    assert again == config


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"windows": {"size": [16, 16]}}, r"augment.windows.size left out \(it is derived: \(32, 32\)\)"),
        ({"mosaic": 0.5}, "augment.mosaic, crop and scale off beside sliding windows"),
        ({"windows": {"positive_iou": 0.2}}, "negative_iou at most positive_iou"),
        ({"windows": {"sizes": [0.5, 0.2]}}, "sizes: .* 0 < min <= max"),
    ],
)
def test_what_does_not_fit_is_refused(augment, message):
    with pytest.raises(ConfigError, match=message):
        full_config(**augment)


def test_windows_belong_to_sliding_windows():
    given = {"name": "a", "data": {"root": "x"}, "augment": {"windows": {}}}
    with pytest.raises(ConfigError, match=r"augment.windows beside model.name: sliding_window only"):
        parse_config(DetectionConfig, given, file="run.yaml")
