"""Drawings: every box is there in its colour, labels hide little and never each other."""

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from visiontasks.classes import ClassMap
from visiontasks.detection.draw import COVER, draw, draw_example, plots
from visiontasks.detection.metrics import DetectionEvaluator
from visiontasks.detection.types import Boxes, Detections
from visiontasks.drawing import color_of
from visiontasks.types import ImageInfo

CLASSES = ClassMap(("cat", "dog", "žluťoučký кот γάτα", ("a very long name " * 20).strip()))


def detections(boxes, labels=None, scores=None):
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    n = len(boxes)
    labels = np.zeros(n, np.int64) if labels is None else np.asarray(labels)
    return Detections(boxes, labels, np.linspace(0.99, 0.5, n) if scores is None else np.asarray(scores))


def grey(height, width):
    return np.full((height, width, 3), 128, np.uint8)


def is_color(image, name):
    return (image == np.uint8(color_of(name))).all(axis=-1)


def many(count, height, width, seed=0):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4)
    boxes = corners * np.array([width, height, width, height])
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = np.minimum(boxes[:, 2:] - boxes[:, :2], min(height, width) / 10) / 2
    return detections(np.concatenate([middle - sides, middle + sides], axis=1), rng.integers(0, 3, count))


@pytest.mark.parametrize(
    ("size", "factor"),
    [((1, 1), 200), ((32, 40), 7), ((480, 640), 1), ((3648, 5472), 1), ((1, 5000), 1), ((5000, 1), 1)],
)
@pytest.mark.parametrize("count", [0, 1, 200])
def test_pictures_of_any_size_with_any_number_of_boxes(size, factor, count):
    image = grey(*size)
    found = many(count, *size)
    drawn = draw(image, found, CLASSES)
    assert drawn.shape == (size[0] * factor, size[1] * factor, 3)
    assert (image == 128).all()  # the input is left alone
    if count:
        assert is_color(drawn, CLASSES.names[found.labels[0]]).any()


def test_a_picture_without_boxes_stays_as_it_is():
    assert (draw(grey(300, 400), detections([]), CLASSES) == 128).all()


def test_outlines_lie_on_the_boxes_edges():
    drawn = draw(grey(400, 600), detections([[100, 150, 300, 350]], [1]), CLASSES)
    rows, columns = np.nonzero(is_color(drawn, "dog")[145:355])
    assert is_color(drawn, "dog")[150:350, 100].all()
    assert is_color(drawn, "dog")[150:350, 299].all()
    assert is_color(drawn, "dog")[349, 100:300].all()
    assert (drawn[200:300, 150:250] == 128).all()
    assert (columns.min(), columns.max(), rows.max()) == (100, 299, 204)


def test_boxes_follow_the_enlarged_picture():
    drawn = draw(grey(50, 100), detections([[20, 25, 60, 45]], [1]), CLASSES)
    assert drawn.shape == (200, 400, 3)
    assert is_color(drawn, "dog")[100:180, 80].all()
    assert is_color(drawn, "dog")[179, 80:240].all()


@pytest.fixture
def labels(monkeypatch):
    """The plates of labels as they are painted: [(text, x1, y1, x2, y2)]."""
    plates = []
    drawing_room = sys.modules["visiontasks.detection.draw"]  # the package has a function of that name
    paint = drawing_room.draw_label

    def note(image, text, xy, color, *, size=None):
        before = image.copy()
        paint(image, text, xy, color, size=size)
        rows, columns = np.nonzero((before != image).any(axis=-1))
        if len(rows):
            plates.append((text, columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))

    monkeypatch.setattr(drawing_room, "draw_label", note)
    return plates


def test_a_few_boxes_are_all_named(labels):
    boxes = [[10, 40, 200, 200], [15, 45, 205, 205], [300, 0, 400, 60], [500, 400, 640, 480]]
    draw(grey(480, 640), detections(boxes, [0, 1, 2, 0], [0.987, 0.9, 0.8, 0.7]), CLASSES)
    assert [text for text, *_ in labels] == ["cat 0.99", "dog 0.90", "žluťoučký кот γάτα 0.80", "cat 0.70"]


@pytest.mark.parametrize("size", [(426, 640), (2000, 3000)])
def test_labels_of_many_boxes_hide_little_and_not_each_other(size, labels):
    found = many(200, *size)
    draw(grey(*size), found, CLASSES)
    legend = [plate for plate in labels if "." not in plate[0]]
    names = [plate for plate in labels if "." in plate[0]]
    counts = np.bincount(found.labels, minlength=3)
    assert {text for text, *_ in legend} == {f"{counts[i]} {CLASSES.names[i]}" for i in range(3)}
    assert 15 < len(names) < 200
    assert names[0][0] == f"{CLASSES.names[found.labels[0]]} 0.99"  # the best boxes are named
    cover = sum((x2 - x1) * (y2 - y1) for _, x1, y1, x2, y2 in names)
    assert cover <= COVER * size[0] * size[1]
    places = np.array([place for _, *place in labels])
    apart = (places[:, None, :2] >= places[None, :, 2:]) | (places[:, None, 2:] <= places[None, :, :2])
    apart = apart.any(axis=2) | apart.any(axis=2).T
    assert apart[~np.eye(len(places), dtype=bool)].all()


def test_letters_are_small_beside_small_boxes_but_readable(labels):
    for side in (20, 900):
        draw(grey(1000, 1500), detections([[50, 50, 50 + side, 50 + side]]), CLASSES)
    heights = [y2 - y1 for _, _, y1, _, y2 in labels]
    assert 16 <= heights[0] < 30
    assert 40 <= heights[1] < 70


def test_a_long_name_leaves_room_for_its_score(labels):
    draw(grey(300, 300), detections([[0, 50, 300, 300]], [3], [0.5]), CLASSES)
    (text, left, _, right, _) = labels[0]
    assert text.startswith("a very")
    assert text.endswith("… 0.50")
    assert right - left < 200


def test_truth_has_no_scores_and_says_where_crowds_are(labels):
    n = 2
    truth = Boxes(
        np.array([[10.0, 50, 200, 200], [220, 50, 390, 200]]),
        np.array([0, 1]),
        np.array([False, True]),
        np.zeros(n, bool),
        np.ones(n),
    )
    draw(grey(300, 400), truth, CLASSES)
    assert [text for text, *_ in labels] == ["cat", "dog (crowd)"]


def test_many_classes_share_the_legend(labels):
    classes = ClassMap(tuple(f"class {i}" for i in range(20)))
    boxes = np.tile([[10.0, 50, 200, 200]], (40, 1))
    draw(grey(400, 400), detections(boxes, np.arange(40) % 20), classes)
    assert "13 more classes" in [text for text, *_ in labels]


def example_of(image, **target):
    return SimpleNamespace(image=np.asarray(image), target=SimpleNamespace(**target))


def test_an_example_is_drawn_in_network_pixels(labels):
    image = np.full((3, 240, 320), 128, np.uint8)
    boxes = np.float32([[20, 60, 120, 160], [150, 100, 300, 200]])
    drawn = draw_example(example_of(image, boxes=boxes, labels=np.array([1, 0])), CLASSES)
    assert drawn.shape == (240, 320, 3)
    assert is_color(drawn, "dog")[60:160, 20].all()
    assert is_color(drawn, "cat")[199, 150:300].all()
    assert [text for text, *_ in labels] == ["dog", "cat"]
    empty = example_of(image, boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, int))
    assert (draw_example(empty, CLASSES) == 128).all()


def test_windows_are_drawn_side_by_side_with_their_classes(labels):
    windows = np.full((5, 3, 60, 50), 128, np.uint8)
    drawn = draw_example(example_of(windows, labels=np.array([0, 1, 4, -1, 3])), CLASSES)
    assert drawn.shape[0] > 300
    texts = [text for text, *_ in labels]
    assert texts[:4] == ["cat", "dog", "background", "(not learnt from)"]
    assert texts[4].startswith("a very long")


def evaluator_with(count, classes):
    evaluator = DetectionEvaluator(classes)
    for i in range(count):
        found = many(10, 100, 100, seed=i)
        labels = found.labels * (len(classes) // 4)
        truth = Boxes(found.boxes, labels, np.zeros(10, bool), np.zeros(10, bool), np.full(10, 100.0))
        found = Detections(found.boxes, labels, found.scores)
        evaluator.update([found], [truth], [ImageInfo(i, 100, 100, 100, 100)])
    return evaluator


@pytest.mark.parametrize("classes", [CLASSES, ClassMap(tuple(f"class $x_{i}" for i in range(40)))])
@pytest.mark.parametrize("count", [0, 3])
def test_plots_of_an_evaluation_are_pictures(count, classes):
    figures = plots(evaluator_with(count, classes).tables())
    assert set(figures) == {"precision_recall.png", "confusion.png"}
    for png in figures.values():
        picture = PIL.Image.open(io.BytesIO(png))
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_drawing_leaves_torch_alone_and_matplotlib_until_a_plot():
    code = (
        "import sys; import visiontasks.detection.draw;"
        "print(sorted({'torch', 'matplotlib', 'albumentations'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
