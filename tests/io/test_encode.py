"""Pictures and masks as bytes of files."""

import io

import numpy as np
import pytest
from PIL import Image as pillow

from visiontasks.errors import DataError
from visiontasks.io.images import encode, encode_mask, read_image_bytes, voc_palette


@pytest.fixture
def picture():
    blocks = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((16, 16, 1), dtype=np.uint8))  # (48, 80, 3)


@pytest.mark.parametrize(("suffix", "off"), [(".png", 0), (".jpg", 6), (".JPEG", 6), (".webp", 6)])
def test_encode_reads_back(picture, suffix, off):
    view = np.repeat(picture, 2, axis=0)[::2]  # not contiguous
    read = read_image_bytes(encode(view, suffix), "a")
    assert np.abs(read.astype(int) - picture).mean() <= off


def test_encode_refuses_what_a_format_cannot_hold(picture):
    with pytest.raises(
        DataError, match=r"expected a picture to be saved as \.png, \.jpg or \.webp, found '\.tif'"
    ):
        encode(picture, ".tif")
    for suffix in (".webp", ".jpg"):
        with pytest.raises(
            DataError, match=rf"a size that {suffix} can hold, found 1 x 70000 pixels; use \.png"
        ):
            encode(np.zeros((1, 70_000, 3), dtype=np.uint8), suffix)
    assert len(encode(picture, ".jpg", quality=20)) < len(encode(picture, ".jpg", quality=95))


def test_voc_palette_has_the_published_colours():
    palette = voc_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    published = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    assert {index: tuple(palette[index].tolist()) for index in published} == published
    assert len(np.unique(palette, axis=0)) == 256


def test_encode_mask_reads_back_in_voc_colours():
    mask = np.random.default_rng(0).integers(0, 256, (7, 9), dtype=np.uint8)
    image = pillow.open(io.BytesIO(encode_mask(mask)))
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), mask)
    assert np.array_equal(np.asarray(image.convert("RGB")), voc_palette()[mask])
