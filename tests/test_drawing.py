import itertools

import numpy as np
import pytest

from visiontasks import drawing
from visiontasks.drawing import (
    color_of,
    contact_sheet,
    draw_box,
    draw_label,
    enlarged,
    font_size,
    label_height,
    luminance,
    shorten,
    text_color,
    text_width,
)

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def grey(height, width):
    return np.full((height, width, 3), 128, np.uint8)


def painted(image):
    """Rows and columns (first, last) that differ from the ground."""
    rows, columns = np.nonzero((image != 128).any(axis=-1))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_a_class_keeps_its_colour_for_ever():
    assert color_of("cat") == (50, 209, 178)
    assert color_of("žluťoučký") == color_of("žluťoučký")


def test_classes_of_a_data_set_have_colours_apart():
    for one, other in itertools.combinations(CIFAR, 2):
        assert np.abs(np.subtract(color_of(one), color_of(other))).max() > 20, (one, other)


@pytest.mark.parametrize("name", [*CIFAR, *map(str, range(200))])
def test_text_on_a_colour_can_be_read(name):
    background = luminance(color_of(name))
    text = luminance(text_color(color_of(name)))
    contrast = (max(background, text) + 0.05) / (min(background, text) + 0.05)
    assert contrast >= 4.5  # WCAG 2.1, level AA


@pytest.mark.parametrize(
    ("size", "letters"), [((32, 32), 12), ((480, 640), 19), ((640, 480), 19), ((3648, 5472), 146)]
)
def test_letters_grow_with_the_picture(size, letters):
    assert font_size(*size) == letters


@pytest.mark.parametrize("text", ["cat 0.93", "žluťoučký кот γάτα قطة 猫", "", "$x$ <b> 😀"])
def test_a_label_is_painted_as_wide_as_its_text(text):
    image = grey(100, 400)
    draw_label(image, text, (10, 20), (200, 30, 30), size=16)
    top, bottom, left, right = painted(image)
    assert (top, bottom - top + 1, left) == (20, label_height(16), 10)
    assert right - left + 1 == text_width(text, 16) + 6
    if text:
        assert (image == 255).all(axis=-1).any()  # white letters


def test_letters_beyond_ascii_are_not_all_the_same_box():
    pictures = []
    for letter in "ščкγق":
        image = grey(30, 30)
        draw_label(image, letter, (0, 0), (0, 0, 0), size=20)
        pictures.append(image.tobytes())
    assert len(set(pictures)) == 5


@pytest.mark.parametrize(
    ("xy", "corner"),
    [((-50, -50), (0, 0)), ((500, 500), "end"), ((10.4, 20.6), (21, 10))],
)
def test_a_label_is_moved_into_the_picture(xy, corner):
    image = grey(100, 200)
    draw_label(image, "cat", xy, (200, 30, 30), size=16)
    top, bottom, left, right = painted(image)
    assert (bottom, right) == (99, 199) if corner == "end" else (top, left) == corner


@pytest.mark.parametrize("size", [(1, 1), (5, 400), (400, 5), (12, 12)])
def test_a_label_larger_than_the_picture_is_cut(size):
    image = grey(*size)
    draw_label(image, "a long name", (3, 3), (200, 30, 30))
    assert (image != 128).any()


def test_long_text_is_shortened_to_fit():
    assert shorten("cat", 12, 100) == "cat"
    short = shorten("a very long class name indeed", 12, 100)
    assert short.startswith("a very")
    assert short.endswith("…")
    assert text_width(short, 12) <= 100
    assert text_width(short[:-1] + "xx…", 12) > 100
    assert shorten("cat", 12, 0) == "…"


def test_line_breaks_and_control_characters_are_blanks():
    assert shorten("a\nb\tc\x00", 12, 200) == "a b c "


def test_a_font_that_is_not_installed_is_replaced(monkeypatch):
    monkeypatch.setattr(drawing, "EAST_ASIAN_FONTS", ("no-such-font.ttf",))
    drawing._load_font.cache_clear()
    assert text_width("猫", 20) > 0
    monkeypatch.setattr(drawing.importlib.util, "find_spec", lambda name: None)
    drawing._load_font.cache_clear()
    assert text_width("cat", 20) > 20
    drawing._load_font.cache_clear()


def test_a_box_is_an_outline_inside_its_edges():
    image = grey(50, 60)
    draw_box(image, (10, 5, 40, 30), (200, 30, 30), thickness=2)
    assert painted(image) == (5, 29, 10, 39)
    assert (image[7:28, 12:38] == 128).all()
    assert ((image != 128).any(axis=-1)).sum() == 30 * 25 - 26 * 21


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((-10, -10, 500, 500), True),
        ((5, 5, 5, 5), False),
        ((100, 100, 120, 120), False),
        ((3, 3, 4, 40), True),
    ],
)
def test_boxes_that_leave_the_picture_or_have_no_area(box, pixels):
    image = grey(50, 60)
    draw_box(image, box, (200, 30, 30), thickness=3)
    assert bool((image != 128).any()) == pixels


def test_enlarging_repeats_pixels():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    large = enlarged(image)
    assert large.shape == (200, 300, 3)
    assert np.array_equal(large[::100, ::100], image)
    assert (large[:100, :100] == image[0, 0]).all()
    same = enlarged(grey(200, 200))
    same[:] = 0  # a copy


def test_a_sheet_holds_every_picture():
    colors = [(10 * i, 255 - 10 * i, 5 * i + 40) for i in range(1, 11)]
    pictures = [np.full((20 + i, 40 - i, 3), color, np.uint8) for i, color in enumerate(colors)]
    sheet = contact_sheet(pictures)
    for picture, color in zip(pictures, colors, strict=True):
        assert (sheet == np.uint8(color)).all(axis=-1).sum() == picture.shape[0] * picture.shape[1]
    assert sheet.shape == (3 * (29 + 4) + 4, 4 * (40 + 4) + 4, 3)


def test_large_pictures_are_shrunk_for_a_sheet():
    assert contact_sheet([grey(1000, 500)] * 3, columns=3).shape == (256 + 8, 3 * (128 + 4) + 4, 3)


def test_captions_are_below_their_pictures_and_shortened():
    pictures = [grey(50, 40), grey(50, 40)]
    plain, one, two = (
        contact_sheet(pictures, columns=1, captions=captions)
        for captions in ((), ["a", "b"], ["a\nb" * 200, "c"])
    )
    assert plain.shape == (2 * (50 + 4) + 4, 40 + 8, 3)
    line = label_height(14)
    assert one.shape == (2 * (50 + 4 + line) + 4, 256 + 8, 3)  # a caption has room, however small the picture
    assert two.shape[0] > one.shape[0]
    below = slice(4 + 50, 4 + 50 + line)
    assert (one[below] > 200).any() and not (one[:54] > 200).any()


def test_a_sheet_has_cells_of_the_size_asked_for():
    assert contact_sheet([grey(1000, 500)], cell=400).shape == (408, 208, 3)
