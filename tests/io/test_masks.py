"""Masks: the numbers in the file, to the bit, or an error that says why not."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_files import chunk
from PIL import Image as pillow

from visiontasks.errors import DataError, ImageError
from visiontasks.io.images import encode_mask, read_colour_mask, read_mask, voc_palette


def index_png(values, depth, *, palette):
    """A PNG made by hand: (H, W) values packed into `depth` bits each."""
    height, width = values.shape
    bits = (values[..., None].astype(np.int64) >> np.arange(depth)[::-1]) & 1  # (H, W, depth)
    rows = np.packbits(bits.reshape(height, width * depth).astype(np.uint8), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, 3 if palette else 0, 0, 0, 0)
    colours = np.random.default_rng(0).integers(0, 256, (2 ** min(depth, 8), 3), dtype=np.uint8)
    table = chunk(b"PLTE", colours.tobytes()) if palette else b""
    body = chunk(b"IHDR", header) + table + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def write(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def save(tmp_path, name, image, **options):
    path = tmp_path / name
    (image if isinstance(image, pillow.Image) else pillow.fromarray(image)).save(path, **options)
    return path


CASES = [(depth, True) for depth in (1, 2, 4, 8)] + [(depth, False) for depth in (1, 2, 4, 8, 16)]


@pytest.mark.parametrize(("depth", "palette"), CASES)
def test_row_25_png_masks_of_every_depth_are_read_exactly(tmp_path, depth, palette):
    values = np.random.default_rng(depth).integers(0, 2**depth, (9, 13))
    values.flat[0], values.flat[1] = 0, 2**depth - 1
    mask = read_mask(write(tmp_path, "a.png", index_png(values, depth, palette=palette)))
    assert mask.dtype == (np.uint16 if depth == 16 else np.uint8)
    assert np.array_equal(mask, values)


@given(st.integers(1, 17), st.integers(1, 17), st.sampled_from(CASES), st.integers(0, 2**32 - 1))
def test_row_25_any_size_and_content(tmp_path_factory, height, width, case, seed):
    depth, palette = case
    values = np.random.default_rng(seed).integers(0, 2**depth, (height, width))
    path = write(tmp_path_factory.getbasetemp(), "any.png", index_png(values, depth, palette=palette))
    assert np.array_equal(read_mask(path), values)


@pytest.mark.parametrize(
    ("name", "dtype", "options"),
    [
        ("a.tif", np.uint8, {}),
        ("a.tif", np.uint16, {}),
        ("a.tif", np.uint16, {"compression": "tiff_lzw"}),
        ("a.tif", np.int32, {}),
        ("a.bmp", np.uint8, {}),
    ],
)
def test_row_25_other_lossless_formats_are_read_exactly(tmp_path, name, dtype, options):
    values = np.random.default_rng(0).integers(0, 256 if dtype == np.uint8 else 65536, (6, 5)).astype(dtype)
    mask = read_mask(save(tmp_path, name, values, **options))
    assert np.array_equal(mask, values)
    assert mask.dtype == (np.uint8 if dtype == np.uint8 else np.uint16)


def test_row_25_transparency_changes_nothing(tmp_path):
    indexed = pillow.fromarray(np.array([[0, 1, 2]], dtype=np.uint8))
    indexed.putpalette(voc_palette().tobytes())
    mask = read_mask(save(tmp_path, "a.png", indexed, transparency=bytes([0, 128, 255])))
    assert mask.tolist() == [[0, 1, 2]]


def test_row_25_gif_masks_are_read_exactly(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)
    values.flat[0] = 255
    indexed = pillow.fromarray(values)
    indexed.putpalette(voc_palette().tobytes())
    assert np.array_equal(read_mask(save(tmp_path, "a.gif", indexed, optimize=False)), values)


@pytest.mark.parametrize("orientation", [1, 6])
def test_row_29_masks_are_turned_as_pictures_are(tmp_path, orientation):
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) * 1000
    exif = pillow.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(np.rot90(values, 1)) if orientation == 6 else values
    assert np.array_equal(read_mask(save(tmp_path, "a.png", stored, exif=exif)), values)


@pytest.mark.parametrize("read", [read_mask, read_colour_mask])
@pytest.mark.parametrize(
    ("kind", "shown", "options"),
    [
        ("JPEG", "JPEG", {"quality": 95}),
        ("WEBP", "WebP", {"quality": 95}),
        ("TIFF", "TIFF of JPEG data", {"compression": "jpeg"}),
    ],
)
def test_row_26_lossy_masks_are_refused_by_content(tmp_path, read, kind, shown, options):
    path = save(tmp_path, "a.png", np.full((16, 16), 3, dtype=np.uint8), format=kind, **options)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: expected a mask in a lossless format (PNG, TIFF, GIF, BMP), found a {shown}; "
        "save it as PNG from its source"
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_refused_where_indices_are_expected(tmp_path, mode):
    path = save(tmp_path, "a.png", pillow.new(mode, (2, 2)))
    with pytest.raises(
        DataError, match=rf"a\.png: expected one index a pixel, found colours \({mode}\); read it"
    ):
        read_mask(path)


def test_values_that_are_no_indices_are_refused(tmp_path):
    for values, message in (
        (np.array([[0.5]], dtype=np.float32), r"a\.tif: expected a mask of integers, found float pixels"),
        (
            np.array([[-1, 70000]], dtype=np.int32),
            r"a\.tif: expected indices of 0 to 65535, found -1 to 70000",
        ),
    ):
        with pytest.raises(DataError, match=message):
            read_mask(save(tmp_path, "a.tif", values))


def test_damaged_and_large_masks_are_image_errors(tmp_path):
    data = index_png(np.zeros((40, 40), dtype=np.uint8), 8, palette=True)
    for content, cap, found in (
        (data[:-30], 10_000, "a whole picture, found a damaged PNG"),
        (b"", 10_000, "an empty file"),
        (data, 1_599, "at most 1,599 pixels, found 40 x 40"),
    ):
        with pytest.raises(ImageError, match=rf"a\.png: expected .*{found}"):
            read_mask(write(tmp_path, "a.png", content), max_pixels=cap)
    with pytest.raises(ImageError, match="expected a mask, found no such file"):
        read_mask(tmp_path / "none.png")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_colour_masks_are_read_exactly(tmp_path, name):
    colours = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert np.array_equal(read_colour_mask(save(tmp_path, name, colours)), colours)


def test_colour_masks_drop_alpha_and_look_palettes_up(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    assert np.array_equal(read_colour_mask(save(tmp_path, "a.png", rgba)), rgba[..., :3])
    indexed = write(tmp_path, "b.png", encode_mask(np.array([[1, 15]], dtype=np.uint8)))
    assert read_colour_mask(indexed).tolist() == [[[128, 0, 0], [192, 128, 128]]]


def test_colour_masks_of_sixteen_bits_are_refused(tmp_path):
    values = np.zeros((3, 3), dtype=np.uint16)
    with pytest.raises(DataError, match=r"a\.png: expected colours of 8 bits, found .* with 16 bits"):
        read_colour_mask(write(tmp_path, "a.png", index_png(values, 16, palette=False)))
