"""`data show`, `data stats` and `data convert` as a user types them."""

import json

import click
import numpy as np
import pytest
from PIL import Image

from visiontasks.cli.data import command as data
from visiontasks.data.shapes import draw_shapes
from visiontasks.errors import UsageError
from visiontasks.tasks import TASKS


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """{task: a drawn data set}."""
    root = tmp_path_factory.mktemp("commands")
    for task in TASKS:
        draw_shapes(root / task, task, 18, 0, size=(48, 64))
    return {task: root / task for task in TASKS}


@pytest.mark.parametrize("task", TASKS)
def test_show_writes_a_sheet_and_says_where(call, shapes, tmp_path, task):
    code, said, told = call("data", "show", shapes[task], "--n", 4, "--split", "val")
    assert (code, said.strip()) == (0, "runs/data/001/sheet.png")
    assert told.splitlines()[0].startswith(f"{task}, format ")
    assert told.splitlines()[-1] == "4 pictures"
    first = np.asarray(Image.open(tmp_path / said.strip()))
    assert first.shape[0] > 400 and first.shape[1] > 400
    assert call("data", "show", shapes[task], "--n", 4, "--split", "val", "-o", "again.png")[0] == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "again.png")), first)


def test_show_has_as_many_columns_as_asked_for(call, shapes, tmp_path):
    call("data", "show", shapes["detection"], "--n", 3, "--columns", 1, "-o", "tall.png")
    height, width = np.asarray(Image.open(tmp_path / "tall.png")).shape[:2]
    assert height > 2 * width


def test_show_as_trained_wants_a_config(call, shapes, tmp_path):
    config = shapes["detection"] / "detection.yaml"
    code, said, _ = call("data", "show", config, "--as-trained", "--n", 2, "-o", "sheet.png")
    assert (code, said.strip()) == (0, "sheet.png")
    code, _, told = call("data", "show", shapes["detection"], "--as-trained")
    assert (code, told.partition(" for --as-trained")[0]) == (2, "expected a config that `train` takes")
    code, _, told = call("data", "show", config, "--as-trained", "--split", "val")
    assert (code, "found --split val" in told) == (2, True)


def test_show_only_pictures_with_a_finding(call, shapes, tmp_path):
    root = tmp_path / "broken"
    draw_shapes(root, "detection", 18, 0, size=(48, 64))
    path = root / "annotations" / "train.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"] = [1000, 1000, 10, 10]
    path.write_text(json.dumps(document))
    code, _, told = call("data", "show", root, "--only", "box-outside", "-o", "sheet.png")
    assert (code, told.splitlines()[-1]) == (0, "1 picture")
    code, _, told = call("data", "show", root, "--only", "box-outsid")
    assert code == UsageError.exit_code
    assert told.startswith("expected pictures with the finding 'box-outsid', found: ")
    assert "box-outside (1)" in told
    code, _, told = call("data", "show", root, "--only", "box-outside", "--class", "star")
    assert (code, "expected --only without" in told) == (2, True)


def test_show_only_draws_a_picture_whose_mask_is_wrong(call, tmp_path):
    root = tmp_path / "shapes"
    draw_shapes(root, "segmentation", 18, 0, size=(48, 64))
    Image.new("L", (64, 48), 77).save(root / "masks" / "val" / "000002.png")
    code, _, told = call("data", "show", root, "--only", "mask-fault", "-o", "sheet.png")
    assert (code, told.splitlines()[-1]) == (0, "1 picture")


def test_show_lists_what_cannot_be_read(call, tmp_path):
    root = tmp_path / "shapes"
    draw_shapes(root, "classification", 18, 0, size=(32, 32))
    for path in (root / "val").rglob("*.png"):
        path.write_bytes(b"no picture")
    code, _, told = call("data", "show", root, "--split", "val")
    assert code == 3 and told.startswith("expected pictures to show, found 6 that can't be read; ")
    assert call("data", "show", root, "--split", "train", "-o", "sheet.png")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--class", "starr"], "unknown class 'starr'; did you mean 'star'?"),
        (["--split", "tests"], "unknown split 'tests'; did you mean 'test'?"),
        (["--task", "detecting"], "unknown task 'detecting'"),
    ],
)
def test_show_knows_what_there_is(call, shapes, arguments, message):
    code, _, told = call("data", "show", shapes["classification"], *arguments)
    assert (code, message in told) == (2, True)


def test_show_never_replaces_a_picture_of_the_data(call, shapes):
    root = shapes["classification"]
    picture = next((root / "train").rglob("*.png"))
    before = picture.read_bytes()
    code, _, told = call("data", "show", root, "-o", picture)
    assert (code, told) == (
        2,
        f"expected a file apart from the data in {root}, found {picture}; choose another",
    )
    assert picture.read_bytes() == before
    code, _, told = call("data", "show", root, "-o", "sheet.jpg")
    assert (code, told) == (2, "expected -o to name a .png file, found 'sheet.jpg'")


def test_data_without_splits_are_refused(call, tmp_path):
    (tmp_path / "data.yaml").write_text(f"format: folder\nroot: {tmp_path}\n")
    code, _, told = call("data", "stats", "data.yaml")
    assert (code, told.startswith("data.yaml: expected train, val or test, found none")) == (2, True)


@pytest.mark.parametrize("command", ["show", "stats"])
def test_what_faults_leave_out_is_said(call, tmp_path, command):
    root = tmp_path / "shapes"
    draw_shapes(root, "detection", 18, 0, size=(48, 64))
    path = root / "annotations" / "val.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"] = [1, 2, 3]
    path.write_text(json.dumps(document))
    (root / "images" / "test" / "000001.jpg").unlink()
    code, said, told = call("data", command, root)
    assert (code, told.splitlines()[1]) == (0, "val: 1 fault is left out; visiontasks data check lists them")
    assert ("6 (1 unreadable)" in said) == (command == "stats")


@pytest.mark.parametrize("task", TASKS)
def test_stats_prints_tables_and_writes_files(call, shapes, tmp_path, task):
    code, said, told = call("data", "stats", shapes[task])
    assert code == 0
    assert all(len(line) <= 100 for line in said.splitlines() if not line.startswith("  "))
    assert all(name in said for name in ("circle", "triangle", "train", "val", "test", "suggested"))
    if task == "detection":  # the last row of the anchors sums them up
        assert any(line.startswith("all ") for line in said.splitlines())
    assert told.splitlines()[-1] == "runs/data/001/stats.json, runs/data/001/stats.png"
    assert Image.open(tmp_path / "runs/data/001/stats.png").format == "PNG"
    content = json.loads((tmp_path / "runs/data/001/stats.json").read_text())
    code, said, _ = call("data", "stats", shapes[task], "--json", "-o", "out")
    assert json.loads(said) == content


def test_the_overview_shows_a_whole_line_for_each_command():
    context = click.Context(data, info_name="data", terminal_width=80)
    told = data.get_help(context)
    assert "..." not in told.partition("Commands:")[2]
    assert set(data.commands) == {"check", "convert", "sample", "show", "split", "stats"}


def test_stats_leaves_out_most_of_very_many_classes(call, tmp_path):
    for number in range(40):
        folder = tmp_path / "data" / "train" / f"class{number:02}"
        folder.mkdir(parents=True)
        for copy in range(1 + number):
            Image.new("RGB", (8, 8), (number, copy, 0)).save(folder / f"{copy}.png")
    said = call("data", "stats", tmp_path / "data")[1]
    assert "... 10 more" in said
    assert all(name in said for name in ("class39", "class25", "class00", "class14"))
    assert "class20" not in said.partition("pictures a class")[0]


def test_stats_shows_names_as_they_are(call, tmp_path):
    for name in ("[red]dog", "a \x1b[31m"):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / "train" / name / "a.png")
    code, said, _ = call("data", "stats", tmp_path / "data")
    assert code == 0
    assert "[red]dog" in said
    assert r"a \x1b[31m" in said


@pytest.mark.parametrize(
    ("task", "to"), [("classification", "csv"), ("detection", "yolo"), ("segmentation", "coco")]
)
def test_convert_says_what_it_wrote(call, shapes, tmp_path, task, to):
    code, said, told = call("data", "convert", shapes[task], "-o", "out", "--to", to)
    name = "visiontasks.yaml" if to == "yolo" else "data.yaml"  # YOLO has a data.yaml of its own
    assert (code, said.strip()) == (0, str(tmp_path / "out" / name))
    assert told.splitlines()[-1] == f"{tmp_path / 'out'}: 18 pictures (train 6, val 6, test 6)"
    code, _, told = call("data", "convert", said.strip(), "-o", "back", "--to", "nothing", "--task", task)
    assert (code, told.startswith(f"unknown format to write {task} data in 'nothing'; choices: ")) == (
        2,
        True,
    )


def test_convert_lists_what_the_format_cannot_carry(call, shapes):
    told = call("data", "convert", shapes["detection"], "-o", "out", "--to", "csv")[2]
    assert any(line.startswith("dropped ") for line in told.splitlines())


def test_the_numbers_of_a_division_stand_below_their_part(call, shapes):
    ratios = ("--ratios", "train=0.5,val=0.5")
    told = call("data", "split", shapes["segmentation"], "-o", "parts", *ratios)[2].splitlines()
    start = next(number for number, line in enumerate(told) if line.endswith("  val"))
    table = told[start:-1]
    assert {len(line) for line in table} == {len(table[0])}
    assert [line.split()[0] for line in table[1:3]] == ["pictures", "background"]
    assert told[-1] == "(a class is counted in pixels)"
