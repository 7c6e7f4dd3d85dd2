import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiontasks.errors import DataError
from visiontasks.io import json_stream
from visiontasks.io.json_stream import stream_json


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK", 5)


def write(tmp_path, content):
    path = tmp_path / "žluť.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path, content, **options):
    return list(stream_json(write(tmp_path, content), **options))


def records_of(document):
    """What the stream should give, from the whole document."""
    if isinstance(document, list):
        document = {"": document}
    found = []
    for key, value in document.items():
        rows = list(enumerate(value)) if isinstance(value, list) and value else [(-1, value)]
        found += [(key, number, row) for number, row in rows]
    return found


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("json")


@given(
    document=st.dictionaries(st.text(), values, max_size=4) | st.lists(values, max_size=5),
    indent=st.none() | st.integers(0, 2),
    chunk=st.integers(1, 40),
)
def test_records_are_those_of_the_whole_document(folder, document, indent, chunk):
    content = json.dumps(document, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        content.decode()
    except UnicodeDecodeError:
        content = json.dumps(document, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK", chunk)
        assert read(folder, content) == records_of(json.loads(content))


def test_byte_order_mark_and_crlf(tmp_path, small_chunks):
    content = '\ufeff{\r\n"images": [\r\n{"id": 1},\r\n{"id": 2}\r\n]\r\n}\r\n'
    assert read(tmp_path, content) == [("images", 0, {"id": 1}), ("images", 1, {"id": 2})]


def test_numbers_at_the_end_of_a_chunk_are_whole(tmp_path, small_chunks):
    assert read(tmp_path, "[1234567, 12.5e10, -0.25, 7]") == [
        ("", place, number) for place, number in enumerate([1234567, 12.5e10, -0.25, 7])
    ]


FAULTS = {
    "syntax": ('{"a": [\n{"x": 1},\n{"x" 2}]}', r"json:3, a\[1\]: expected JSON, found a fault in column 6"),
    "cut off": ('{"a": [\n{"x": 1},\n{"x": 2', r"json:3, a\[1\]: expected JSON, found a fault in column \d+"),
    "cut off between": ('{"a": [\n{"x": 1},', r"json:2, a\[1\]: expected JSON, found a fault"),
    "no comma": ('{"a": [1\n2]}', r"json:2, a\[0\]: expected JSON with , or \] here, found '2'"),
    "end": ('{"a": [1', r"json:1, a\[0\]: expected JSON with , or \] here, found the end of the file"),
    "no colon": ('{"a" 1}', "expected JSON with : here, found '1'"),
    "no key": ("{a: 1}", "expected JSON with \" here, found 'a'"),
    "comma at the end": ('{"a": 1,}', "expected JSON with \" here, found '}'"),
    "key twice": ('{"a": 1,\n"a": 2}', r"json:2: expected each key once, found 'a' twice"),
    "key twice inside": ('{"a": [0,\n{"x": 1, "x": 2}]}', r"json:2, a\[1\]: .*found 'x' twice in one object"),
    "NaN": ('{"a": [0,\n{"x": NaN}]}', r"json:2, a\[1\]: expected finite numbers, found NaN"),
    "infinity": ('[{"x": -Infinity}]', r"json:1, \[0\]: expected finite numbers, found -Infinity"),
    "scalar": ("3", "expected JSON with { or \\[ here, found '3'"),
    "empty": ("", "expected JSON with { or \\[ here, found the end of the file"),
    "more": ("[1]\n[2]", r"json:2: expected the end of the JSON document, found '\['"),
    "encoding": (b'{"a": [\n"\xff"]}', "json:2: expected UTF-8 text, found byte 0xff"),
    "half a character": (b'{"a": "\xc5', "expected UTF-8 text, found byte 0xc5"),
    "depth": ("[" * 100_000, "expected JSON of reasonable depth"),
    "digits": ("[" + "1" * 5000 + "]", "expected numbers of reasonable length"),
}


@pytest.mark.parametrize("chunk", [7, 1 << 22])
@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_names_file_line_and_record(tmp_path, monkeypatch, case, chunk):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    content, message = FAULTS[case]
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, content)
    assert "žluť.json" in str(caught.value)


def test_nan_where_it_is_allowed(tmp_path):
    (record,) = read(tmp_path, "[NaN]", allow_nan=True)
    assert record[2] != record[2]


def test_sizes_are_capped(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="of at most 3 bytes, found 4"):
        read(tmp_path, "[11]", max_bytes=3)
    monkeypatch.setattr(json_stream, "MAX_RECORD", 100)
    monkeypatch.setattr(json_stream, "CHUNK", 50)
    with pytest.raises(DataError, match=r"\[1\]: expected JSON, found a fault"):
        read(tmp_path, f'[1, "{"x" * 1000}"]')


def test_memory_is_that_of_a_chunk_not_of_the_file(tmp_path):
    records = ",".join(json.dumps({"id": i, "polygon": [i / 7] * 50}) for i in range(20_000))
    path = write(tmp_path, f'{{"annotations": [{records}]}}')
    assert path.stat().st_size > 4 * json_stream.CHUNK
    tracemalloc.start()
    try:
        count = sum(1 for _ in stream_json(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 5 * json_stream.CHUNK
