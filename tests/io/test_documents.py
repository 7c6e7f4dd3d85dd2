"""JSON, YAML, XML, CSV: what is read, what is refused, and what each refusal says."""

import json
import math
import resource
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visiontasks.errors import DataError, VisionTasksError
from visiontasks.io.documents import MAX_DEPTH, decode_text, parse_csv, parse_json, parse_xml, parse_yaml
from visiontasks.io.files import MAX_BYTES, read_document, read_yaml

CONTENT = {  # one small document a format, and what it reads as
    ".json": ('{\n"a": ["é", 1]\n}\n', {"a": ["é", 1]}),
    ".yaml": ("a:\n  - é\n  - 1\n", {"a": ["é", "1"]}),
    ".yml": ("a: é\nb:\n", {"a": "é", "b": ""}),
    ".csv": ("path,label\né.jpg,cat\n", [{"path": "é.jpg", "label": "cat"}]),
    ".xml": ("<a>\n<b>é</b>\n</a>\n", ["é"]),
}


def read(tmp_path, name, content, **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_document(path, **options)


def plain(value):
    return value if not hasattr(value, "iter") else [element.text for element in value]


@pytest.mark.parametrize("suffix", CONTENT)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_row_24_byte_order_mark_and_crlf_are_accepted(tmp_path, suffix, mark, ends):
    text, expected = CONTENT[suffix]
    data = mark + text.replace("\n", ends).encode()
    assert plain(read(tmp_path, f"a{suffix}", data)) == expected


@pytest.mark.parametrize("suffix", MAX_BYTES)
def test_bytes_that_are_no_utf8_are_refused_with_their_line(tmp_path, suffix):
    with pytest.raises(DataError, match=rf"a\{suffix}:2: expected UTF-8 text, found byte 0xe9; save"):
        read(tmp_path, f"a{suffix}", b"a: 1\nb: \xe9\n")


def test_every_suffix_with_a_size_cap_has_a_sample_here():
    assert set(CONTENT) == set(MAX_BYTES)


def test_row_23_yaml_scalars_stay_as_written(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("names: [no, yes, on, 0, 1e-3, 012, 1_0, ~, 2020-01-01, 0x1F]\nlr: .5\nempty:\nq: 'no'\n")
    values, _ = read_yaml(path)
    names = ["no", "yes", "on", "0", "1e-3", "012", "1_0", "~", "2020-01-01", "0x1F"]
    assert values == {"names": names, "lr": ".5", "empty": "", "q": "no"}


def test_yaml_lines_of_each_key_and_entry():
    value, lines = parse_yaml("a: 1\nb:\n  c: x\n  d:\n    - 1\n    - [2,\n       3]\n", "f")
    assert value == {"a": "1", "b": {"c": "x", "d": ["1", ["2", "3"]]}}
    assert lines == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "d"): 4,
        ("b", "d", "0"): 5,
        ("b", "d", "1"): 6,
        ("b", "d", "1", "0"): 6,
        ("b", "d", "1", "1"): 7,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {x: 1, x: 2}", r"f:2: expected each key once, found 'x' again \(first in line 2\)"),
        ("a: 1\nb: 2\na: 3", r"f:3: expected each key once, found 'a' again \(first in line 1\)"),
        ("a: &x 1\nb: *x", r"f:1: expected plain values, found an anchor or alias \('x'\); write"),
        ("a: 1\nb: *x", r"f:2: .* anchor or alias \('x'\)"),
        ("*x : 1", r"f:1: .* anchor or alias \('x'\)"),
        ("a:\n  - !!python/object/apply:os.system [x]", r"f:2: .* found the tag 'tag:yaml.org,2002:python/"),
        ("!!set {a, b}", r"f:1: .* found the tag"),
        ("a: 1\n---\nb: 2", r"f:2: expected one YAML document, found a second one"),
        ("a: [1\nb: 2", r"f:\d: expected YAML, found: "),
        ("a: b: c", r"f:1: expected YAML, found: mapping values are not allowed"),
        ("a: \x00", r"f: expected YAML, found: .*character"),
        ("? [a]\n: 1", r"f:1: expected a name before ':', found a list or mapping"),
        ("[" * (MAX_DEPTH + 2), rf"f:1: expected at most {MAX_DEPTH} levels of nesting"),
    ],
)
def test_yaml_faults_name_the_line(text, message):
    with pytest.raises(DataError, match=message) as caught:
        parse_yaml(text, "f")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"), [("", "nothing"), ("# only", "nothing"), ("- 1", "a list"), ("x", "a single value")]
)
def test_yaml_that_is_no_mapping_is_refused(tmp_path, text, found):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(
        DataError, match=rf"a\.yaml: expected keys with values \(key: value\), found {found}$"
    ):
        read_yaml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"a": 1,\n"b": {"x": "}",\n"x": 2}}',
            r"f:3: expected each key once, found 'x' twice in the object",
        ),
        ('[{"a": 1},\n{"b": 1, "b": 1},\n{}]', r"f:2: .* found 'b' twice"),
        ('{"a": "NaN",\n"b": NaN}', r"f:2: expected finite numbers, found NaN; mend"),
        ('[1,\n-Infinity, "Infinity"]', r"f:2: expected finite numbers, found -Infinity"),
        ('{"a": 1,\n"b" 2}', r"f:2: expected JSON, found a fault in column 5: expecting ':' delimiter"),
        ("", r"f:1: expected JSON, found a fault in column 1"),
        ("[1]\n[2]", r"f:2: expected JSON, found a fault in column 1: extra data"),
        ("[" * 200_000, r"f: expected JSON of reasonable depth"),
        ("9" * 9_000, r"f: expected numbers of reasonable length"),
    ],
)
def test_json_faults_name_the_line(text, message):
    with pytest.raises(DataError, match=message) as caught:
        parse_json(text, "f", allow_nan=False)
    assert "\n" not in str(caught.value)


def test_row_12_json_nan_is_refused_unless_asked_for(tmp_path):
    with pytest.raises(DataError, match=r"a\.json:1: expected finite numbers, found NaN"):
        read(tmp_path, "a.json", '{"bbox": [1, NaN, 2, 3]}')
    values = read(tmp_path, "a.json", "[NaN, Infinity, -Infinity]", allow_nan=True)
    assert math.isnan(values[0]) and values[1:] == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a>\n<b></a>", r"f:2: expected XML, found a fault in column 6: mismatched tag"),
        ("", r"f:1: expected XML, .* no element found"),
        ("<a>&x;</a>", r"f:1: .* undefined entity"),
        ("<?xml version='1.0'?>\n<!DOCTYPE a SYSTEM 'http://x/y'><a/>", r"f:2: expected XML without DOCTYPE"),
        ("<a>" * 100 + "</a>" * 100, rf"f: expected at most {MAX_DEPTH} levels of elements"),
    ],
)
def test_xml_faults_name_the_line(text, message):
    with pytest.raises(DataError, match=message):
        parse_xml(text, "f")


def test_xml_reads_utf8_whatever_its_declaration_says():
    assert parse_xml('<?xml version="1.0" encoding="utf-16"?><a>é</a>', "f").text == "é"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n\n1,2,3\n", r"f:4: expected 2 fields \(a, b\), found 3; quote"),
        ("a,b\n1\n", r"f:2: expected 2 fields \(a, b\), found 1"),
        ("a,a\n", r"f:1: expected a header of distinct column names, found 'a' twice"),
        ("a,\n", r"f:1: .* found an empty one"),
        ('a,b\n1,"2\n', r"f:2: expected CSV, found: unexpected end of data"),
        ("", r"f: expected a header line .* found an empty file"),
    ],
)
def test_csv_faults_name_the_line(text, message):
    with pytest.raises(DataError, match=message):
        parse_csv(text, "f")


def test_csv_keeps_quoted_commas_quotes_and_line_ends():
    rows = parse_csv('path,label\n"a, b.jpg","say ""x"""\n"c\nd",e\n', "f")
    assert rows == [{"path": "a, b.jpg", "label": 'say "x"'}, {"path": "c\nd", "label": "e"}]


@pytest.mark.parametrize("suffix", MAX_BYTES)
def test_size_cap_is_checked_before_reading(tmp_path, suffix):
    with pytest.raises(
        DataError, match=rf"a\{suffix}: expected a {suffix[1:].upper()} file of at most 10 bytes"
    ):
        read(tmp_path, f"a{suffix}", "#" * 11, max_bytes=10)


def test_other_suffixes_and_missing_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.txt: expected a file named \.json, \.csv"):
        read(tmp_path, "a.txt", "x")
    with pytest.raises(DataError, match=r"none\.json: expected a JSON file, found no such file"):
        read_document(tmp_path / "none.json")
    (tmp_path / "b.json").mkdir()
    with pytest.raises(DataError, match=r"b\.json: expected a JSON file, found a folder"):
        read_document(tmp_path / "b.json")


LAUGHS = {
    "aliases.yaml": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "\n".join(
        f"{b}: &{b} [{', '.join(f'*{a}' for _ in range(9))}]"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "merge.yaml": "a: &a {x: 1}\nb:\n  <<: *a\n",
    "entities.xml": '<!DOCTYPE l [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><l>&i;</l>",
    "quadratic.xml": f'<!DOCTYPE l [<!ENTITY a "{"x" * 100_000}">]><l>{"&a;" * 100_000}</l>',
    "outside.xml": '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><l>&a;</l>',
    "deep.yaml": "[" * 1_000_000,
    "deep.json": "[" * 10_000_000,
    "deep.xml": "<a>" * 500_000 + "</a>" * 500_000,
}


def test_row_37_bombs_are_refused_within_a_second_in_little_memory(tmp_path):
    for name, text in LAUGHS.items():
        (tmp_path / name).write_text(text)
    program = """
        import json, sys, time
        from pathlib import Path
        from visiontasks.errors import DataError
        from visiontasks.io.files import read_document
        answers = {}
        for path in sorted(Path(sys.argv[1]).iterdir()):
            start = time.process_time()
            try:
                read_document(path)
            except DataError as error:
                answers[path.name] = [time.process_time() - start, str(error)]
        print(json.dumps(answers))
    """

    def limit_memory():
        resource.setrlimit(resource.RLIMIT_AS, (768 << 20, 768 << 20))

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        capture_output=True,
        text=True,
        preexec_fn=limit_memory,
        env={"PYTHONPATH": ":".join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert set(answers) == set(LAUGHS)
    for name, (seconds, message) in answers.items():
        assert seconds < 1, f"{name} took {seconds:.1f} s"
        assert str(tmp_path / name) in message


VALID = [text for text, _ in CONTENT.values()]


@settings(max_examples=300)
@given(
    data=st.binary(max_size=60) | st.sampled_from(VALID).map(str.encode), suffix=st.sampled_from([*CONTENT])
)
def test_fuzz_only_our_own_errors_come_out(tmp_path_factory, data, suffix):
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(data)
    try:
        read_document(path)
    except VisionTasksError as error:
        assert path.name in str(error) and "\n" not in str(error)


@settings(max_examples=300)
@given(st.text(alphabet="ab:-[]{},&*!|>'\"#?%@ \n\t\\", max_size=40))
def test_fuzz_yaml_agrees_with_the_library_where_both_accept(text):
    import yaml

    try:
        ours, _ = parse_yaml(text, "f")
    except DataError:
        return
    theirs = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    assert ours == ("" if theirs is None else theirs)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values, st.sampled_from([None, 2]))
def test_json_reads_as_the_library_reads_it(value, indent):
    text = json.dumps(value, indent=indent)
    assert parse_json(text, "f", allow_nan=False) == value


def test_decode_text_counts_lines_from_one():
    with pytest.raises(DataError, match=r"^f:1: "):
        decode_text(b"\xff", "f")
