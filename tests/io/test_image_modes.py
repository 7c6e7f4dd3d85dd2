"""Every kind of pixel becomes the RGB that the module's head promises."""

import numpy as np
import pytest
from picture_files import file_of, png
from PIL import Image as pillow

from visiontasks.errors import ImageError
from visiontasks.io.images import read_image_bytes


def grey(values, dtype=np.uint8):
    return np.array(values, dtype=dtype)


def pixels(data):
    return read_image_bytes(data, "a").reshape(-1, 3).tolist()


def test_row_32_grey_one_bit_and_palette():
    assert pixels(file_of(grey([[0, 7, 255]]), "PNG")) == [[0] * 3, [7] * 3, [255] * 3]
    assert pixels(file_of(pillow.fromarray(grey([[0, 255]])).convert("1"), "PNG")) == [[0] * 3, [255] * 3]
    indexed = pillow.fromarray(grey([[1, 0, 2]]))
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    assert pixels(file_of(indexed, "PNG")) == [[40, 50, 60], [10, 20, 30], [70, 80, 90]]
    assert pixels(png(1, 4, 2, 0, bytes([0b00011011]))) == [[0] * 3, [85] * 3, [170] * 3, [255] * 3]


def test_row_32_alpha_is_dropped_colours_stay():
    rgba = np.array([[[200, 100, 50, 0], [1, 2, 3, 128], [9, 8, 7, 255]]], dtype=np.uint8)
    expected = [[200, 100, 50], [1, 2, 3], [9, 8, 7]]
    assert pixels(file_of(rgba, "PNG")) == expected
    assert pixels(file_of(rgba, "WEBP", lossless=True, exact=True)) == expected
    assert pixels(file_of(rgba, "TIFF")) == expected
    la = pillow.fromarray(rgba[:, :, 0]).convert("LA")
    la.putalpha(0)
    assert pixels(file_of(la, "PNG")) == [[200] * 3, [1] * 3, [9] * 3]
    for transparency in (0, bytes([0, 128])):
        indexed = pillow.fromarray(grey([[0, 1]]))
        indexed.putpalette([200, 100, 50, 1, 2, 3])
        data = file_of(indexed, "PNG", transparency=transparency)
        assert pixels(data) == [[200, 100, 50], [1, 2, 3]]


def test_row_32_sixteen_bits_are_scaled_by_257():
    values = np.array([[0, 128, 129, 257, 32896, 65534, 65535]], dtype=np.uint16)
    expected = np.rint(values / 257).astype(int).ravel().tolist()
    for kind in ("PNG", "TIFF"):
        assert [pixel[0] for pixel in pixels(file_of(values, kind))] == expected
    raw = values.astype(">u2").tobytes()
    assert [pixel[0] for pixel in pixels(png(1, 7, 16, 0, raw))] == expected
    colours = np.array([0x1234, 0xFFFF, 0x00FF], dtype=">u2").tobytes()
    assert pixels(png(1, 1, 16, 2, colours)) == [[0x12, 0xFF, 0x00]]


def test_row_32_wide_integers_and_floats_by_their_range():
    assert pixels(file_of(grey([[0, 65535]], np.int32), "TIFF")) == [[0] * 3, [255] * 3]
    assert pixels(file_of(grey([[0, 0.5, 1]], np.float32), "TIFF")) == [[0] * 3, [128] * 3, [255] * 3]
    assert pixels(file_of(grey([[0, 1.6, 254.6]], np.float32), "TIFF")) == [[0] * 3, [2] * 3, [255] * 3]
    for values, found in (
        (grey([[0, 1000]], np.float32), "0 to 1000"),
        (grey([[-0.5, 1]], np.float32), "-0.5 to 1"),
        (grey([[0, np.nan]], np.float32), "nan to nan"),
        (grey([[-1, 3]], np.int32), "-1 to 3"),
        (grey([[0, 70000]], np.int32), "0 to 70000"),
    ):
        with pytest.raises(ImageError, match=rf"^a: expected .* found {found}; rescale the picture$"):
            read_image_bytes(file_of(values, "TIFF"), "a")


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_row_32_cmyk_adobes_inverted_one_too(kind):
    """Pillow writes CMYK JPEGs as Adobe does: inverted, with Adobe's marker."""
    inks = (40, 200, 90, 60)
    data = file_of(pillow.new("CMYK", (16, 16), inks), kind, **({"quality": 100} if kind == "JPEG" else {}))
    assert kind == "TIFF" or b"Adobe" in data
    expected = [(255 - ink) * (255 - inks[3]) / 255 for ink in inks[:3]]
    assert np.abs(read_image_bytes(data, "a") - np.array(expected)).max() <= (1 if kind == "TIFF" else 4)


def test_row_32_first_frame_of_an_animation():
    frames = [pillow.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        data = file_of(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert pixels(data) == [[255, 0, 0]] * 16, kind
