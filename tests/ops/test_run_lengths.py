"""COCO's run lengths, against pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as codec

from visiontasks.errors import DataError
from visiontasks.ops.run_lengths import check_run_length, decode_counts

masks = st.tuples(st.integers(1, 40), st.integers(1, 300), st.integers(0, 2**32 - 1), st.floats(0, 1)).map(
    lambda case: np.asfortranarray(
        np.random.default_rng(case[2]).random(case[:2]) < case[3] ** 4, dtype=np.uint8
    )
)


def runs_of(mask):
    """Lengths of runs of 0, 1, 0, ... down the columns."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    runs = np.diff([0, *changes, len(pixels)]).tolist()
    return [0, *runs] if pixels[0] else runs


@given(mask=masks)
def test_compressed_counts_are_those_of_the_pixels(mask):
    text = codec.encode(mask)["counts"].decode()
    assert decode_counts(text).tolist() == runs_of(mask)
    for counts in (text, runs_of(mask)):
        encoded = {"size": list(mask.shape), "counts": counts}
        assert check_run_length(encoded, mask.shape, "x") == mask.shape
        assert check_run_length(encoded, None, "x") == mask.shape


@given(mask=masks, place=st.integers(0, 10**6), step=st.sampled_from([-1, 1]))
def test_a_sum_that_is_off_by_one_is_refused(mask, place, step):
    counts = runs_of(mask)
    counts[place % len(counts)] += step
    if min(counts) < 0:
        return
    compressed = codec.frPyObjects({"size": list(mask.shape), "counts": counts}, *mask.shape)[
        "counts"
    ].decode()
    for wrong in (counts, compressed):
        with pytest.raises(DataError, match=r"a\.json, annotations\[4\]: expected run lengths that sum to"):
            check_run_length(
                {"size": list(mask.shape), "counts": wrong}, mask.shape, "a.json, annotations[4]"
            )


FAULTS = {
    "no size": ({"counts": [6]}, r"with size \[height, width\], found nothing"),
    "one side": ({"size": [6], "counts": [6]}, r"with size \[height, width\], found \[6\]"),
    "fraction": ({"size": [2, 3.0], "counts": [6]}, r"with size \[height, width\], found \[2, 3\.0\]"),
    "turned": ({"size": [3, 2], "counts": [6]}, r"of the picture's size \[2, 3\], found \[3, 2\]"),
    "no counts": ({"size": [2, 3]}, "expected counts of a run length, found nothing"),
    "negative": ({"size": [2, 3], "counts": [7, -1]}, r"expected counts of a run length, found \[7, -1\]"),
    "fractions": ({"size": [2, 3], "counts": [6.0]}, r"expected counts of a run length, found \[6\.0\]"),
    "too large": ({"size": [2, 3], "counts": [1 << 70]}, "expected counts of a run length, found"),
    "no text": ({"size": [2, 3], "counts": "né"}, 'expected counts of a run length, found "né"'),
    "text cut off": ({"size": [2, 3], "counts": "Q"}, 'expected counts of a run length, found "Q"'),
    "text too long": ({"size": [2, 3], "counts": "oooooooooo0"}, "expected counts of a run length"),
    "empty": ({"size": [2, 3], "counts": ""}, "expected run lengths that sum to 2 x 3 = 6 pixels, found 0"),
    "short": ({"size": [2, 3], "counts": [5]}, "expected run lengths that sum to 2 x 3 = 6 pixels, found 5"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults(case):
    encoded, message = FAULTS[case]
    with pytest.raises(DataError, match=message) as caught:
        check_run_length(encoded, (2, 3), "a.json, annotations[4]")
    assert str(caught.value).startswith("a.json, annotations[4]: ")
