"""Drawn grounds: patterns between 0 and 1, in colours of the part that they replace."""

import numpy as np
import pytest

from visiontasks.detection.datasets.patterns import PATTERNS, drawn_ground

SIZE = (40, 56)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_a_pattern_has_light_and_dark_at_every_size(pattern):
    for size in (SIZE, (2, 3), (320, 320)):
        drawn = [pattern(size, np.random.default_rng(seed)) for seed in range(20)]
        assert {amounts.shape for amounts in drawn} == {size}
        assert min(amounts.min() for amounts in drawn) >= 0
        assert max(amounts.max() for amounts in drawn) <= 1
    assert np.mean([np.ptp(amounts) > 0.2 for amounts in drawn]) > 0.8


def test_a_ground_is_a_function_of_the_generator_and_has_the_parts_colours():
    part = np.full((4, 4, 3), (200, 40, 20), dtype=np.uint8)
    part[:2] = (10, 200, 60)
    grounds = [drawn_ground(part, SIZE, np.random.default_rng(seed)) for seed in range(30)]
    again = [drawn_ground(part, SIZE, np.random.default_rng(seed)) for seed in range(30)]
    assert all(np.array_equal(one, other) for one, other in zip(grounds, again, strict=True))
    assert {(ground.shape, ground.dtype) for ground in grounds} == {((*SIZE, 3), np.dtype(np.uint8))}
    blue = np.concatenate([ground[..., 2].ravel() for ground in grounds])
    assert np.quantile(blue, 0.5) <= 60  # as on the part, or shaded; white only where one colour was drawn


def test_a_part_of_one_colour_gets_a_pattern_that_can_be_seen():
    part = np.full((2, 2, 3), 250, dtype=np.uint8)
    contrasts = [np.ptp(drawn_ground(part, SIZE, np.random.default_rng(seed))) for seed in range(30)]
    assert np.median(contrasts) > 100
