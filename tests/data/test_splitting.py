"""`data split`: lists that the task's own adapters read, of pictures that stay where they are."""

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from visiontasks.cli.data_split import split as command
from visiontasks.data.opening import open_data
from visiontasks.data.shapes import draw_shapes
from visiontasks.data.splitting import join_groups, parse_ratios, split_data
from visiontasks.errors import DataError, UsageError
from visiontasks.ledger import Ledger
from visiontasks.tasks import TASKS, load_task

ALL = [load_task(name) for name in TASKS]
THIRDS = {"train": 0.5, "val": 0.25, "test": 0.25}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """{task: the config of a small data set}"""
    root = tmp_path_factory.mktemp("drawn")
    return {name: draw_shapes(root / name, name, 24, 0, size=(32, 32)).config for name in TASKS}


def open_drawn(drawn, name):
    return open_data(drawn[name], ALL)


def truths(sources):
    """{path: what is known of the picture}, of all splits; each once."""
    found = {}
    for source in sources:
        for i, file in enumerate(source.files):
            assert file not in found
            target = source[i].target
            parts = (target.boxes, target.labels) if hasattr(target, "boxes") else (np.asarray(target),)
            found[file] = [part.tolist() for part in parts]
    return found


@pytest.mark.parametrize("name", TASKS)
def test_lists_are_read_by_each_task(drawn, tmp_path, name):
    data = open_drawn(drawn, name)
    before = {path: path.stat().st_mtime_ns for path in drawn[name].parent.rglob("*")}
    division = split_data(data, tmp_path / "out", THIRDS, keep_alike=False)
    assert {path: path.stat().st_mtime_ns for path in drawn[name].parent.rglob("*")} == before
    assert sum(division.pictures.values()) == 24
    assert set(division.classes) == set(data.sources["train"].classes.names)

    again = open_data(tmp_path / "out" / "data.yaml", ALL)
    assert again.task.name == name
    assert not again.failed and not any(ledger.num_faults for ledger in again.ledgers.values())
    assert {part: len(source) for part, source in again.sources.items()} == division.pictures
    assert truths(again.sources.values()) == truths(data.sources.values())
    train = again.task.open_source(again.config, "train", Ledger(strict=True), None)
    assert list(train.files) == (tmp_path / "out" / "train.txt").read_text().splitlines()
    other = again.task.open_source(again.config, "val", Ledger(strict=True), train.classes)
    assert list(other.files) == (tmp_path / "out" / "val.txt").read_text().splitlines()


def test_the_same_seed_writes_the_same(drawn, tmp_path):
    data = open_drawn(drawn, "classification")
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        split_data(data, tmp_path / folder, THIRDS, seed=seed, keep_alike=False)
    lists = [(tmp_path / folder / "train.txt").read_text() for folder in "abc"]
    assert lists[0] == lists[1] != lists[2]


def test_a_part_may_be_divided_again(drawn, tmp_path):
    data = open_drawn(drawn, "classification")
    split_data(data, tmp_path / "a", {"train": 0.5, "test": 0.5}, keep_alike=False)
    values = yaml.safe_load((tmp_path / "a" / "data.yaml").read_text())
    (tmp_path / "half.yaml").write_text(yaml.safe_dump({**values, "test": None}))
    half = open_data(tmp_path / "half.yaml", ALL)
    division = split_data(half, tmp_path / "b", {"train": 0.75, "val": 0.25}, keep_alike=False)
    assert division.pictures == {"train": 9, "val": 3}
    assert not (tmp_path / "b" / "test.txt").exists()
    listed = (tmp_path / "b" / "train.txt").read_text() + (tmp_path / "b" / "val.txt").read_text()
    assert sorted(listed.splitlines()) == (tmp_path / "a" / "train.txt").read_text().splitlines()


@pytest.fixture
def frames(tmp_path):
    """Frames of 6 videos of 5 each, two classes; a noisy picture each, all different."""
    rng = np.random.default_rng(0)
    for video in range(6):
        folder = tmp_path / "frames" / ("cat" if video % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        for frame in range(5):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((64, 64)).save(folder / f"v{video}_{frame}.png")
    return tmp_path / "frames"


def parts_of(out):
    return {file: path.stem for path in out.glob("*.txt") for file in path.read_text().splitlines()}


def test_groups_stay_together(frames, tmp_path):
    (frames / "cat" / "lone.png").write_bytes((frames / "cat" / "v1_0.png").read_bytes())
    data = open_data(frames, ALL)
    pattern = r"/(v\d)_"
    division = split_data(data, tmp_path / "out", THIRDS, group=pattern, keep_alike=False)
    assert (division.num_groups, division.unmatched) == (7, 1)
    parts = parts_of(tmp_path / "out")
    assert len(parts) == 31
    for video in range(6):
        assert len({part for file, part in parts.items() if f"v{video}_" in file}) == 1
    whole = split_data(data, tmp_path / "whole", THIRDS, group=r"v\d", keep_alike=False)
    assert whole.num_groups == 7
    assert parts_of(tmp_path / "whole") == parts


def test_pictures_that_look_the_same_stay_together(frames, tmp_path):
    twins = {}
    for video in range(6):
        path = next(frames.rglob(f"v{video}_0.png"))
        twin = path.with_name(f"twin{video}.jpg")
        Image.open(path).save(twin, quality=85)
        twins[path.relative_to(frames).as_posix()] = twin.relative_to(frames).as_posix()
    data = open_data(frames, ALL)
    division = split_data(data, tmp_path / "out", THIRDS, group=r"v[01]_")
    parts = parts_of(tmp_path / "out")
    assert all(parts[path] == parts[twin] for path, twin in twins.items())
    assert division.num_groups == 36 - 8 - 6


def test_a_part_that_is_not_asked_for_is_not_there(tmp_path):
    """Formats with a usual layout would fill it in."""
    touch = {"wnids.txt": "n1\n", "words.txt": "n1\tcat\n", "val/val_annotations.txt": "a.png\tn1\n"}
    for name in ("train/n1/images/b.png", "train/n1/images/c.png", "val/images/a.png"):
        (tmp_path / "tiny" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "tiny" / name)
    for name, text in touch.items():
        (tmp_path / "tiny" / name).write_text(text)
    data = open_data(tmp_path / "tiny", ALL)
    division = split_data(data, tmp_path / "out", {"train": 0.5, "test": 0.5}, keep_alike=False)
    assert sorted(division.pictures.values()) == [1, 2]
    again = open_data(tmp_path / "out" / "data.yaml", ALL)
    assert sorted(again.sources) == ["test", "train"]
    assert not again.failed


def test_groups_of_several_kinds_are_joined():
    groups = join_groups([np.array([5, 5, 1, 2, 9]), np.array([0, 1, 1, 4, 3])])
    assert groups.tolist() == [0, 0, 0, 1, 2]


def test_classes_are_shared_out_unless_told_not_to(tmp_path):
    for name, count in (("many", 90), ("few", 10)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (4, 4)).save(tmp_path / "data" / name / f"{i}.png")
    data = open_data(tmp_path / "data", ALL)
    shares = {"train": 0.8, "val": 0.2}
    division = split_data(data, tmp_path / "a", shares, keep_alike=False)
    assert {name: held.tolist() for name, held in division.classes.items()} == {
        "few": [8, 2],
        "many": [72, 18],
    }
    rare = [
        split_data(data, tmp_path / str(seed), shares, keep_alike=False, stratify=False, seed=seed)
        .classes["few"]
        .tolist()
        for seed in range(6)
    ]
    assert len({tuple(held) for held in rare}) > 1


RATIOS = {
    "train=0.8, val=0.2": {"train": 0.8, "val": 0.2},
    "test=0.25,train=0.75": {"train": 0.75, "test": 0.25},
    "train=1": {"train": 1.0},
    "train=0.8,val=0.3": "found 1.1 ('train=0.8,val=0.3')",
    "train=0.8,dev=0.2": "found 'dev=0.2'",
    "train=0.8,val": "found 'val'",
    "train=1,val=0": "found 'val=0'",
    "train=nan": "found 'train=nan'",
    "0.8,0.2": "found '0.8'",
    "": "found ''",
}


@pytest.mark.parametrize("text", RATIOS)
def test_ratios(text):
    expected = RATIOS[text]
    if isinstance(expected, dict):
        assert parse_ratios(text) == expected
        assert list(parse_ratios(text)) == list(expected)
        return
    with pytest.raises(UsageError) as caught:
        parse_ratios(text)
    assert str(caught.value).endswith(expected)
    assert "\n" not in str(caught.value)


FAULTS = {
    "no pattern": ({"group": "("}, UsageError, "expected a regular expression as --group, found '(': "),
    "no match": ({"group": "x{9}"}, UsageError, "expected --group 'x{9}' to match paths of pictures ('cat/"),
    "few groups": (
        {"group": "png"},
        DataError,
        "expected at least 3 groups of pictures for 3 parts, found 1",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_can_not_be_divided(frames, tmp_path, case):
    options, kind, message = FAULTS[case]
    with pytest.raises(kind) as caught:
        split_data(open_data(frames, ALL), tmp_path / "out", THIRDS, keep_alike=False, **options)
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "out").exists()


def test_data_with_faults_is_refused(tmp_path):
    (tmp_path / "all.csv").write_text("path,label\na.png,cat\nb.png,\n,dog\n")
    data = open_data(tmp_path / "all.csv", ALL)
    with pytest.raises(DataError, match=r"all.csv, row 2: .*\(and 1 more\); see visiontasks data check"):
        split_data(data, tmp_path / "out", THIRDS)
    (tmp_path / "data.yaml").write_text(f"{{format: csv, root: {tmp_path}, train: none.csv}}")
    with pytest.raises(DataError, match=r"expected a CSV file at .*none\.csv"):
        split_data(open_data(tmp_path / "data.yaml", ALL), tmp_path / "out", THIRDS)


def test_only_lists_are_replaced(frames, tmp_path):
    data, out = open_data(frames, ALL), tmp_path / "out"
    split_data(data, out, THIRDS, keep_alike=False)
    with pytest.raises(UsageError, match="holds lists; replace them with --overwrite"):
        split_data(data, out, THIRDS, keep_alike=False)
    split_data(data, out, {"train": 0.5, "test": 0.5}, keep_alike=False, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["data.yaml", "test.txt", "train.txt"]
    (out / "mine.txt").touch()
    with pytest.raises(UsageError, match=r"holds other files \(mine\.txt\)"):
        split_data(data, out, THIRDS, overwrite=True)
    with pytest.raises(UsageError, match="found the file"):
        split_data(data, out / "mine.txt", THIRDS)


def test_the_command_says_what_it_did(frames, tmp_path):
    out = tmp_path / "parts"
    arguments = [str(frames), "-o", str(out), "--ratios", "train=0.5,val=0.5", "--group", r"v\d"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.exception
    assert result.stdout.splitlines() == [str(out / name) for name in ("data.yaml", "train.txt", "val.txt")]
    lines = result.stderr.splitlines()
    assert lines[0].startswith("classification, format folder")
    assert "30 pictures in 6 groups that stay together" in lines
    table = [line.split() for line in lines[3:7]]
    assert table[:2] == [["all", "train", "val"], ["pictures", "30", "15", "50.0%", "15", "50.0%"]]
    assert sorted(row[2:4] for row in table[2:]) == [["10", "66.7%"], ["5", "33.3%"]]  # of 3 videos each
