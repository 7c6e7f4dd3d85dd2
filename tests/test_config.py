"""One YAML, strict: scalars mean what they say, all faults come together, each with line, key and remedy."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator

from visiontasks.config import RunConfig, Section, TrainConfig
from visiontasks.config_files import (
    describe_keys,
    flatten,
    override,
    parse_config,
    parse_settings,
    read_config,
    section_model,
    to_yaml,
)
from visiontasks.errors import ConfigError, UsageError
from visiontasks.io.documents import parse_yaml
from visiontasks.io.files import read_yaml


class Crop(Section):
    kind: Literal["crop"] = "crop"
    size: int = Field(..., gt=0, description="pixels")


class Pad(Section):
    kind: Literal["pad"] = "pad"
    colour: str = Field("black", description="name of the colour")


class Data(Section):
    names: tuple[str, ...] = Field((), description="class names")
    root: str | None = Field(None, description="folder of the data")
    shuffle: bool = Field(True, description="whether to shuffle")
    steps: tuple[Crop | Pad, ...] = Field((), description="what is done to a picture")


class Config(RunConfig):
    data: Data = Data()

    @field_validator("name")
    @classmethod
    def _known(cls, value):
        if value == "forbidden":
            raise ValueError("unknown name 'forbidden'; choices: a, b")
        return value


def read(text, file="a.yaml"):
    values, lines = parse_yaml(text, file)
    return parse_config(Config, values, file=file, lines=lines)


def faults(text):
    with pytest.raises(ConfigError) as caught:
        read(text)
    return list(caught.value.faults)


def test_row_23_scalars_are_read_by_the_type_of_their_field():
    config = read(
        "name: '012'\nseed: 7\n"
        "train: {optimizer: {lr: 1e-3, weight_decay: .5}, schedule: {milestones: [1, 2.5]}}\n"
        "data: {names: [no, yes, 1e3, ~, 0], shuffle: no}\n"
    )
    assert config.name == "012" and config.seed == 7
    assert config.train.optimizer.lr == 0.001 and config.train.optimizer.weight_decay == 0.5
    assert config.train.schedule.milestones == (1.0, 2.5)
    assert config.data.names == ("no", "yes", "1e3", "~", "0")
    assert config.data.shuffle is False


def test_the_stages_of_progressive_resizing_rise():
    (fault,) = faults("name: a\ntrain: {resolutions: [[26, 96], [12, 64]]}\n")
    assert "with rising epochs" in str(fault)


@pytest.mark.parametrize("null", ["", "~", "null", "Null", "NULL"])
def test_null_is_none_where_none_is_allowed_and_only_there(null):
    config = read(f"name: a\ntrain: {{monitor: {null}, workers: {null}}}\ndata: {{root: {null}}}\n")
    assert (config.train.monitor, config.train.workers, config.data.root) == (None, None, None)
    assert faults(f"name: a\nseed: {null}\n") == [
        f"a.yaml:2: seed: expected a whole number, found {null!r} (of weights, order and augmentation)"
    ]


def test_all_faults_come_together_each_with_its_line():
    found = faults(
        "nme: x\n"
        "seed: many\n"
        "train:\n"
        "  epochs: 0\n"
        "  optimiser:\n"
        "    lr: 1\n"
        "  optimizer:\n"
        "    name: sdg\n"
        "    lr: nan\n"
        "data:\n"
        "  names: [a,\n"
        "    [b]]\n"
    )
    assert len(found) == 8
    text = "\n".join(found)
    for line in (
        "a.yaml: missing key 'name'; add it (name of the run's folder)",
        "a.yaml:1: unknown key 'nme'; did you mean 'name'? valid here: name, seed, train, data",
        "a.yaml:2: seed: expected a whole number, ",
        "a.yaml:4: train.epochs: expected greater than or equal to 1, found '0' (passes over the training",
        "a.yaml:5: unknown key 'train.optimiser'; did you mean 'optimizer'? valid here: epochs, batch_size, ",
        "a.yaml:8: train.optimizer.name: expected 'adamw' or 'sgd', found 'sdg' (adamw or sgd (Nesterov",
        "a.yaml:9: train.optimizer.lr: expected a finite number, found 'nan' (peak learning rate",
        "a.yaml:12: data.names.1: expected text, found ['b']",
    ):
        assert line in text


def test_a_fault_is_listed_once_and_on_one_line():
    for fault in faults("name: 'a\n\n  b'\nseed: [1]\ntrain: 3\n"):
        assert "\n" not in fault


def test_faults_inside_a_list_of_variants_name_their_entry():
    found = faults("name: a\ndata:\n  steps:\n    - {kind: pad}\n    - kind: crop\n      size: 0\n")
    assert any(line.startswith("a.yaml:5: data.steps.1.") and "greater than 0" in line for line in found)


def test_an_unknown_name_keeps_its_own_line():
    assert faults("name: forbidden") == ["a.yaml:1: name: unknown name 'forbidden'; choices: a, b"]


def test_without_lines_the_file_is_named():
    with pytest.raises(ConfigError, match=r"^b\.yaml: unknown key 'x'; valid here"):
        parse_config(Config, {"name": "a", "x": "1"}, file="b.yaml")


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "a b", "-x"])
def test_names_that_are_no_folder_are_refused(name):
    assert len(faults(f"name: '{name}'")) == 1


def test_sections_cannot_be_changed():
    config = read("name: a")
    with pytest.raises(Exception, match="frozen"):
        config.seed = 3


def test_parse_settings_reads_values_as_yaml_strings():
    settings = parse_settings(
        ["train.epochs=5", "data.names=[no, yes]", "a.b=x=y", "c=", " d =1", "e={f: 1}"]
    )
    assert settings == {
        "train.epochs": "5",
        "data.names": ["no", "yes"],
        "a.b": "x=y",
        "c": "",
        "d": "1",
        "e": {"f": "1"},
    }
    assert parse_settings([]) == {}


def test_parse_settings_reports_all_faults():
    with pytest.raises(UsageError) as caught:
        parse_settings(["epochs", "=5", "a..b=1", "a=[1", "good=1", "b=*x", f"c={'[' * 2000}"])
    faults = str(caught.value).split("; --set")
    assert [faults[0], *(f"--set{fault}" for fault in faults[1:5])] == [
        "--set: expected KEY.KEY=VALUE, found 'epochs'",
        "--set: expected KEY.KEY=VALUE, found '=5'",
        "--set: expected KEY.KEY=VALUE, found 'a..b=1'",
        "--set a: expected a YAML value, found '[1'; quote it",
        "--set b: expected a YAML value, found '*x'; quote it",
    ]
    assert len(faults) == 6


def test_override_replaces_makes_sections_and_leaves_the_original():
    values = {"a": {"b": "1", "c": "2"}, "d": "3"}
    assert override(values, {"a.b": 5, "e.f": "6", "d": ["7"]}) == {
        "a": {"b": 5, "c": "2"},
        "d": ["7"],
        "e": {"f": "6"},
    }
    assert values == {"a": {"b": "1", "c": "2"}, "d": "3"}
    with pytest.raises(ConfigError, match=r"^--set d\.x\.y: 'd\.x' is a value, not a section$"):
        override(values, {"d.x.y": "1"})


def test_set_meets_the_same_checks_as_the_file():
    values = override({"name": "a"}, parse_settings(["train.epoch=3"]))
    with pytest.raises(ConfigError, match=r"unknown key 'train\.epoch'; did you mean 'epochs'\?"):
        parse_config(Config, values, file="a.yaml")


def test_flatten_is_undone_by_override():
    values = {"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None}
    assert flatten(values) == {"a.b.c": 1, "a.d": [1, 2], "e": None}
    assert override({}, flatten(values)) == values


@given(
    epochs=st.integers(1, 10**6),
    lr=st.floats(1e-12, 1e6),
    names=st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)),
    monitor=st.none() | st.sampled_from(["top1", "yes", "1e3", "a: b", "# x", "é\n"]),
    resolutions=st.lists(
        st.tuples(st.floats(0, 100), st.integers(1, 500)), max_size=3, unique_by=lambda stage: stage[0]
    ).map(sorted),
)
def test_to_yaml_reads_back_to_the_same_config(tmp_path_factory, epochs, lr, names, monitor, resolutions):
    config = Config(
        name="a",
        data=Data(names=tuple(names), steps=(Crop(size=3), Pad())),
        train=TrainConfig(
            epochs=epochs, optimizer={"lr": lr}, monitor=monitor, resolutions=tuple(resolutions)
        ),
    )
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    values, lines = read_yaml(path)
    assert parse_config(Config, values, file=str(path), lines=lines) == config


def test_defaults_are_valid_and_described():
    keys = {key: (default, meaning) for key, default, meaning in describe_keys(Config)}
    assert keys["name"][0] == "required"
    assert keys["train.optimizer.lr"] == (
        "0.001",
        "peak learning rate, for the whole batch size (sgd wants 0.01 to 1)",
    )
    assert keys["train.monitor"][0] == "null"
    assert keys["data.steps.size"][0] == "required" and "data.steps.colour" in keys
    assert all(meaning for key, (_, meaning) in keys.items() if not key.endswith("kind"))
    assert parse_config(TrainConfig, {}, file="") == TrainConfig()


class Rpn(Section):
    """A part of one form."""

    n: int = Field(3, ge=1, description="count")


class Two(Section):
    """A section's form."""

    name: Literal["two"] = "two"
    rpn: Rpn = Rpn()


class One(Section):
    """Another."""

    name: Literal["one"] = "one"
    stride: int = Field(8, description="pixels")


class Forms(Section):
    """A section of several forms."""

    model: Annotated[One | Two, Field(discriminator="name")] = One()


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (
            {"name": "two", "rpn": {"n": "0"}},
            "model.rpn.n: expected greater than or equal to 1, found '0' (count)",
        ),
        ({"name": "two", "rpn": {"nn": "1"}}, "unknown key 'model.rpn.nn'; did you mean 'n'? valid here: n"),
        ({"name": "two", "stride": "1"}, "unknown key 'model.stride'; valid here: name, rpn"),
        ({"name": "tow"}, "model: unknown name 'tow'; did you mean 'two'? choices: one, two"),
    ],
)
def test_a_section_of_several_forms_is_checked_as_the_one_that_it_names(model, fault):
    with pytest.raises(ConfigError) as caught:
        parse_config(Forms, {"model": model}, file="a.yaml")
    assert caught.value.faults == (f"a.yaml: {fault}",)
    kind = section_model(Forms, "model")
    assert parse_config(kind, {"name": "two"}, file="") == Two()
    keys = {key: meaning for key, _, meaning in describe_keys(Forms)}
    assert keys == {
        "model.name": "one of one, two",
        "model.stride": "pixels [one]",
        "model.rpn.n": "count [two]",
    }


def test_what_the_command_line_set_is_said_to_come_from_there():
    with pytest.raises(ConfigError, match=r"^--set: model: unknown name 'x'"):
        parse_config(Forms, {"model": {"name": "x"}}, file="a.yaml", lines={("model",): 0})


def test_section_model():
    assert section_model(Config, "train") is TrainConfig


def test_read_config_takes_the_path_as_typed_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundled = Path(read_config.__code__.co_filename).parent / "configs"
    assert read_config(Path("configs/none.yaml")) == Path("configs/none.yaml")
    for path in list(bundled.rglob("*.yaml"))[:1]:
        typed = Path("configs") / path.relative_to(bundled)
        assert read_config(typed) == path
        typed.parent.mkdir(parents=True)
        typed.write_text("name: mine")
        assert read_config(typed) == typed


def test_json_schema_can_be_made_for_editors():
    schema = Config.model_json_schema()
    assert schema["additionalProperties"] is False
    assert schema["properties"]["seed"]["description"] == "of weights, order and augmentation"


def test_the_resolved_config_needs_no_tags_or_aliases():
    text = to_yaml(read("name: a"))
    assert yaml.safe_load(text)["name"] == "a"
    assert "&" not in text and "!" not in text
