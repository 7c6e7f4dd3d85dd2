"""Boxes follow pixels: coloured rectangles are moved, and found again in the picture that comes out."""

import random

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from visiontasks.detection.augment import Augment
from visiontasks.detection.config import AugmentConfig, InputConfig
from visiontasks.detection.transforms import build_transform
from visiontasks.types import Sample

from .coloured_scenes import (
    CLASSES,
    GEOMETRY,
    PARTNERS,
    PLAIN,
    SCENE,
    boxes_of,
    check_boxes_follow_pixels,
    fetch,
    found_in,
)


@pytest.mark.parametrize("rule", ["fit", "shorter", "stretch"])
@pytest.mark.parametrize("name", GEOMETRY)
def test_boxes_follow_pixels_through_augmentation(name, rule):
    input = InputConfig(size=(160, 192), resize=rule)
    transform = build_transform(input, AugmentConfig(**{**PLAIN, **GEOMETRY[name]}), CLASSES)
    shown = set()
    for seed in range(12):
        example = transform(SCENE, np.random.default_rng(seed), fetch if name != "everything" else None)
        found = check_boxes_follow_pixels(example)
        assert set(found) <= set(example.target.labels.tolist())  # min_visible is 0: what is seen is boxed
        assert example.image.shape[1:] in {(160, 192), (192, 160)}
        shown |= set(found)
    assert shown == {0, 1, 2}


@pytest.mark.parametrize("size", [(192, 192), (128, 256)])
def test_mosaic_shows_four_pictures_with_their_boxes(size):
    transform = Augment(InputConfig(size=size), AugmentConfig(**PLAIN, mosaic=1.0))
    seen = np.zeros(4, int)
    for seed in range(30):
        partners = iter(PARTNERS[1:])
        example = transform(PARTNERS[0], np.random.default_rng(seed), lambda _, p=partners: next(p))
        assert example.image.shape == (3, *size)
        found = check_boxes_follow_pixels(example)
        assert set(found) <= set(example.target.labels.tolist())
        seen[list(found)] += 1
    assert seen.min() > 15


def test_mosaic_without_partners_is_the_picture_alone():
    transform = Augment(InputConfig(size=(96, 160)), AugmentConfig(**PLAIN, mosaic=1.0))
    assert set(found_in(transform(SCENE, np.random.default_rng(0), None).image)) == {0, 1, 2}


@pytest.mark.parametrize("name", ["crop", "scale", "mosaic"])
def test_boxes_of_which_too_little_is_left_are_dropped(name):
    settings = {"crop": {"crop": 1.0, "crop_scale": (0.1, 0.3)}, "scale": {"scale": (3.0, 3.0)}}
    settings["mosaic"] = {"mosaic": 1.0, "mosaic_scale": (1.0, 1.0)}
    kept, dropped = [], []
    for seed in range(40):
        size = {"size": (192, 192), "resize": "fit"}
        both = [
            Augment(InputConfig(**size), AugmentConfig(flip=0, min_visible=share, **settings[name]))(
                PARTNERS[0], np.random.default_rng(seed), fetch
            )
            for share in (0.0, 0.5)
        ]
        assert torch.equal(both[0].image, both[1].image)
        areas = [
            {
                int(label): float((box[2] - box[0]) * (box[3] - box[1]))
                for label, box in zip(one.target.labels, one.target.boxes, strict=True)
            }
            for one in both
        ]
        if 0 in areas[0]:
            (kept if 0 in areas[1] else dropped).append(areas[0][0])
    assert dropped
    if name == "scale":  # 60 x 50 of 100 px, drawn at 3 * 1.92
        whole = 60 * 50 * (3 * 1.92) ** 2
        assert all(area >= 0.49 * whole for area in kept)
        assert all(area <= 0.51 * whole for area in dropped)


def test_a_crop_has_about_the_canvas_proportions_and_static_size():
    transform = Augment(InputConfig(size=(100, 200)), AugmentConfig(**PLAIN, crop=1.0))
    for seed in range(5):
        assert transform(SCENE, np.random.default_rng(seed), None).image.shape == (3, 128, 224)


def test_where_there_is_only_padding_info_says_so():
    transform = Augment(InputConfig(size=(192, 192)), AugmentConfig(scale=(0.3, 0.9)))
    white = Sample(np.full((60, 90, 3), 255, np.uint8), boxes_of([]), 0)
    places = set()
    for seed in range(10):
        example = transform(white, np.random.default_rng(seed), None)
        info, shown = example.info, np.zeros((192, 192), bool)
        rows = slice(info.pad_top, info.pad_top + info.resized_height)
        shown[rows, info.pad_left : info.pad_left + info.resized_width] = True
        assert np.array_equal(example.image[0].numpy() == 255, shown)
        places.add((info.pad_top, info.pad_left))
    assert len(places) > 5


AUGMENTS = [None, AugmentConfig(), AugmentConfig(color_jitter=0.4, **GEOMETRY["everything"])]


@pytest.mark.parametrize("augment", AUGMENTS)
def test_the_same_generator_gives_the_same_example_whatever_came_before(augment):
    transform = build_transform(InputConfig(size=(96, 96)), augment, CLASSES)
    for seed in range(4):
        first = transform(SCENE, np.random.default_rng(seed), fetch)
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)
        transform(SCENE, np.random.default_rng(99), fetch)
        second = transform(SCENE, np.random.default_rng(seed), fetch)
        assert torch.equal(first.image, second.image)
        assert torch.equal(first.target.boxes, second.target.boxes)
        assert torch.equal(first.target.labels, second.target.labels)
        assert first.info == second.info


def test_another_generator_gives_another_example_and_inputs_are_left_alone():
    before = SCENE.image.copy()
    transform = Augment(InputConfig(size=(96, 96)), AUGMENTS[2])
    one, other = (transform(SCENE, np.random.default_rng(seed), fetch) for seed in (1, 2))
    assert not torch.equal(one.image, other.image)
    assert np.array_equal(SCENE.image, before)


def test_colours_change_only_with_jitter_and_move_no_box():
    plain, jittered = (
        Augment(InputConfig(size=(96, 96)), AugmentConfig(flip=0, color_jitter=strength))(
            SCENE, np.random.default_rng(3), None
        )
        for strength in (0.0, 0.5)
    )
    assert not torch.equal(plain.image, jittered.image)
    assert torch.allclose(plain.target.boxes, jittered.target.boxes, atol=1e-4)


def test_rows_9_to_11_and_crowds_are_not_trained_on():
    truth = boxes_of(
        [
            [5, 5, 5, 30],
            [9, 9, 4, 4],
            [-20, 10, 20, 30],
            [200, 200, 300, 300],
            [0, 0, 40, 40],
            [1, 2, 30, 20],
        ],
        labels=[0, 1, 2, 3, 0, 1],
        crowd=[False, False, False, False, True, False],
    )
    sample = Sample(np.zeros((50, 60, 3), np.uint8), truth, 0)
    for augment in (None, AugmentConfig(flip=0)):
        example = build_transform(InputConfig(size=(64, 64)), augment, CLASSES)(
            sample, np.random.default_rng(0), None
        )
        ratio = 64 / 60
        assert example.target.labels.tolist() == [2, 1]
        expected = np.array([[0, 10, 20, 30], [1, 2, 30, 20]]) * ratio
        assert np.abs(example.target.boxes.numpy() - expected).max() < 0.5  # 50 px become whole ones


def test_boxes_below_a_pixel_are_not_trained_on():
    sample = Sample(np.zeros((1000, 1000, 3), np.uint8), boxes_of([[10, 10, 14, 200], [0, 0, 100, 100]]), 0)
    example = Augment(InputConfig(size=(100, 100)), AugmentConfig(flip=0))(
        sample, np.random.default_rng(0), None
    )
    assert example.target.labels.tolist() == [1]


@pytest.mark.parametrize("augment", AUGMENTS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (30, 20)])
def test_row_16_pictures_without_boxes_and_of_any_size(shape, augment):
    sample = Sample(np.zeros((*shape, 3), np.uint8), boxes_of([]), 0)
    for seed in range(6):
        example = build_transform(InputConfig(size=(96, 96)), augment, CLASSES)(
            sample, np.random.default_rng(seed), lambda _: sample
        )
        assert example.target.boxes.shape == (0, 4)
        assert example.target.labels.shape == (0,)


def test_more_labels_than_float32_tells_apart_keep_their_class():
    label = 2**24 + 1
    sample = Sample(np.zeros((60, 60, 3), np.uint8), boxes_of([[10, 10, 50, 50]], labels=[label]), 0)
    example = Augment(InputConfig(size=(64, 64)), AugmentConfig())(sample, np.random.default_rng(0), None)
    assert example.target.labels.tolist() == [label]


@pytest.mark.parametrize(
    "wrong",
    [{"scale": (0, 1)}, {"crop_scale": (0.5, 1.2)}, {"mosaic_scale": (0.9, 0.1)}, {"crop_ratio": (2, 1)}],
)
def test_ranges_are_checked(wrong):
    with pytest.raises(ValidationError, match=r"\[min, max\]"):
        AugmentConfig(**wrong)
