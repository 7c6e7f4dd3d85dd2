"""Original pixels to network pixels, deterministic and random."""

import random

import numpy as np
import pytest
import torch

from visiontasks.classes import ClassMap
from visiontasks.classification import TASK
from visiontasks.classification.config import AugmentConfig, InputConfig
from visiontasks.classification.transforms import (
    collate,
    cutmix,
    fit_image,
    mixup,
    one_hot,
    pad_and_crop,
    resize,
)
from visiontasks.types import Sample

CLASSES = ClassMap(("a", "b", "c"))


def gradient(height, width):
    """A picture whose red channel is the column and whose green channel is the row, as shares of the side."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack(
        [255 * columns / max(width - 1, 1), 255 * rows / max(height - 1, 1), np.zeros_like(rows)], 2
    )
    return image.round().astype(np.uint8)


@pytest.mark.parametrize("rule", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (1, 1), (7, 301), (24, 24)])
def test_each_rule_gives_the_networks_size_and_the_way_back(rule, shape):
    input = InputConfig(size=(24, 32), resize=rule)
    image, info = fit_image(gradient(*shape), "id", input)
    assert image.shape == (24, 32, 3)
    assert (info.height, info.width) == shape
    x = (16 - info.pad_left) * info.width / info.resized_width  # the network's centre in original pixels
    y = (12 - info.pad_top) * info.height / info.resized_height
    assert abs(x - shape[1] / 2) <= 0.5 + 0.5 * info.width / info.resized_width  # half a pixel of either
    assert abs(y - shape[0] / 2) <= 0.5 + 0.5 * info.height / info.resized_height


def test_pad_keeps_the_ratio_and_fills_with_the_mean():
    image, info = fit_image(np.zeros((10, 40, 3), np.uint8), 0, InputConfig(size=(20, 20), resize="pad"))
    assert (info.resized_height, info.resized_width, info.pad_top, info.pad_left) == (5, 20, 7, 0)
    assert image[0, 0].tolist() == [124, 116, 104]  # ImageNet's mean
    assert image[10, 10].tolist() == [0, 0, 0]


def test_crop_takes_the_centre_of_the_scaled_picture():
    input = InputConfig(size=(8, 8), resize="crop", crop_fraction=0.5)
    image, info = fit_image(gradient(16, 32), 0, input)
    assert (info.resized_height, info.resized_width, info.pad_top, info.pad_left) == (16, 32, -4, -12)
    assert np.array_equal(image, gradient(16, 32)[4:12, 12:20])


def test_a_picture_of_the_right_size_is_left_alone():
    image = gradient(5, 6)
    assert resize(image, (5, 6)) is image


def make(augment, seed=0, fetch=None, label=1, size=(24, 24)):
    transform = TASK.build_transform(InputConfig(size=size, resize="stretch"), augment, CLASSES, None)
    sample = Sample(gradient(30, 30), label, "x.png")
    return transform(sample, np.random.default_rng(seed), fetch)


def other(index):
    return Sample(np.full((30, 30, 3), 200, np.uint8), 2, "other.png")


EVERYTHING = AugmentConfig(
    flip=0.5, vertical_flip=0.5, pad_crop=3, rotate=20, color_jitter=0.3, cutout=6, mixup=0.4, cutmix=1.0
)


@pytest.mark.parametrize("augment", [None, AugmentConfig(), EVERYTHING, AugmentConfig(crop_scale=(0.3, 1))])
def test_the_same_generator_gives_the_same_example_whatever_came_before(augment):
    first = make(augment, 7, other)
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    make(augment, 8, other)
    second = make(augment, 7, other)
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.target, second.target)
    assert first.image.shape == (3, 24, 24)
    assert first.image.dtype == torch.uint8
    assert first.truth == 1


def test_another_generator_gives_another_example():
    assert not torch.equal(make(EVERYTHING, 1, other).image, make(EVERYTHING, 2, other).image)


def test_flip_mirrors_left_and_right():
    plain, mirrored = make(AugmentConfig(flip=0)).image, make(AugmentConfig(flip=1)).image
    assert torch.equal(mirrored, plain.flip(2))
    assert torch.equal(make(AugmentConfig(flip=0, vertical_flip=1)).image, plain.flip(1))


def test_pad_and_crop_reaches_every_place_and_reflects():
    image = gradient(6, 7)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    places = {padded[y : y + 6, x : x + 7].tobytes(): (y, x) for y in range(5) for x in range(5)}
    rng = np.random.default_rng(0)
    assert {places[pad_and_crop(image, 2, rng).tobytes()] for _ in range(400)} == set(places.values())


@pytest.mark.parametrize("name", ["flip", "vertical_flip"])
def test_a_flip_comes_as_often_as_it_says(name):
    off = {"flip": 0, "vertical_flip": 0}
    plain = make(AugmentConfig(**off)).image
    changed = [
        not torch.equal(make(AugmentConfig(**{**off, name: 0.25}), i).image, plain) for i in range(400)
    ]
    assert 0.15 < np.mean(changed) < 0.35


def test_cutout_blanks_one_square_with_the_mean():
    plain, cut = make(AugmentConfig(flip=0)).image, make(AugmentConfig(flip=0, cutout=6)).image
    changed = (plain != cut).any(0)
    assert 0 < changed.sum() <= 36
    assert cut[:, changed].unique(dim=1).shape[1] == 1


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_mixture_has_a_mixed_target(kind):
    example = make(AugmentConfig(flip=0, **{kind: 1.0}), 3, other)
    assert example.target.sum().item() == pytest.approx(1)
    assert 0 < example.target[1].item() < 1
    assert example.target[2].item() == pytest.approx(1 - example.target[1].item())


def test_mixup_by_the_formula():
    first, second = gradient(6, 6), np.full((6, 6, 3), 100, np.uint8)
    mixed, share = mixup(first, second, 0.25, np.random.default_rng(0))
    assert share == 0.25
    assert np.abs(mixed - (0.25 * first + 0.75 * 100)).max() <= 0.5 + 1e-6


def test_cutmix_keeps_the_share_of_pixels_that_it_says():
    first, second = np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 9, np.uint8)
    for seed in range(20):
        mixed, share = cutmix(first, second, 0.6, np.random.default_rng(seed))
        assert share == pytest.approx((mixed[..., 0] == 0).mean())
    assert first.max() == 0  # inputs are never modified


def test_colours_change_only_with_jitter():
    assert torch.equal(make(AugmentConfig(flip=0), 1).image, make(AugmentConfig(flip=0), 2).image)
    assert not torch.equal(
        make(AugmentConfig(flip=0, color_jitter=0.5), 1).image, make(AugmentConfig(flip=0), 1).image
    )


def test_collate_makes_one_channels_last_tensor():
    examples = [make(None, label=label) for label in (0, 2)]
    batch = collate(examples)
    assert batch.images.shape == (2, 3, 24, 24)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.images[1], examples[1].image)
    assert torch.equal(batch.targets, torch.stack([one_hot(0, 3), one_hot(2, 3)]))
    assert [info.image_id for info in batch.infos] == ["x.png", "x.png"]


def test_pictures_without_truth_collate_to_a_batch_without_targets():
    transform = TASK.build_transform(InputConfig(size=(8, 8)), None, CLASSES, None)
    example = transform(Sample(gradient(9, 9), None, 0), np.random.default_rng(0), None)
    assert collate([example]).targets == ()
