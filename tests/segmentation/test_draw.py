import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from visiontasks.classes import ClassMap
from visiontasks.drawing import DARK, color_of
from visiontasks.segmentation.draw import draw, draw_example, percent, plots
from visiontasks.segmentation.metrics import SegmentationEvaluator
from visiontasks.segmentation.types import SegmentationMap
from visiontasks.types import ImageInfo

CLASSES = ClassMap(("background", "cat", "žluťoučký кот γάτα", ("a very long name " * 20).strip()))


def halves(size, left, right):
    mask = np.full(size, left, np.uint8)
    mask[:, size[1] // 2 :] = right
    return mask


def shows(image, color):
    return bool((image == np.uint8(color)).all(axis=-1).any())


@pytest.mark.parametrize(
    ("size", "factor"),
    [((32, 32), 7), ((199, 300), 2), ((200, 300), 1), ((1200, 1600), 1), ((1, 1), 200), ((1, 5000), 1)],
)
def test_small_pictures_are_enlarged_by_a_whole_factor(size, factor):
    image = np.full((*size, 3), 128, np.uint8)
    mask = halves(size, 1, 2)
    drawn = draw(image, SegmentationMap(mask), CLASSES)
    assert drawn.shape == (size[0] * factor, size[1] * factor, 3)
    assert drawn.dtype == np.uint8
    assert (image == 128).all()  # the inputs are left alone
    assert np.array_equal(mask, halves(size, 1, 2))


def test_classes_are_painted_half_and_the_background_is_not():
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    drawn = draw(image, SegmentationMap(halves((300, 400), 0, 1)), CLASSES)
    assert np.array_equal(drawn[:200, :195], image[:200, :195])
    mixed = image[:200, 205:].astype(int) + color_of("cat")
    assert np.abs(drawn[:200, 205:] - mixed / 2).max() <= 1
    assert (drawn[:150, 199] == image[:150, 199]).all()  # the contour belongs to the class that is painted
    other = draw(image, SegmentationMap(halves((300, 400), 1, 2)), CLASSES)
    assert (other[:200, 199] == color_of("cat")).all()


def test_a_truth_shows_what_is_ignored():
    image = np.full((300, 400, 3), 200, np.uint8)
    drawn = draw(image, halves((300, 400), 1, 255), CLASSES)
    assert (drawn[50, 300] == (200 + np.array(DARK)) // 2).all()
    assert shows(drawn[250:], DARK)
    assert np.array_equal(
        draw(image, halves((300, 400), 1, 2), CLASSES),
        draw(image, SegmentationMap(halves((300, 400), 1, 2)), CLASSES),
    )


def test_the_legend_names_what_is_there_and_leaves_room():
    image = np.full((300, 400, 3), 128, np.uint8)
    drawn = draw(image, SegmentationMap(np.zeros((300, 400), np.uint8)), CLASSES)
    assert shows(drawn, color_of("background"))
    assert not shows(drawn, color_of("cat"))
    classes = ClassMap(tuple(f"class number {i}" for i in range(200)))
    mask = (np.arange(300 * 400) % 200).reshape(300, 400).astype(np.uint8)
    crowded = draw(np.full((300, 400, 3), 128, np.uint8), SegmentationMap(mask), classes)
    plates = [i for i in range(200) if shows(crowded[195:], color_of(f"class number {i}"))]
    assert len(plates) > 5
    assert shows(crowded[195:], DARK)  # how many more there are
    legend = (crowded == np.uint8(DARK)).all(axis=-1)
    assert not legend[:195].any()


def test_bands_leave_no_trace(monkeypatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (230, 310, 3)).astype(np.uint8)
    mask = rng.integers(0, 4, (23, 31)).astype(np.uint8).repeat(10, axis=0).repeat(10, axis=1)
    whole = draw(image, mask, CLASSES)
    monkeypatch.setattr(sys.modules[draw.__module__], "BAND", 700)
    assert np.array_equal(draw(image, mask, CLASSES), whole)
    small = draw(image[:20, :30], mask[:20, :30], CLASSES)
    monkeypatch.undo()
    assert np.array_equal(draw(image[:20, :30], mask[:20, :30], CLASSES), small)


def test_an_example_is_drawn_in_network_pixels_with_its_mask():
    mask = halves((40, 60), 1, 255)
    example = SimpleNamespace(image=np.full((3, 40, 60), 128, np.uint8), target=mask)
    drawn = draw_example(example, CLASSES)
    assert drawn.shape == (200, 300, 3)
    assert np.array_equal(drawn, draw(np.full((40, 60, 3), 128, np.uint8), mask, CLASSES))


@pytest.mark.parametrize(
    ("share", "text"), [(1, "100%"), (0.344, "34%"), (0.01, "1%"), (0.0042, "0.4%"), (0, "0.0%")]
)
def test_shares_for_people(share, text):
    assert percent(share) == text


def test_plots_of_an_evaluation_are_pictures():
    evaluator = SegmentationEvaluator(CLASSES)
    mask = halves((20, 30), 0, 1)
    evaluator.update([SegmentationMap(mask)], [mask], [ImageInfo("a", 20, 30, 20, 30)])
    for png in plots(evaluator.tables()).values():
        picture = PIL.Image.open(io.BytesIO(png))
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_drawing_leaves_torch_alone_and_matplotlib_until_a_plot():
    code = (
        "import sys; import visiontasks.segmentation.draw;"
        "print(sorted({'torch', 'matplotlib', 'albumentations'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
