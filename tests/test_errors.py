"""Exit codes, and the line for a name that does not exist."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiontasks import errors
from visiontasks.errors import (
    LONGEST_LINE,
    MOST_CHOICES,
    ConfigError,
    DataError,
    ImageError,
    Interrupted,
    RunError,
    UsageError,
    VisionTasksError,
    WeightsError,
    one_line,
    unknown_name,
)

HALF = LONGEST_LINE // 2
FAMILY = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, VisionTasksError)
]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VisionTasksError("x"), 3),
        (UsageError("x"), 2),
        (ConfigError(["x"]), 3),
        (DataError("x"), 3),
        (ImageError("x"), 3),
        (WeightsError("x"), 3),
        (RunError("x"), 4),
        (Interrupted(signal.SIGINT, "saved"), 130),
        (Interrupted(signal.SIGTERM, "saved"), 143),
    ],
)
def test_exit_codes(error, code):
    assert error.exit_code == code
    assert isinstance(error, VisionTasksError)


def test_the_table_above_is_complete():
    assert len(FAMILY) == 8


def test_an_image_error_is_a_data_error_and_weights_are_not():
    assert issubclass(ImageError, DataError)
    assert not issubclass(WeightsError, DataError)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("příliš žluťoučký\xa0kůň", "příliš žluťoučký\xa0kůň"),
        ("a\nb\r\n", r"a\nb\r\n"),
        ("\x1b[31mred\0\u2028", r"\x1b[31mred\x00\u2028"),
        ("x" * LONGEST_LINE, "x" * LONGEST_LINE),
        ("a" * 9000 + "; mend it", "a" * HALF + " ... " + "a" * (HALF - 9) + "; mend it"),
    ],
)
def test_what_a_file_says_does_not_break_the_line(text, line):
    assert one_line(text) == line
    assert str(DataError(text)) == line


def test_only_what_is_given_as_lines_is_several():
    assert str(DataError("a\nb", "c")) == "a\\nb\nc"
    error = ConfigError(["a\nb", "c"])
    assert error.faults == ("a\\nb", "c")
    assert str(error) == "a\\nb\nc"


def test_interrupted_names_its_signal():
    assert str(Interrupted(signal.SIGTERM, "saved at epoch 3")) == "SIGTERM: saved at epoch 3"


def test_config_error_keeps_all_faults():
    error = ConfigError(["a: one", "b: two"])
    assert error.faults == ("a: one", "b: two")
    assert str(error) == "a: one\nb: two"


def test_unknown_name_lists_choices_sorted_with_the_nearest():
    line = unknown_name("backbone", "resnt18", ["vgg11", "resnet34", "resnet18"])
    assert line == "unknown backbone 'resnt18'; did you mean 'resnet18'? choices: resnet18, resnet34, vgg11"


def test_unknown_name_without_anything_near():
    assert unknown_name("metric", "zzz", ["top1"]) == "unknown metric 'zzz'; choices: top1"


def test_unknown_name_of_many_choices_shows_the_nearest_few():
    names = [f"net{number}" for number in range(MOST_CHOICES + 1)]
    line = unknown_name("network", "net1x", names)
    assert f"the nearest of {len(names)} choices: " in line
    assert line.rpartition(": ")[2].count(",") < MOST_CHOICES
    assert f"choices: {', '.join(sorted(names[:-1]))}" in unknown_name("network", "q", names[:-1])


@given(
    st.text(max_size=10), st.lists(st.text(alphabet="abc1", min_size=1, max_size=6), unique=True, max_size=60)
)
def test_unknown_name_never_fails_and_suggests_only_what_exists(name, choices):
    line = unknown_name("thing", name, choices)
    if "did you mean '" in line:
        assert line.rpartition("did you mean '")[2].partition("'")[0] in choices


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "nothing"), ([1, "é"], '[1, "é"]'), ("a" * 58, f'"{"a" * 58}"'), ("a" * 59, f'"{"a" * 59}...')],
)
def test_short_shows_a_value_of_a_file(value, shown):
    assert errors.short(value) == shown
