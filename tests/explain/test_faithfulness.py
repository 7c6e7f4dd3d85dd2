"""The pointing game, deletion and insertion: by hand, and against plain loops."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from tests.explain.tiny import asked, info_of, tiny_classifier
from visiontasks.explain.faithfulness import (
    BASELINES,
    BLUR,
    BLURRED_SIDE,
    blurred,
    box_region,
    class_probability,
    deletion,
    importance_order,
    insertion,
    pointing,
    replacement_curve,
    widened,
)
from visiontasks.types import Aim


def subject_of(size=(20, 30), **placed):
    torch.manual_seed(0)
    images = torch.randn(1, 3, *size)
    return asked(tiny_classifier(), images, Aim(1), info_of(images, **placed))


def peak(size, *places):
    values = torch.randn(size, generator=torch.Generator().manual_seed(1))
    for place in places:
        values[place] = 9.0
    return values


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((2, 1, 5, 3), (slice(1, 3), slice(2, 5))),
        ((1.5, 0.6, 2.5, 2.4), (slice(1, 2), slice(1, 2))),  # centres at 1.5 (in) and 2.5 (out)
        ((-3, -2, 99, 1), (slice(0, 1), slice(0, 8))),
    ],
)
def test_a_box_holds_the_pixels_whose_centres_it_holds(box, pixels):
    expected = np.zeros((6, 8), bool)
    expected[pixels] = True
    assert np.array_equal(box_region([box], (6, 8)), expected)


def test_the_tolerance_is_a_distance():
    region = np.zeros((40, 100), bool)
    region[10:12, 50:60] = region[35, 3] = True
    y, x = np.indices(region.shape)
    hits = np.argwhere(region)
    away = np.sqrt(((y[..., None] - hits[:, 0]) ** 2 + (x[..., None] - hits[:, 1]) ** 2).min(axis=2))
    np.testing.assert_array_equal(widened(region, 0.05), away <= 5)  # the longer side has 100 pixels
    assert not widened(np.zeros((4, 5), bool), 1.0).any()


@pytest.mark.parametrize(
    ("place", "hit"), [((6, 10), 1), ((5, 12), 1), ((6, 13), 0), ((4, 10), 0), ((0, 0), 0)]
)
def test_pointing_by_hand(place, hit):
    """A box of rows 5 to 8 and columns 10 to 12."""
    region = box_region([(10, 5, 13, 9)], (20, 30))
    assert pointing(subject_of(), peak((20, 30), place), region, 0) == hit
    near = pointing(subject_of(), peak((20, 30), place), region, 1 / 30)  # a pixel
    assert near == (place != (0, 0))


def test_equal_maxima_share_the_point():
    region = box_region([(10, 5, 13, 9)], (20, 30))
    values = peak((20, 30), (6, 10), (7, 11), (0, 0))
    assert pointing(subject_of(), values, region, 0) == pytest.approx(2 / 3)
    random = BASELINES["random"](subject_of())
    assert pointing(subject_of(), random, region, 0) == pytest.approx(12 / 600)  # what the box covers


def test_pointing_in_original_pixels():
    """A picture of 60x80 shrunk to 15x20, 2 pixels down and 5 right; padding has no maximum."""
    subject = subject_of(height=60, width=80, resized_height=15, resized_width=20, pad_left=5, pad_top=2)
    values = peak((20, 30), (4, 8))  # the middle of rows 8 to 11 and columns 12 to 15
    values[0, 0] = values[19, 29] = 50
    for box, hit in (((12, 8, 16, 12), 1), ((0, 0, 80, 60), 1), ((16, 8, 80, 60), 0), ((12, 0, 16, 9), 0)):
        assert pointing(subject, values, box_region([box], (60, 80)), 0) == hit
    centre = BASELINES["centre"](subject)
    assert pointing(subject, centre, box_region([(36, 28, 44, 32)], (60, 80)), 0) == 1


def test_the_order_is_that_of_the_values_and_drawn_where_they_are_equal():
    subject = subject_of(resized_height=10, resized_width=12, pad_left=3, pad_top=4)
    values = torch.randn(20, 30)
    inside = [(y * 30 + x) for y in range(4, 14) for x in range(3, 15)]
    expected = sorted(inside, key=lambda place: -values.flatten()[place])
    assert importance_order(subject, values).tolist() == expected
    constant = torch.zeros(20, 30)
    first, second = (importance_order(subject, constant, seed).tolist() for seed in (0, 1))
    assert sorted(first) == sorted(second) == inside and first != second != inside


def test_the_curve_of_a_sum_by_hand():
    """The "probability" is the mean pixel: 4 pixels worth 8, 4, 2 and 2 of 16."""
    begin = torch.tensor([8.0, 2.0, 4.0, 2.0]).view(1, 1, 2, 2).expand(-1, 3, -1, -1)
    order = torch.tensor([0, 2, 1, 3])
    curve = replacement_curve(
        lambda images: images.mean(dim=(1, 2, 3)) / 4, begin, 0 * begin, order, steps=4, batch_size=3
    )
    assert curve.tolist() == [1, 0.5, 0.25, 0.125, 0]
    assert float(torch.trapezoid(curve) / 4) == pytest.approx((0.5 + 0.5 + 0.25 + 0.125) / 4)


def plain_loop(network, begin, end, values, steps):
    """One pixel after the other, one picture at a time; an implementation of its own."""
    ranked = np.argsort(-values.numpy().ravel(), kind="stable")
    current, heights, done = begin.clone(), [], 0
    for step in range(steps + 1):
        while done < round(step * values.numel() / steps):
            y, x = divmod(int(ranked[done]), values.shape[1])
            current[0, :, y, x] = end[0, :, y, x]
            done += 1
        with torch.no_grad():
            levels = network.backbone(current)
            heights.append(float(F.softmax(network.head(levels) / 1.7, dim=1)[0, 1]))
    return sum((a + b) / 2 for a, b in pairwise(heights)) / steps


@pytest.mark.parametrize("steps", [1, 7, 600])
def test_deletion_and_insertion_equal_a_plain_loop(steps):
    subject = subject_of()
    values = torch.randn(20, 30)
    probability = class_probability(subject, {"temperature": 1.7})
    image, network = subject.batch.images, subject.network
    assert deletion(probability, subject, values, steps=steps, batch_size=5) == pytest.approx(
        plain_loop(network, image, torch.zeros_like(image), values, steps), abs=1e-6
    )
    assert insertion(probability, subject, values, steps=steps, batch_size=5) == pytest.approx(
        plain_loop(network, blurred(subject), image, values, steps), abs=1e-6
    )


def test_the_blur_is_a_gaussian_of_the_picture_alone():
    subject = subject_of((230, 240), resized_height=220, resized_width=224, pad_left=7, pad_top=4)
    sigma = BLUR * 224 / BLURRED_SIDE
    found = blurred(subject)[0].numpy()
    shown = subject.batch.images[0, :, 4:224, 7:231].numpy()
    expected = gaussian_filter(shown, (0, sigma, sigma), mode="mirror", truncate=4)
    np.testing.assert_allclose(found[:, 4:224, 7:231], expected, atol=1e-5)
    np.testing.assert_array_equal(found[:, :4], subject.batch.images[0, :, :4])


def test_a_map_that_knows_is_better_than_one_that_does_not():
    """A network whose class 1 is the checks of one corner: the map of that corner wins by far."""
    network = tiny_classifier()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.backbone[0].weight[0, :, 1, 1] = 1.0
        network.backbone[2].weight[0, 0, 1, 1] = 1.0
        network.head.fc.weight[1, 0] = 8.0
    images = torch.full((1, 3, 20, 32), -1.0)
    checks = (
        torch.arange(8)[:, None] + torch.arange(8)
    ) % 2  # the network sees the 0s; blurred they are gone
    images[:, :, :8, :8] = 1.0 - 2 * checks
    subject = asked(network, images)
    knows = torch.zeros(20, 32)
    knows[:8, :8] = 1
    probability = class_probability(subject, {"temperature": 1.0})
    scores = {
        name: [of(probability, subject, values, steps=20) for of in (deletion, insertion)]
        for name, values in (("knows", knows), ("random", BASELINES["random"](subject)))
    }
    assert scores["knows"][0] < scores["random"][0] - 0.2 and scores["knows"][1] > scores["random"][1] + 0.2
    region = box_region([(0, 0, 8, 8)], (20, 32))
    assert (
        pointing(subject, knows, region) == 1 and pointing(subject, BASELINES["centre"](subject), region) == 0
    )
