"""What the commands on data sets learn of masks: findings, counts, statistics."""

import subprocess
import sys

import numpy as np
import pytest

from visiontasks.segmentation import data_examine
from visiontasks.segmentation.class_weights import median_frequency_weights
from visiontasks.segmentation.data_tools import DATA_TOOLS

from .mask_files import HEIGHT, WIDTH, add_mask, add_picture, jpeg_bytes, opened, stripes

NAMES = ["sky", "road", "car"]


@pytest.fixture
def root(tmp_path):
    """Sound: sky alone; sky and road; car, road and ignored pixels."""
    fill(tmp_path, stripes(0), stripes(0, 1), stripes(2, 255, 1, 255))
    return tmp_path


def fill(root, *masks):
    for name, values in zip("abcdefgh", masks, strict=False):
        add_picture(root / "train" / f"{name}.jpg")
        add_mask(root / "trainannot" / f"{name}.png", values)


def findings(source, quick=False):
    return list(DATA_TOOLS.examine(source, "val", None, quick))


def test_nothing_is_found_in_sound_masks(root):
    assert findings(opened(root, ids=NAMES)) == []


FAULTS = {
    "value outside the map": (lambda path: add_mask(path, stripes(0, 9)), "found 9 (24 pixels)"),
    "0 and 255": (lambda path: add_mask(path, stripes(0, 255)), "found only 0 and 255"),
    "JPEG": (lambda path: path.write_bytes(jpeg_bytes(stripes(0, 1))), "lossless format"),
    "empty file": (lambda path: path.write_bytes(b""), "found an empty file"),
    "another size": (
        lambda path: add_mask(path, np.zeros((HEIGHT, WIDTH + 1))),
        "its picture train/b.jpg, 6 x 8 (height x width), found 6 x 9",
    ),
}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_mask_is_named_with_its_picture(root, case, quick):
    spoil, message = FAULTS[case]
    spoil(root / "trainannot" / "b.png")
    [found] = findings(opened(root, ids=NAMES), quick)
    assert (found.severity, found.kind, found.split) == ("error", "mask-fault", "val")
    assert found.file == str(root / "trainannot" / "b.png")
    assert found.picture == "train/b.jpg"
    assert message in found.message
    assert found.message.startswith("expected ")  # the place is beside it
    assert found.remedy == ""


def test_a_mask_of_ignored_pixels_alone(root):
    add_mask(root / "trainannot" / "b.png", 255)
    [found] = findings(opened(root, ids=NAMES, ignore=[255]))
    assert (found.severity, found.kind, found.picture) == ("warning", "mask-ignored", "train/b.jpg")
    assert found.file == str(root / "trainannot" / "b.png")


SHIFTS = {
    "one more": ([1, 2, 3], "one more than one that has a meaning", "{sky: 1, road: 2, car: 3}"),
    "one less": ([4, 5, 6], "one less than one that has a meaning", "{sky: 4, road: 5, car: 6}"),
}


@pytest.mark.parametrize("case", SHIFTS)
def test_values_that_are_shifted_by_one_are_told(tmp_path, case):
    values, words, ids = SHIFTS[case]
    fill(tmp_path, stripes(*values), stripes(values[0], values[-1], 255))
    given = dict(zip(NAMES, [0, 1, 2] if case == "one more" else [5, 6, 7], strict=True))
    found = findings(opened(tmp_path, ids=given))
    assert len(found) == 2
    for finding in found:
        assert words in finding.remedy
        assert finding.remedy.endswith(f"data.ids: {ids}")


def test_values_that_are_ignored_are_shifted_too(tmp_path):
    fill(tmp_path, stripes(1, 2, 3), stripes(2, 3))
    [found] = findings(opened(tmp_path, ids=["sky", "road"], ignore=[2]))[:1]
    assert found.remedy.endswith("data.ids: {sky: 1, road: 2} and data.ignore: [3]")


def test_values_that_are_merely_unknown_are_not_called_shifted(root):
    add_mask(root / "trainannot" / "b.png", stripes(0, 1, 3))
    [found] = findings(opened(root, ids=NAMES))
    assert found.remedy == ""


def test_a_quick_look_takes_some_masks_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(data_examine, "QUICK", 2)
    fill(tmp_path, *[9] * 5)
    found = findings(opened(tmp_path, ids=NAMES), quick=True)
    assert [finding.picture for finding in found] == ["train/a.jpg", "train/e.jpg"]


def test_a_quick_look_takes_fewer_of_large_masks(tmp_path, monkeypatch):
    monkeypatch.setattr(data_examine, "QUICK_PIXELS", 3 * HEIGHT * WIDTH)
    fill(tmp_path, *[9] * 5)
    assert len(findings(opened(tmp_path, ids=NAMES), quick=True)) == 3


def test_findings_of_a_kind_end_somewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(data_examine, "MOST", 3)
    fill(tmp_path, *[9] * 5)
    assert len(findings(opened(tmp_path, ids=NAMES))) == 3


def test_pixels_are_counted_by_picture_and_class(root):
    fill(root, stripes(0), stripes(0, 1), stripes(2, 255, 1, 255), stripes(0, 9))
    counts = DATA_TOOLS.count(opened(root, ids=NAMES))
    assert counts.picture.tolist() == [0, 1, 1, 2, 2]
    assert counts.label.tolist() == [0, 0, 1, 1, 2]
    assert counts.count.tolist() == [48, 24, 24, 12, 12]


def test_masks_are_decoded_once_for_findings_and_counts(root, monkeypatch):
    source = opened(root, ids=NAMES)
    findings(source)
    for path in (root / "trainannot").iterdir():
        path.unlink()
    assert DATA_TOOLS.count(source).count.sum() == 48 + 48 + 24


def test_statistics_are_those_of_the_masks(root):
    source = opened(root, ids=NAMES)
    statistics = DATA_TOOLS.statistics(source, None)
    rows = {row["class"]: row for row in statistics.tables["classes"]}
    assert rows["road"] == {
        "class": "road",
        "pixels": 36,
        "share": 36 / 120,
        "pictures": 2,
        "share where present": 0.5,
    }
    assert statistics.tables["classes on one picture"] == [
        {"class": "sky", "with": "road", "pictures": 1},
        {"class": "road", "with": "car", "pictures": 1},
    ]
    assert statistics.distributions["classes a picture"].tolist() == [1, 2, 2]
    assert statistics.distributions["ignored share of a picture's pixels"].tolist() == [0, 0, 0.5]
    weights = median_frequency_weights(*source.class_pixels())
    suggested = statistics.suggestions["loss.class_weights"]
    assert list(suggested) == NAMES
    assert np.allclose(list(suggested.values()), weights, rtol=1e-3)
    assert statistics.suggestions["input.size"] == [32, 32]


def test_the_input_size_is_that_of_the_median_picture_in_steps_of_32(tmp_path):
    for name, size in {"a": (10, 10), "b": (355, 480), "c": (900, 900)}.items():
        add_picture(tmp_path / "train" / f"{name}.jpg", size=size)
        add_mask(tmp_path / "trainannot" / f"{name}.png", 0)
    statistics = DATA_TOOLS.statistics(opened(tmp_path, ids=NAMES), None)
    assert statistics.suggestions["input.size"] == [352, 480]


def test_a_class_that_is_never_shown_weighs_1(root):
    statistics = DATA_TOOLS.statistics(opened(root, ids=[*NAMES, "bus"]), None)
    assert statistics.suggestions["loss.class_weights"]["bus"] == 1
    assert statistics.tables["classes"][3]["share where present"] == 0


def test_no_torch_is_imported():
    code = "import sys, visiontasks.segmentation.data_tools; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
