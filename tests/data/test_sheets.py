"""Which pictures a sheet shows, and what is written below them."""

from dataclasses import dataclass, field

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from visiontasks.data import sheets
from visiontasks.data.opening import open_data
from visiontasks.data.shapes import draw_shapes
from visiontasks.data.sheets import choose, draw_as_trained, draw_findings, draw_pictures
from visiontasks.data_tools import Finding, LabelCounts
from visiontasks.io.images import read_image
from visiontasks.tasks import TASKS, load_task


def counts_of(shown):
    """shown: the set of labels of each picture."""
    rows = [(place, label, 1) for place, labels in enumerate(shown) for label in sorted(labels)]
    return LabelCounts(*np.array(rows, dtype=np.int64).reshape(-1, 3).T)


@given(st.lists(st.sets(st.integers(0, 3)), max_size=30), st.integers(0, 40), st.integers(0, 5), st.randoms())
def test_the_choice_is_spread_and_a_function_of_paths_classes_and_seed(shown, n, seed, random):
    files = [f"{place}.jpg" for place in range(len(shown))]
    chosen = choose(counts_of(shown), files, n, seed).tolist()
    assert len(chosen) == len(set(chosen)) == min(n, len(shown))
    kinds = {label for labels in shown for label in labels} | ({None} if set() in shown else set())
    if n >= len(kinds):  # each class has had its turn
        assert {label for place in chosen[: len(kinds)] for label in shown[place] or {None}} == kinds
    order = list(range(len(shown)))
    random.shuffle(order)
    again = choose(counts_of([shown[place] for place in order]), [files[place] for place in order], n, seed)
    assert [order[place] for place in again.tolist()] == chosen


def test_only_pictures_with_a_class_are_chosen():
    shown = [{0}, {1}, {0, 1}, set(), {2}]
    files = [f"{place}.jpg" for place in range(5)]
    assert sorted(choose(counts_of(shown), files, 9, 0, 1).tolist()) == [1, 2]
    assert choose(counts_of(shown), files, 9, 0, 7).tolist() == []


def test_another_seed_chooses_others():
    shown, files = [{place % 4} for place in range(100)], [f"{place}.jpg" for place in range(100)]
    chosen = {tuple(choose(counts_of(shown), files, 8, seed).tolist()) for seed in range(5)}
    assert len(chosen) == 5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("sheets")
    draw_shapes(root / "shapes", "detection", 18, 0, size=(48, 64))
    opened = open_data(root / "shapes", [load_task("detection")])
    (root / "shapes" / "images" / "val" / "000002.jpg").write_bytes(b"no picture")
    return opened


@dataclass
class Drawn:
    """In place of a contact sheet: what it was asked for."""

    captions: list[str] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)

    def __call__(self, images, columns, *, cell, captions):
        self.images, self.captions = list(images), list(captions)
        return np.zeros((1, 1, 3), dtype=np.uint8)


@pytest.fixture
def drawn(monkeypatch):
    drawn = Drawn()
    monkeypatch.setattr(sheets, "contact_sheet", drawn)
    return drawn


def test_pictures_have_their_labels_and_names(data, drawn):
    source = data.sources["val"]
    sheet = draw_pictures(data.task, source, [0, 2, 1])
    assert drawn.captions == ["000000.jpg", "000001.jpg"]
    sample = source[1]
    expected = data.task.draw(sample.image, sample.target, source.classes)
    assert np.array_equal(drawn.images[1], expected)
    assert (sheet.shown, len(sheet.faults)) == (2, 1)
    assert "val/000002.jpg: expected a picture" in sheet.faults[0]


def test_nothing_readable_gives_no_sheet(data):
    sheet = draw_pictures(data.task, data.sources["val"], [2])
    assert (sheet.image, sheet.shown, len(sheet.faults)) == (None, 0, 1)


def test_findings_of_a_picture_come_together_and_pairs_side_by_side(data, drawn):
    def found(kind, place, **more):
        picture = f"images/val/00000{place}.jpg"
        return Finding(
            severity="warning", kind=kind, message=f"why {place}", split="val", picture=picture, **more
        )

    findings = [
        found("tiny", 1),
        found("tiny", 1),
        found("copy", 3, other=("train", "images/train/000004.jpg")),
    ]
    sheet = draw_findings(data, [*findings, found("tiny", 2)], 9)
    assert drawn.captions == [
        "val 000001.jpg (and 1 more): why 1",
        "train 000004.jpg",
        "val 000003.jpg: why 3",
    ]
    assert len(sheet.faults) == 1
    draw_findings(data, findings, 2)
    assert len(drawn.captions) == 2


def test_a_picture_without_labels_is_shown_all_the_same(data, drawn):
    root = data.sources["val"].root
    (root / "images" / "val" / "other.jpg").write_bytes((root / "images/val/000000.jpg").read_bytes())
    about = Finding(severity="error", kind="x", message="y", split="val", picture="images/val/other.jpg")
    draw_findings(data, [about], 1)
    factor = drawn.images[0].shape[0] // 48
    image = read_image(root / "images/val/other.jpg").repeat(factor, axis=0).repeat(factor, axis=1)
    assert np.array_equal(drawn.images[0], image)


@pytest.mark.parametrize("name", TASKS)
def test_as_trained_draws_what_the_network_is_fed_with(tmp_path, drawn, name):
    drawn_data = draw_shapes(tmp_path / "shapes", name, 18, 0, size=(48, 64))
    task = load_task(name)
    data = open_data(drawn_data.config, [task])
    source = data.sources["train"]
    draw_as_trained(task, data.run, source, [0, 1], seed=1)
    first = drawn.images
    draw_as_trained(task, data.run, source, [1], seed=1)
    assert np.array_equal(drawn.images[0], first[1])  # the same whatever stands beside it
    draw_as_trained(task, data.run, source, [1], seed=2)
    assert drawn.captions == [source.files[1].rpartition("/")[2]]
