"""The quick reader gives what `json` gives, to the last bit, or gives up."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiontasks.detection.metrics import flat_json
from visiontasks.detection.metrics.flat_json import parse_flat_records

finite = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.integers(-10_000, 10_000).map(lambda number: number / 100),
    st.integers(-(2**53), 2**53),
)
record = st.tuples(
    st.integers(0, 10**12), st.integers(0, 90), st.lists(finite, min_size=4, max_size=4), finite
).map(lambda values: dict(zip(("image_id", "category_id", "bbox", "score"), values, strict=True)))
LAYOUTS = {
    "json.dumps": {},
    "compact": {"separators": (",", ":")},
    "indented": {"indent": 2},
    "tabs": {"indent": "\t"},
}
RECORD = {"image_id": 7, "category_id": 3, "bbox": [1.5, 2, 3.25, 4], "score": 0.5}


def assert_reads(text, records):
    columns = parse_flat_records(text.encode("utf-8"))
    assert columns is not None
    assert list(columns) == list(records[0])
    for key, column in columns.items():
        expected = np.array([row[key] for row in records], dtype=np.float64).reshape(len(records), -1)
        assert column.dtype == np.float64
        assert np.array_equal(column, expected)  # to the last bit, but for the sign of a whole 0


@pytest.mark.parametrize("layout", LAYOUTS)
@given(records=st.lists(record, min_size=1, max_size=8))
def test_equals_json(layout, records):
    text = json.dumps(records, **LAYOUTS[layout])
    assert_reads(text, json.loads(text))


@given(st.lists(record, min_size=1, max_size=30), st.integers(1, 400))
def test_blocks_of_any_length(records, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat_json, "BLOCK", size)
        text = json.dumps(records)
        assert_reads(text, json.loads(text))


@pytest.mark.parametrize(
    "number",
    "0 -0 -0.0 1e5 1E5 1e-05 1.5E+3 123456789.123456789 0.1 5e-324 1.7976931348623157e308 "
    "2.2250738585072011e-308 9007199254740993 0.30000000000000004 1e999 -0.5e0 10 100.001".split(),
)
def test_numbers_to_the_last_bit(number):
    text = json.dumps([RECORD] * 3).replace("0.5", number)
    assert_reads(text, json.loads(text))


@pytest.mark.parametrize(("before", "after"), [("\ufeff", ""), (" \r\n", "\r\n"), ("", "\n" * 40)])
def test_marks_and_spaces_around(before, after):
    assert_reads(f"{before}{json.dumps([RECORD] * 3)}{after}", [RECORD] * 3)


def test_further_numbers():
    assert_reads(
        json.dumps([{**RECORD, "id": i, "area": 2.5} for i in range(4)]),
        [{**RECORD, "id": i, "area": 2.5} for i in range(4)],
    )


TEXT = json.dumps([RECORD] * 40)
GIVEN_UP = {  # name: a text that the quick reader must leave to the general one
    "nothing": "",
    "no records": "[]",
    "only spaces": "[  ]",
    "an object": "{}",
    "cut off": TEXT[:-20],
    "not closed": TEXT[:-1],
    "a bracket too many": TEXT + "]",
    "something behind": TEXT + " 5",
    "a comma at the end": TEXT[:-1] + ",]",
    "two commas": TEXT.replace("}, {", "},, {", 1),
    "no comma": TEXT.replace("}, {", "} {", 1),
    "NaN": TEXT.replace("0.5", "NaN", 1),
    "NaN everywhere": TEXT.replace("0.5", "NaN"),
    "NaN later": TEXT[:300] + TEXT[300:].replace("0.5", "NaN", 1),
    "Infinity": TEXT[:300] + TEXT[300:].replace("0.5", "-Infinity", 1),
    "no number": TEXT[:300] + TEXT[300:].replace("0.5", "", 1),
    "no number in a box": TEXT[:300] + TEXT[300:].replace("1.5", " ", 1),
    "two numbers": TEXT[:300] + TEXT[300:].replace("0.5", "0.5 7", 1),
    "two numbers and one missing": TEXT[:300] + TEXT[300:].replace("0.5", "", 1).replace("0.5", "0.5 7", 1),
    "a number too many": TEXT[:300] + TEXT[300:].replace("1.5, 2", "1.5, 2, 3", 1),
    "a number too few": TEXT[:300] + TEXT[300:].replace("1.5, 2", "1.5", 1),
    "two signs": TEXT[:300] + TEXT[300:].replace("0.5", "--0.5", 1),
    "two points": TEXT[:300] + TEXT[300:].replace("0.5", "0.5.5", 1),
    "half an exponent": TEXT[:300] + TEXT[300:].replace("0.5", "0.5e", 1),
    "zeros in front": TEXT[:300] + TEXT[300:].replace("0.5", "00.5", 1),
    "a plus": TEXT[:300] + TEXT[300:].replace("0.5", "+0.5", 1),
    "a point in front": TEXT[:300] + TEXT[300:].replace("0.5", "-.5", 1),
    "a point behind": TEXT[:300] + TEXT[300:].replace("0.5", "5.", 1),
    "a point before an exponent": TEXT[:300] + TEXT[300:].replace("0.5", "5.e3", 1),
    "hexadecimal": TEXT[:300] + TEXT[300:].replace("0.5", "0x5", 1),
    "an underscore": TEXT[:300] + TEXT[300:].replace("0.5", "1_0", 1),
    "a text": TEXT[:300] + TEXT[300:].replace("0.5", '"0.5"', 1),
    "true": TEXT[:300] + TEXT[300:].replace("0.5", "true", 1),
    "null": TEXT[:300] + TEXT[300:].replace("0.5", "null", 1),
    "texts everywhere": TEXT.replace('"image_id": 7', '"image_id": "7"'),
    "true everywhere": TEXT.replace("0.5", "true"),
    "another key": TEXT[:300] + TEXT[300:].replace("score", "scores", 1),
    "a digit in a key": TEXT[:300] + TEXT[300:].replace("score", "scor3e", 1),
    "a point in a key": TEXT[:300] + TEXT[300:].replace("score", "sc.ore", 1),
    "an exponent in a key": TEXT[:300] + TEXT[300:].replace("score", "scor1e", 1),
    "a space in a key": TEXT[:300] + TEXT[300:].replace("score", "sc ore", 1),
    "digits in all keys": TEXT.replace("score", "score2"),
    "a key twice": TEXT.replace('"category_id"', '"image_id"'),
    "another order": TEXT[:-1] + ', {"category_id": 1, "image_id": 2, "bbox": [1, 2, 3, 4], "score": 1}]',
    "another space": TEXT[:300] + TEXT[300:].replace('"score": ', '"score":', 1),
    "an empty list": TEXT.replace("[1.5, 2, 3.25, 4]", "[]"),
    "nested": TEXT.replace("[1.5, 2, 3.25, 4]", "[[1.5, 2], [3.25, 4]]"),
    "an object inside": TEXT.replace("0.5", '{"of": 1}'),
    "a list of lists": "[[1, 2], [3, 4]]",
    "numbers": "[1, 2, 3]",
    "not UTF-8": TEXT.replace("score", "sc\udcffre", 1),
}


@pytest.mark.parametrize("name", GIVEN_UP)
@pytest.mark.parametrize("size", [64, 1 << 20])
def test_gives_up(name, size, monkeypatch):
    monkeypatch.setattr(flat_json, "BLOCK", size)
    assert parse_flat_records(GIVEN_UP[name].encode("utf-8", "surrogateescape")) is None


@given(
    place=st.integers(0, len(TEXT) - 1),
    change=st.sampled_from('0 ,.:-+eE"[]{}ax\n'),
    size=st.sampled_from([64, 9999]),
)
def test_a_changed_character_is_read_as_json_reads_it(place, change, size):
    """Whatever one character becomes: the same numbers as `json`, or none."""
    text = TEXT[:place] + change + TEXT[place + 1 :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat_json, "BLOCK", size)
        columns = parse_flat_records(text.encode())
    if columns is None:
        return
    records = json.loads(text)
    for key, column in columns.items():
        expected = np.array([row[key] for row in records], dtype=np.float64).reshape(len(records), -1)
        assert np.array_equal(column, expected)
