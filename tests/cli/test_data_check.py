import json

import pytest
from click.testing import CliRunner

from tests.data.pictures import save_folders
from visiontasks import api
from visiontasks.cli.data_check import check
from visiontasks.cli.train import command as train
from visiontasks.engine import train as engine_train
from visiontasks.errors import DataError, UsageError

COUNTS = {"train": {"cat": 4, "dog": 3}, "val": {"cat": 2, "dog": 2}}


@pytest.fixture
def pets(tmp_path):
    root = save_folders(tmp_path / "pets", COUNTS)
    (tmp_path / "pets.yaml").write_text(
        f"task: classification\nname: pets\ndata: {{format: folder, root: {root}, train: train, val: val}}\n"
    )
    return root


def ran(*arguments):
    result = CliRunner().invoke(check, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def break_val(pets):
    (pets / "val" / "cat").rename(pets / "val" / "cow")


def test_sound_data_exits_0(pets):
    result = ran(pets)
    assert result.exit_code == 0
    assert "classification, format folder" in result.stdout and "nothing to report" in result.stdout
    assert result.stderr.startswith("classification, format folder: ")


def test_errors_exit_1_and_say_what_to_do(pets):
    break_val(pets)
    result = ran(pets, "--quick")
    assert result.exit_code == 1
    assert "error class-only-in-split in val" in result.stdout
    assert "expected class 'cow' in train, too, found it in val alone (2 pictures)" in result.stdout
    assert "-> rename it with data.classes: {cow: NEW}" in result.stdout


def test_json_goes_to_stdout_alone_or_to_a_file(pets, tmp_path):
    break_val(pets)
    told = json.loads(ran("--json", pets).stdout)
    assert told["counts"]["error"] == 1 and told["quick"] is False
    result = ran(pets, "-o", tmp_path / "report.json")
    assert "class-only-in-split" in result.stdout
    assert json.loads((tmp_path / "report.json").read_text()) == told


def test_the_json_never_replaces_a_file_of_the_data(pets):
    labels = pets / "train.json"
    labels.write_text("mine")
    with pytest.raises(
        UsageError, match=r"expected a file apart from the data in .*pets, found .*train\.json"
    ):
        check.main([str(pets), "-o", str(labels)], standalone_mode=False)
    assert labels.read_text() == "mine"


def test_a_finding_is_one_line_where_no_terminal_shows_it(pets):
    (pets / "val" / "cat").rename(pets / "val" / ("cow" * 60))
    said = ran(pets, "--quick").stdout.splitlines()
    told = [line for line in said if "found it in val alone" in line]
    assert len(told) == 1 and len(told[0]) > 180 and told[0].startswith("  expected class 'cow")


def test_unusable_pictures_are_tolerated_up_to_a_share(pets):
    (pets / "train" / "cat" / "cat_train_0.png").write_bytes(b"")
    assert ran(pets).exit_code == 1
    assert ran(pets, "--max-skip", "0.5").exit_code == 0
    assert ran(pets, "--max-skip", "nan").exit_code == 2


@pytest.fixture
def trained(monkeypatch):
    """Runs that the engine was asked for, instead of being trained."""
    runs = []
    monkeypatch.setattr(engine_train, "train", lambda *arguments, **options: runs.append(options))
    return runs


def test_train_refuses_errors(pets, trained, capsys):
    break_val(pets)
    with pytest.raises(DataError) as refused:
        api.train(pets.parent / "pets.yaml", out=pets.parent / "run")
    first, *_, last = str(refused.value).splitlines()
    assert first.startswith(
        "val: expected class 'cow' in train, too, found it in val alone (2 pictures); rename it"
    )
    assert last == "visiontasks data check says more; --no-check begins without this look"
    assert not trained
    api.train(pets.parent / "pets.yaml", out=pets.parent / "run", no_check=True)
    assert len(trained) == 1


def test_train_tells_warnings_and_goes_on(pets, trained, capsys):
    (pets / "train" / "Cats").mkdir()
    (pets / "train" / "dog" / "dog_train_0.png").rename(pets / "train" / "Cats" / "a.png")
    api.train(pets.parent / "pets.yaml", out=pets.parent / "run")
    assert "check: class-names-alike, 1 (first: expected names of different things" in capsys.readouterr().err
    assert len(trained) == 1


def test_the_test_split_is_no_part_of_a_training(pets, trained):
    save_folders(pets, {"test": {"cow": 1}})
    config = pets.parent / "pets.yaml"
    config.write_text(config.read_text().replace("val: val", "val: val, test: test"))
    api.train(config, out=pets.parent / "run")
    assert len(trained) == 1


@pytest.mark.parametrize(("rank", "checks"), [("0", True), ("1", False)])
def test_one_process_checks(pets, trained, monkeypatch, rank, checks):
    break_val(pets)
    monkeypatch.setenv("RANK", rank)
    if checks:
        with pytest.raises(DataError, match="'cow'"):
            api.train(pets.parent / "pets.yaml", out=pets.parent / "run")
    else:
        api.train(pets.parent / "pets.yaml", out=pets.parent / "run")
    assert len(trained) == (not checks)


def test_no_check_is_a_flag_of_train(pets, trained):
    break_val(pets)
    arguments = [str(pets.parent / "pets.yaml"), "-o", str(pets.parent / "run")]
    refused = CliRunner().invoke(train, arguments)
    assert isinstance(refused.exception, DataError)
    assert CliRunner().invoke(train, [*arguments, "--no-check"]).exit_code == 0
    assert len(trained) == 1


def test_api_check(pets):
    assert api.check(pets, quick=True).findings == []
    break_val(pets)
    assert api.check(pets, quick=True, task="classify").counts["error"] == 1
