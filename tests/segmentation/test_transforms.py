"""Original pixels to network pixels with masks, deterministic and random."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visiontasks.classes import ClassMap
from visiontasks.segmentation import TASK
from visiontasks.segmentation.config import AugmentConfig, InputConfig
from visiontasks.segmentation.transforms import collate, network_size, resize_mask, zoomed_part
from visiontasks.types import Sample

CLASSES = ClassMap(("a", "b", "c"))
EVERYTHING = AugmentConfig(scale=(0.5, 2), rotate=30, flip=0.5, vertical_flip=0.5, color_jitter=0.3)


def scene(height, width, ids=(0, 7, 254)):
    """Blobs of some ids, in a picture whose red channel says the id too."""
    rows, columns = np.mgrid[0:height, 0:width]
    mask = np.array(ids, np.uint8)[(rows // 5 + columns // 7) % len(ids)]
    return np.stack([mask, np.full_like(mask, 100), np.full_like(mask, 50)], axis=2), mask


def make(augment, seed=0, shape=(40, 60), *, ids=(0, 7, 254), **input):
    image, mask = scene(*shape, ids)
    transform = TASK.build_transform(InputConfig(**{"size": (24, 32), **input}), augment, CLASSES, None)
    return transform(Sample(image, mask, "x.png"), np.random.default_rng(seed), None)


@pytest.mark.parametrize(
    ("rule", "shape", "size"),
    [
        ("none", (40, 60), (40, 60)),
        ("stretch", (40, 60), (24, 32)),
        ("fit", (40, 60), (21, 32)),
        ("fit", (60, 40), (24, 16)),
        ("fit", (12, 16), (24, 32)),
        ("fit", (1, 1000), (1, 32)),
        ("shorter", (40, 48), (24, 28)),
        ("shorter", (60, 40), (32, 21)),
    ],
)
def test_each_rule_gives_its_size_and_the_way_back(rule, shape, size):
    example = make(None, shape=shape, resize=rule)
    assert tuple(example.image.shape) == (3, *size)
    assert tuple(example.target.shape) == size
    info = example.info
    assert (info.height, info.width) == shape
    assert (info.resized_height, info.resized_width, info.pad_top, info.pad_left) == (*size, 0, 0)
    assert example.truth.shape == shape
    assert network_size(*shape, InputConfig(size=(24, 32), resize=rule)) == size


def test_without_resizing_nothing_changes():
    example = make(None, resize="none")
    image, mask = scene(40, 60)
    assert np.array_equal(example.image.permute(1, 2, 0).numpy(), image)
    assert np.array_equal(example.target.numpy(), mask)
    assert np.array_equal(example.truth, mask)


def test_a_mask_is_sampled_at_the_centres_of_the_new_pixels():
    rng = np.random.default_rng(0)
    for height, width, new_height, new_width in rng.integers(1, 40, (50, 4)).tolist():
        mask = rng.integers(0, 256, (height, width)).astype(np.uint8)
        rows = ((2 * np.arange(new_height) + 1) * height) // (2 * new_height)
        columns = ((2 * np.arange(new_width) + 1) * width) // (2 * new_width)
        resized = resize_mask(mask, (new_height, new_width))
        same = resized == mask[np.ix_(rows, columns)]
        on_edges = ((2 * np.arange(new_height) + 1) * height) % (2 * new_height) == 0
        edges_across = ((2 * np.arange(new_width) + 1) * width) % (2 * new_width) == 0
        assert same[~on_edges][:, ~edges_across].all()  # between two pixels either is right


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 50),
    st.integers(1, 70),
    st.sampled_from(["none", "fit", "shorter", "stretch"]),
)
def test_no_new_id_ever_appears(seed, height, width, rule):
    rng = np.random.default_rng(seed)
    mask = rng.choice(np.array([3, 90, 200], np.uint8), (height, width))
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    transform = TASK.build_transform(InputConfig(size=(24, 32), resize=rule), EVERYTHING, CLASSES, None)
    example = transform(Sample(image, mask, 0), rng, None)
    assert set(np.unique(example.target)) <= {*np.unique(mask).tolist(), 255}
    assert example.image.shape[1:] == example.target.shape
    assert example.target.shape[0] <= 24
    assert example.target.shape[1] <= 32
    assert np.array_equal(example.truth, mask)


@pytest.mark.parametrize("rule", ["none", "fit", "shorter", "stretch"])
def test_picture_and_mask_stay_together(rule):
    """A pixel's colour is nearest to that of its id, whatever was done to both; edges are blurred."""
    augment = EVERYTHING.model_copy(update={"color_jitter": 0.0, "scale": (1.5, 2.5)})
    for seed in range(10):
        example = make(augment, seed, shape=(60, 80), ids=(0, 120, 240), resize=rule, size=(50, 60))
        shown = example.target.numpy() != 255
        agrees = np.abs(example.image[0].numpy().astype(int) - example.target.numpy()) < 60
        assert agrees[shown].mean() > 0.85


@pytest.mark.parametrize("augment", [None, AugmentConfig(), EVERYTHING])
def test_the_same_generator_gives_the_same_example_whatever_came_before(augment):
    first = make(augment, 7)
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    make(augment, 8)
    second = make(augment, 7)
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.target, second.target)


def test_another_generator_gives_another_example():
    assert not torch.equal(make(EVERYTHING, 1).target, make(EVERYTHING, 2).target)


def test_mirrors_turn_both():
    plain = make(AugmentConfig(flip=0), resize="stretch")
    mirrored = make(AugmentConfig(flip=1), resize="stretch")
    assert torch.equal(mirrored.image, plain.image.flip(2))
    assert torch.equal(mirrored.target, plain.target.flip(1))
    upside_down = make(AugmentConfig(flip=0, vertical_flip=1), resize="stretch")
    assert torch.equal(upside_down.target, plain.target.flip(0))


def test_a_turn_ignores_the_corners():
    example = make(AugmentConfig(flip=0, rotate=45), 1, resize="stretch")
    target = example.target.numpy()
    corner = target == 255
    assert 0 < corner.mean() < 0.5
    assert example.image[:, corner].float().std(dim=1).max() < 20  # one colour, blurred at the edge


def test_training_cuts_a_random_part_of_pictures_that_keep_their_size():
    image, mask = scene(40, 60)
    seen = set()
    for seed in range(8):
        example = make(AugmentConfig(flip=0), seed)
        assert tuple(example.image.shape) == (3, 24, 32)
        windows = np.lib.stride_tricks.sliding_window_view(image, (24, 32, 3))[:, :, 0]
        found = np.argwhere((windows == example.image.permute(1, 2, 0).numpy()).all(axis=(2, 3, 4)))
        assert len(found)
        top, left = found[0]
        assert np.array_equal(mask[top : top + 24, left : left + 32], example.target.numpy())
        seen.add((int(top), int(left)))
    assert len(seen) > 4
    small = make(AugmentConfig(flip=0), shape=(10, 20))
    assert tuple(small.target.shape) == (10, 20)


def test_the_scale_is_drawn_between_its_ends():
    image, mask = scene(40, 40)
    input = InputConfig(size=(400, 400), resize="none")
    sides = []
    for seed in range(200):
        part, part_mask = zoomed_part(image, mask, input, (0.5, 2), np.random.default_rng(seed))
        assert part.shape[:2] == part_mask.shape
        sides.append(part.shape[0])
    assert (min(sides), max(sides)) == (pytest.approx(20, abs=1), pytest.approx(80, abs=2))
    assert 70 < sum(side < 40 for side in sides) < 130  # shrinking is as likely as enlarging
    assert np.array_equal(mask, scene(40, 40)[1])


def test_collate_pads_pictures_with_0_and_masks_with_255():
    examples = [make(None, shape=shape, resize="none") for shape in ((10, 20), (12, 16), (12, 20))]
    batch = collate(examples)
    assert tuple(batch.images.shape) == (3, 3, 12, 20)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert tuple(batch.targets.shape) == (3, 12, 20)
    assert batch.targets.dtype == torch.uint8
    for i, example in enumerate(examples):
        height, width = example.target.shape
        assert torch.equal(batch.images[i, :, :height, :width], example.image)
        assert torch.equal(batch.targets[i, :height, :width], example.target)
    assert (batch.images[0, :, 10:] == 0).all()
    assert (batch.targets[0, 10:] == 255).all()
    assert (batch.targets[1, :, 16:] == 255).all()
    assert [info.resized_height for info in batch.infos] == [10, 12, 12]


def test_pictures_without_truth_collate_to_a_batch_without_targets():
    transform = TASK.build_transform(InputConfig(), None, CLASSES, None)
    example = transform(Sample(scene(9, 9)[0], None, 0), np.random.default_rng(0), None)
    assert example.truth is None
    assert collate([example]).targets == ()
