import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from visiontasks.classes import ClassMap
from visiontasks.classification.draw import draw, draw_example, plots
from visiontasks.classification.metrics import ClassificationEvaluator
from visiontasks.classification.types import Classification
from visiontasks.drawing import color_of
from visiontasks.types import ImageInfo

CLASSES = ClassMap(("cat", "dog", "žluťoučký кот γάτα", ("a very long name " * 20).strip()))


def prediction(*probabilities):
    return Classification(np.float32(probabilities))


def count_color(image, name):
    return int((image == np.uint8(color_of(name))).all(axis=-1).sum())


@pytest.mark.parametrize(
    ("size", "factor"),
    [
        ((32, 32), 7),
        ((199, 300), 2),
        ((200, 300), 1),
        ((480, 640), 1),
        ((3648, 5472), 1),
        ((1, 5000), 1),
        ((1, 1), 200),
    ],
)
def test_small_pictures_are_enlarged_by_a_whole_factor(size, factor):
    image = np.full((*size, 3), 128, np.uint8)
    drawn = draw(image, prediction(0.9, 0.1, 0, 0), CLASSES)
    assert drawn.shape == (size[0] * factor, size[1] * factor, 3)
    assert drawn.dtype == np.uint8
    assert count_color(drawn, "cat") > 0
    assert (image == 128).all()  # the input is left alone


@pytest.mark.parametrize("size", [(32, 32), (480, 640), (3648, 5472)])
def test_the_picture_stays_visible(size):
    image = np.full((*size, 3), 128, np.uint8)
    drawn = draw(image, prediction(0.4, 0.3, 0.3, 0), CLASSES)
    assert (drawn == 128).all(axis=-1).mean() > 0.6


def test_the_best_three_classes_are_drawn_and_the_improbable_left_out():
    image = np.full((300, 300, 3), 128, np.uint8)
    drawn = draw(image, prediction(0.6, 0.36, 0.04, 0), CLASSES)
    assert count_color(drawn, "cat") > 0
    assert count_color(drawn, "dog") > 0
    assert count_color(drawn, CLASSES.names[2]) == 0


def test_of_many_improbable_classes_the_best_is_drawn():
    classes = ClassMap(tuple(f"c{i}" for i in range(100)))
    drawn = draw(np.full((300, 300, 3), 128, np.uint8), prediction(*np.full(100, 0.01)), classes)
    assert count_color(drawn, "c0") > 0
    assert count_color(drawn, "c1") == 0


def test_a_truth_is_drawn_by_its_index():
    image = np.full((300, 300, 3), 128, np.uint8)
    drawn = draw(image, 1, CLASSES)
    assert count_color(drawn, "dog") > 0
    assert count_color(drawn, "cat") == 0
    assert np.array_equal(drawn, draw(image, np.int64(1), CLASSES))


def test_a_long_name_leaves_room_for_its_probability():
    image = np.full((300, 300, 3), 128, np.uint8)
    high, low = (draw(image, prediction(0, 0, 1 - p, p), CLASSES) for p in (0.99, 0.98))
    assert (high[:20, 200:] != low[:20, 200:]).any()


def example_of(shares):
    return SimpleNamespace(image=np.full((3, 40, 60), 128, np.uint8), target=np.float32(shares))


def test_an_example_is_drawn_in_network_pixels_with_its_target():
    drawn = draw_example(example_of([0, 1, 0, 0]), CLASSES)
    assert drawn.shape == (200, 300, 3)
    assert np.array_equal(drawn, draw(np.full((40, 60, 3), 128, np.uint8), 1, CLASSES))
    mixed = draw_example(example_of([0.3, 0.7, 0, 0]), CLASSES)
    assert count_color(mixed, "cat") > 0
    assert count_color(mixed, "dog") > 0


def test_plots_of_an_evaluation_are_pictures():
    evaluator = ClassificationEvaluator(CLASSES)
    assert set(plots(evaluator.tables())) == {"confusion.png", "reliability.png"}
    evaluator.update([prediction(0.9, 0.1, 0, 0)], [0], [ImageInfo("a", 1, 1, 1, 1)])
    for png in plots(evaluator.tables()).values():
        picture = PIL.Image.open(io.BytesIO(png))
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_drawing_leaves_torch_alone_and_matplotlib_until_a_plot():
    code = (
        "import sys; import visiontasks.classification.draw;"
        "print(sorted({'torch', 'matplotlib', 'albumentations'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
