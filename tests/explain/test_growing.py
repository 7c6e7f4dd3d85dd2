"""Pixels in and out, and the step that maximise and dream share."""

import numpy as np
import pytest
import torch

from visiontasks.errors import RunError
from visiontasks.explain.growing import ascent, normaliser, slope_of, to_image, to_pixels

CPU = torch.device("cpu")


def test_bytes_come_back_and_what_is_outside_is_cut_off():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    pixels = to_pixels(image, CPU)
    assert pixels.shape == (1, 3, 5, 7) and float(pixels[0, 2, 4, 1]) == pytest.approx(image[4, 1, 2] / 255)
    assert np.array_equal(to_image(pixels), image)
    assert np.array_equal(to_image(4 * pixels - 1)[image > 128], np.full((image > 128).sum(), 255))


def test_a_moved_picture_has_the_same_gradient_moved_back():
    """A score that does not depend on where things are: the draw of the move changes nothing."""
    normalise = normaliser((0.5, 0.4, 0.3), (0.25, 0.2, 0.5), CPU)
    slope = slope_of(lambda images: images.pow(3).sum(), normalise)
    pixels = torch.rand((1, 3, 6, 8), generator=torch.Generator().manual_seed(1))
    score, uphill = ascent(slope, pixels, (3, 5), torch.Generator().manual_seed(2), 0)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.25, 0.2, 0.5]).view(3, 1, 1)
    by_hand = 3 * ((pixels - mean) / std) ** 2 / std
    torch.testing.assert_close(uphill, by_hand / by_hand.square().mean().sqrt())
    assert score == pytest.approx(float(((pixels - mean) / std).pow(3).sum()), rel=1e-5)


def test_the_move_is_drawn_within_its_reach():
    """A score of one row and one column: the gradient shows which pixel was there."""
    slope = slope_of(lambda images: images[0, 0, 4, 4], lambda pixels: pixels)
    places = set()
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        _, uphill = ascent(slope, torch.rand(1, 3, 9, 9), (1, 2), rng, 0)
        places.add(tuple(uphill[0, 0].nonzero()[0].tolist()))
    assert places == {(row, column) for row in (3, 4, 5) for column in (2, 3, 4, 5, 6)}


def test_after_the_first_step_a_flat_score_is_the_end():
    slope = slope_of(lambda images: (0 * images).sum(), lambda pixels: pixels)
    pixels, rng = torch.zeros(1, 3, 4, 4), torch.Generator()
    assert not ascent(slope, pixels, (0, 0), rng, 1)[1].any()
    with pytest.raises(RunError, match="found a gradient of 0 at the first one"):
        ascent(slope, pixels, (0, 0), rng, 0)
