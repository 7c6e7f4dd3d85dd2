"""The commands as a user types them, on real files: output, exit codes, one line an error."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from visiontasks import api
from visiontasks.cli import VERBS
from visiontasks.data.shapes import draw_shapes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A drawn data set, and a model trained on it for one quick epoch."""
    root = tmp_path_factory.mktemp("cli")
    draw_shapes(root / "shapes", "classification", 36, 0, size=(32, 32))
    settings = {
        "model.options": {"stem": 4, "widths": [4, 4]},
        "train.epochs": 1,
        "train.batch_size": 8,
        "train.workers": 0,
    }
    api.train(root / "shapes" / "classification.yaml", settings, out=root / "run")
    return root


def test_every_verb_has_help(call):
    assert all(verb in call("--help")[1] for verb in VERBS)
    for verb in VERBS:
        code, said, _ = call(verb, "--help")
        assert (code, "Usage:" in said) == (0, True)


def test_train_help_lists_the_keys_and_the_schema_is_json(call):
    assert "train.optimizer.lr" in call("train", "--help")[1]
    schema = json.loads(call("train", "--schema", "classification")[1])
    assert schema["properties"]["data"]
    assert schema["additionalProperties"] is False


def test_classify_writes_what_it_says(call, folder, tmp_path):
    pictures = sorted((folder / "shapes" / "test").rglob("*.png"))
    code, said, _ = call(
        "classify", folder / "shapes" / "test", "-w", folder / "run", "--format", "csv", "-o", "out"
    )
    assert code == 0
    assert len(said.splitlines()) == len(pictures)
    result = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert (result["task"], result["skipped"]) == ("classification", [])
    assert result["classes"] == ["circle", "cross", "ring", "square", "star", "triangle"]
    assert [entry["file"] for entry in result["images"]] == [str(path) for path in pictures]
    first = result["images"][0]
    assert (first["width"], first["height"]) == (32, 32)
    scores = [label["score"] for label in first["labels"]]
    assert scores == sorted(scores, reverse=True)
    assert (tmp_path / "out" / "predictions.csv").read_text().splitlines()[0] == "path,label,score"
    assert len(list((tmp_path / "out").glob("*.png"))) == len(pictures)


def test_row_35_spaces_unicode_and_equal_names(call, folder, tmp_path):
    source = next((folder / "shapes" / "test" / "star").iterdir())
    for name in ("mit Leerzeichen", "ütf 八"):
        (tmp_path / name).mkdir()
        shutil.copy(source, tmp_path / name / "ein Bild ö.png")
    code, said, _ = call("classify", "mit Leerzeichen", "ütf 八/*.png", "-w", folder / "run")
    assert (code, len(said.splitlines())) == (0, 2)
    written = sorted(path.name for path in (tmp_path / "runs" / "classify" / "001").glob("*.png"))
    assert written == ["ein Bild ö-2.png", "ein Bild ö.png"]


def test_one_bad_picture_among_many_is_skipped_and_listed(call, folder, tmp_path):
    pictures = tmp_path / "pictures"
    shutil.copytree(folder / "shapes" / "test" / "circle", pictures)
    (pictures / "broken.jpg").write_bytes(b"no picture at all")
    before = {path: path.read_bytes() for path in pictures.iterdir()}
    code, said, errors = call("classify", pictures, "-w", folder / "run", "-o", "out")
    assert code == 1
    assert "broken.jpg" not in said
    assert "skipped: " in errors
    assert "broken.jpg" in errors
    result = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(result["images"]) == len(before) - 1
    assert result["skipped"][0]["file"].endswith("broken.jpg")
    assert {path: path.read_bytes() for path in pictures.iterdir()} == before  # inputs are never modified


def test_classify_prints_json_for_machines(call, folder):
    code, said, errors = call(
        "classify", folder / "shapes" / "test" / "ring", "-w", folder / "run", "--json", "--no-draw"
    )
    assert code == 0
    assert json.loads(said)["images"]
    assert "ring" in errors


def test_evaluate_prints_intervals_and_writes_metrics(call, folder, tmp_path):
    code, said, errors = call("evaluate", folder / "run", "--split", "test", "-o", "out")
    assert code == 0
    assert "top1 " in said
    assert " to " in said
    assert "protocol:" in errors
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["top1@low"] <= metrics["top1"] <= metrics["top1@high"]
    assert "bootstrap" in metrics["protocol"]
    assert (tmp_path / "out" / "plots" / "confusion.png").exists()
    assert json.loads((tmp_path / "out" / "skipped.json").read_text()) == {"test": []}


def test_predictions_evaluated_without_a_model_equal_those_of_the_model(call, folder, tmp_path):
    root = folder / "shapes" / "test"
    call(
        "classify",
        root,
        "-w",
        folder / "run",
        "--precision",
        "fp32",
        "-o",
        "out",
        "--no-draw",
        "--format",
        "csv",
    )
    rows = ["path,label"] + [f"{path},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    (tmp_path / "truth.csv").write_text("\n".join(rows))
    _, with_model, _ = call("evaluate", folder / "run", "--precision", "fp32", "--json")
    for file in ("out/predictions.json", "out/predictions.csv"):
        code, said, _ = call(
            *("evaluate", "--task", "classify", "--truth", "truth.csv", "--predictions", file, "--json"),
            *("--classes", "circle,cross,ring,square,star,triangle"),
        )
        assert code == 0
        assert json.loads(said)["top1"] == json.loads(with_model)["top1"]
        assert json.loads(said)["macro_F1"] == json.loads(with_model)["macro_F1"]


def test_evaluating_on_data_with_other_names_shows_the_difference(call, folder, tmp_path):
    data = tmp_path / "renamed"
    shutil.copytree(folder / "shapes", data)
    (data / "test" / "star").rename(data / "test" / "stern")
    values = {"root": str(data), "test": "test"}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(values))
    code, _, error = call("evaluate", folder / "run", "--data", "data.yaml")
    assert code == 3
    assert "'stern'" in error
    assert "star" in error
    code, _, error = call("evaluate", folder / "run", "--data", "data.yaml", "--map-class", "stern=star")
    assert code == 0, error


def test_inspect_shows_published_numbers(call):
    code, said, _ = call("inspect", "vgg19", "--size", "224x224", "--json")
    assert code == 0
    assert json.loads(said)["parameters"] == 143_667_240
    assert "61.10 M parameters" in call("inspect", "alexnet")[1]


def test_inspect_reads_a_models_own_size(call, folder):
    assert "at 32x32" in call("inspect", folder / "run")[1]


def test_models_and_doctor_answer(call):
    assert "resnet18" in call("models")[1]
    code, said, errors = call("doctor")
    assert "torch" in said
    assert (code == 0) == ("nothing is missing" in errors)


def test_data_sample_says_what_comes_next(call, tmp_path):
    code, said, errors = call("data", "sample", "drawn", "--n", "18", "--task", "classify")
    assert (code, said.strip()) == (0, "drawn")
    assert "visiontasks train" in errors
    code, _, error = call("data", "sample", "drawn", "--n", "18", "--task", "segment")
    assert code == 2
    assert "--overwrite" in error


CONFIG_FAULTS = [
    ({"trian": {}}, "unknown key 'trian'; did you mean 'train'?"),
    ({"train": {"epoch": 3}}, "unknown key 'train.epoch'; did you mean 'epochs'?"),
    ({"train": {"epochs": "many"}}, "train.epochs: expected a whole number"),
    (
        {"model": {"backbone": "resnt18"}},
        "model.backbone: unknown backbone 'resnt18'; did you mean 'resnet18'?",
    ),
    (
        {"model": {"backbone": "resnet18", "options": {"stm": "small"}}},
        "unknown key 'stm'; did you mean 'stem'?",
    ),
    ({"data": {"train": "train"}}, "missing key 'data.root'"),
    ({"augment": {"pad_crop": 40}}, "pad_crop below the input's shorter side (32 pixels)"),
    ({"task": "clasification"}, "did you mean 'classification'?"),
]


@pytest.mark.parametrize(("change", "words"), CONFIG_FAULTS, ids=lambda value: str(value)[:30])
def test_a_wrong_config_is_one_clear_line(change, words, call, folder, tmp_path):
    values = yaml.safe_load((folder / "shapes" / "classification.yaml").read_text())
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump({**values, **change}))
    code, _, error = call("train", "wrong.yaml")
    assert code == 3
    assert words in error
    assert "wrong.yaml" in error
    assert len(error.splitlines()) == 1


def test_all_faults_of_a_config_come_together(call, tmp_path):
    (tmp_path / "wrong.yaml").write_text(
        "task: classification\ndata: {root: x}\ntrain:\n  epochs: 0\n  batchsize: 4\n"
    )
    code, _, error = call("train", "wrong.yaml")
    assert code == 3
    lines = error.splitlines()
    assert len(lines) == 3
    assert any(line.startswith("wrong.yaml:4: train.epochs: expected") for line in lines)
    assert any(
        "wrong.yaml:5: unknown key 'train.batchsize'; did you mean 'batch_size'?" in line for line in lines
    )
    assert any("missing key 'name'" in line for line in lines)


INPUT_FAULTS = [
    (("classify", "nowhere.jpg", "-w", "RUN"), 2, "nowhere.jpg"),
    (("classify", "*.jpg", "-w", "RUN"), 2, "*.jpg"),
    (("classify", "picture.png", "-w", "nowhere.safetensors"), 2, "nowhere.safetensors"),
    (
        ("classify", "picture.png", "-w", "picture.png"),
        3,
        "picture.png: expected a .safetensors weights file",
    ),
    (("classify", "picture.png", "-w", "RUN", "-o", "."), 2, "holds an input"),
    (
        ("classify", "picture.png", "-w", "RUN", "--device", "cuda:7"),
        2,
        "'cuda:7' does not exist on this machine",
    ),
    (("evaluate", "RUN", "--data", "nowhere.yaml"), 3, "nowhere.yaml"),
    (("evaluate",), 2, "expected WEIGHTS or RUN"),
    (("evaluate", "--task", "classify", "--truth", "t.csv"), 2, "--predictions"),
    (("train",), 2, "expected a CONFIG"),
    (("train", "nowhere.yaml"), 3, "nowhere.yaml"),
    (("inspect", "resnt18"), 2, "unknown network 'resnt18'; did you mean 'resnet18'?"),
    (("inspect", "resnet18", "--size", "big"), 2, "expected --size HEIGHTxWIDTH"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), INPUT_FAULTS, ids=lambda value: str(value)[:40])
def test_a_wrong_input_is_one_clear_line(arguments, code, words, call, folder, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "picture.png")
    found, _, error = call(*[folder / "run" if argument == "RUN" else argument for argument in arguments])
    assert found == code, error
    assert words in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "nowhere.yaml"], 3, "nowhere.yaml"),
        (["detect", "--methd", "x", "a.jpg"], 2, "'--methd'"),
        (["detect", "--batch-size", "0", "a.jpg"], 2, "visiontasks detect --help"),
    ],
)
def test_an_error_is_one_line_on_stderr_without_a_traceback(tmp_path, arguments, code, message):
    done = subprocess.run(
        [sys.executable, "-m", "visiontasks", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("visiontasks: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_fault():
    command = subprocess.Popen(
        [sys.executable, "-m", "visiontasks", "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    command.stdout.close()
    assert (command.stderr.read(), command.wait()) == (b"", 128 + signal.SIGPIPE)
    command.stderr.close()


def test_an_input_behind_a_link_and_a_folder_of_other_files_are_never_written_to(call, folder, tmp_path):
    picture = tmp_path / "archive" / "a.png"
    picture.parent.mkdir()
    shutil.copy(next((folder / "shapes" / "test" / "star").iterdir()), picture)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.png").symlink_to(picture)
    before = picture.read_bytes()
    code, _, error = call("classify", "links/a.png", "-w", folder / "run", "-o", "links")
    assert (code, "holds an input" in error) == (2, True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    code, _, error = call("classify", "archive/a.png", "-w", folder / "run", "-o", "mine")
    assert (code, "holds other files" in error) == (2, True)
    code, _, error = call("evaluate", folder / "run", "-o", folder / "run")
    assert (code, "holds a training run; choose an empty or new folder with -o" in error) == (2, True)
    assert picture.read_bytes() == before


def test_row_33_a_wrong_extension_is_counted_and_strict_refuses_it(call, folder, tmp_path):
    picture = tmp_path / "a.jpg"
    shutil.copy(next((folder / "shapes" / "test" / "star").iterdir()), picture)  # a PNG
    code, _, errors = call("classify", picture, "-w", folder / "run", "-o", "out")
    assert (code, "repaired 1: " in errors) == (0, True)
    (line,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["repaired"]
    assert line.startswith(f"repaired {picture}: ")
    code, _, error = call("classify", picture, "-w", folder / "run", "-o", "strict", "--strict")
    assert (code, "nothing may be skipped or repaired" in error) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("--task", "classify", "--truth", "a", "--predictions", "b", "--split", "val"), "--split"),
        (("--task", "classify", "--truth", "a", "--predictions", "b", "--strict"), "--strict"),
        (("model", "--classes", "a,b"), "--classes"),
        (("model", "--ignore", "255"), "--ignore"),
        (("--task", "classify", "--truth", "a", "--predictions", "b", "--ignore", "3"), "--ignore"),
        (("--task", "segment", "--truth", "a", "--predictions", "b", "--max-det", "3"), "--max-det"),
    ],
)
def test_a_flag_without_effect_is_refused(call, arguments, flag):
    code, _, said = call("evaluate", *arguments)
    assert code == 2 and f"expected no {flag} beside" in said


@pytest.mark.parametrize("setting", ["model.options.widths=[4, 999999999]", "input.size=[100000000, 8]"])
def test_an_absurd_size_is_one_line(call, folder, setting, tmp_path):
    config = folder / "shapes" / "classification.yaml"
    code, _, said = call(
        "train", config, "--set", "model.backbone=small", "--set", setting, "-o", tmp_path / "r"
    )
    assert code in (3, 4) and ("expected" in said or "memory ran out" in said)
