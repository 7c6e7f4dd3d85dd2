import io
import warnings

import numpy as np
import PIL.Image

from visiontasks.plots import (
    plot_confusion,
    plot_curves,
    plot_data_set,
    plot_reliability,
    plot_robustness,
)


def read(png):
    picture = PIL.Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    return np.asarray(picture.convert("RGB"))


def has_color(picture, color, pixels=20):
    """Whether a colour fills an area; letters have a few pixels of many."""
    return (np.abs(picture.astype(int) - color) < 6).all(axis=-1).sum() >= pixels


BLUE, ORANGE, YELLOW, LIGHTGREY = (31, 119, 180), (255, 127, 14), (253, 231, 36), (211, 211, 211)
NAMES = ["a$b$", "кот", "猫", "x" * 90, "line\nbreak"]


def test_curves_show_what_the_rows_have():
    rows = [
        {"epoch": 1, "lr": 0.1, "train/loss": 2.0},
        {"epoch": 2, "lr": 0.05, "train/loss": 1.0, "val/loss": 1.5, "val/top1": 0.5, "val/top5": None},
        {"epoch": 3, "lr": 0.01, "train/loss": None, "val/loss": 1.2, "val/top1": 0.6, "val/recall/cat": 1.0},
    ]
    rows[1] |= {"val/top1@low": 0.4, "val/top1@high": 0.6}
    picture = read(plot_curves(rows))
    third = picture.shape[1] // 3
    assert has_color(picture[:, :third], BLUE)  # train/loss
    assert has_color(picture[:, :third], ORANGE)  # val/loss
    assert has_color(picture[:, third : 2 * third], BLUE)  # val/top1
    assert not has_color(picture[:, third : 2 * third], ORANGE)  # top5 is unknown, a class's recall left out


def test_curves_without_epochs_are_empty():
    assert not has_color(read(plot_curves([])), BLUE)


def test_intervals_are_a_band():
    band = {"val/top1@low": 0.2, "val/top1@high": 0.8}
    rows = [{"epoch": i, "val/top1": 0.5} for i in (1, 2)]
    plain, banded = (read(plot_curves(r)) for r in (rows, [row | band for row in rows]))
    assert (plain != banded).any(axis=-1).sum() > 10_000


def test_a_confusion_matrix_shows_shares_and_classes_without_pictures():
    counts = np.diag([3, 4, 5, 0, 7])
    table = {"classes": NAMES, "counts": counts.tolist(), "unpredicted": [0] * 5}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a name that no font can draw, or formulas in it, are no fault
        picture = read(plot_confusion(table))
    assert has_color(picture, YELLOW)
    assert has_color(picture, LIGHTGREY, 6000)
    full = read(plot_confusion({**table, "counts": np.diag([3, 4, 5, 6, 7]).tolist()}))
    assert not has_color(full, LIGHTGREY, 6000)


def test_pictures_without_a_prediction_get_a_column():
    table = {"classes": ["a", "b"], "counts": [[1, 0], [0, 0]], "unpredicted": [0, 5]}
    without = {**table, "unpredicted": [0, 0]}
    assert has_color(read(plot_confusion(without)), LIGHTGREY, 6000)  # b has no pictures
    assert not has_color(read(plot_confusion(table)), LIGHTGREY, 6000)


def test_many_classes_stay_one_page():
    k = 300
    table = {"classes": [f"class {i}" for i in range(k)], "counts": np.eye(k, dtype=int).tolist()}
    assert max(read(plot_confusion(table)).shape) <= 2000


def test_a_reliability_diagram_leaves_empty_bins_empty():
    rows = [
        {"low": i / 15, "high": (i + 1) / 15, "count": 0, "confidence": None, "accuracy": None}
        for i in range(15)
    ]
    assert not has_color(read(plot_reliability(rows)), BLUE)
    rows[7] |= {"count": 3, "confidence": 0.5, "accuracy": 0.9}
    assert has_color(read(plot_reliability(rows)), BLUE)
    assert not has_color(read(plot_reliability([])), BLUE)


COUNTS = {"train": {"a$b$": 3, "кот": 500}, "val": {"кот": 7}}
TOGETHER = (["a$b$", "кот"], [[3, 2], [2, 5]])


def test_a_data_set_has_a_colour_a_split_and_what_occurs_together():
    distributions = {
        "side (px)": {"train": np.array([1.0, 2.0, 300.0]), "val": np.array([4.0])},
        "the same": {"train": np.full(3, 7.0), "val": np.empty(0)},
        "nothing": {"train": np.empty(0)},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = read(plot_data_set(COUNTS, distributions, TOGETHER, counted="boxes"))
        alone = read(plot_data_set(COUNTS, distributions, (["a"], [[3]]), counted="boxes"))
    assert has_color(picture, (0, 114, 178)) and has_color(picture, (230, 159, 0))  # train and val
    assert not has_color(picture, (0, 158, 115))  # test
    assert has_color(picture, YELLOW) and not has_color(alone, YELLOW)
    assert picture.shape[0] > alone.shape[0]  # one row of plots more


def test_a_data_set_of_many_classes_is_shown_by_rank():
    counts = {"train": {f"class {place}": place for place in range(200)}}
    picture = read(plot_data_set(counts, {"a": {"train": np.arange(3)}}, ([], []), counted="pictures"))
    assert has_color(picture, (0, 114, 178)) and picture.shape[0] < 1200


def test_a_robustness_curve_falls_and_has_its_interval():
    numbers = {0: {"AP": 1.0}, 2: {"AP": 0.5}, 8: {"AP": 0.0}}
    picture = read(plot_robustness(numbers, "AP", "a$b$"))
    blue = (np.abs(picture.astype(int) - BLUE) < 6).all(axis=-1)
    rows, columns = np.nonzero(blue)
    left, right = rows[columns < np.quantile(columns, 0.1)], rows[columns > np.quantile(columns, 0.9)]
    assert left.mean() < right.mean() - 100  # pixels, downwards
    banded = {epsilon: {**row, "AP@low": 0.0, "AP@high": 1.0} for epsilon, row in numbers.items()}
    assert (read(plot_robustness(banded, "AP", "a$b$")) != picture).any(axis=-1).sum() > 10_000
    undefined = read(plot_robustness({0: {"AP": float("nan")}, 8: {}}, "AP", ""))
    assert not has_color(undefined, BLUE)
