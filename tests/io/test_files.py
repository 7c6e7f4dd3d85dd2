"""Paths held inside their folder, files written whole or not at all, inputs as users type them."""

import contextlib
import json
import math
import os
import resource
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiontasks.errors import DataError, ImageError, RunError, UsageError
from visiontasks.io.files import (
    IMAGE_SUFFIXES,
    list_inputs,
    read_bytes,
    remove_stale_temporaries,
    replacing_folder,
    safe_path,
    write_atomic,
    write_csv,
    write_json,
)
from visiontasks.io.images import encode


@pytest.mark.parametrize(
    ("relative", "found"),
    [
        ("/etc/passwd", "a path relative to this folder, found '/etc/passwd'"),
        ("../secret.txt", r"'\.\./secret\.txt', which has '\.\.' in it"),
        ("a/../../secret.txt", r"which has '\.\.' in it"),
        ("a/../b.txt", r"which has '\.\.' in it"),
        ("link/secret.txt", "found 'link/secret.txt', a link that leads out"),
        ("link.txt", "found 'link.txt', a link that leads out"),
        ("chain.txt", "found 'chain.txt', a link that leads out"),
        ("", "a path relative to this folder, found ''"),
        (".", r"a path relative to this folder, found '\.'"),
        ("a\0b", r"a path that can exist, found 'a\\x00b'"),
        ("a\ud800", r"a path that can exist, found 'a\\ud800'"),
    ],
)
def test_row_36_paths_that_leave_their_folder_are_refused(tmp_path, relative, found):
    (tmp_path / "secret.txt").write_text("canary")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "chain.txt").symlink_to(root / "link.txt")
    with pytest.raises(DataError, match=found) as caught:
        safe_path(root, relative)
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)
    assert "canary" not in str(caught.value)


def test_row_36_folder_of_similar_name_is_outside(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root-other").mkdir()
    (tmp_path / "root" / "x").symlink_to(tmp_path / "root-other")
    with pytest.raises(DataError, match="leads out"):
        safe_path(tmp_path / "root", "x/y.txt")


def test_row_36_inside_paths_and_links_work(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_text("x")
    (tmp_path / "inner").symlink_to(tmp_path / "a")
    assert safe_path(tmp_path, "a/b.txt") == tmp_path / "a" / "b.txt"
    assert safe_path(tmp_path, "inner/b.txt").read_text() == "x"
    assert safe_path(tmp_path, "not/yet.txt") == tmp_path / "not" / "yet.txt"
    monkeypatch.chdir(tmp_path)
    assert safe_path(Path("."), "a/b.txt").read_text() == "x"
    assert safe_path(Path("/"), "etc/none").as_posix() == "/etc/none"


@given(st.lists(st.sampled_from(["..", ".", "a", "link", "", "~", "in"]), min_size=1, max_size=6))
def test_row_36_no_combination_of_parts_leads_out(tmp_path_factory, parts):
    root = tmp_path_factory.getbasetemp() / "confined"
    if not root.exists():
        (root / "in").mkdir(parents=True)
        (root / "link").symlink_to("/")
    with contextlib.suppress(DataError):
        assert safe_path(root, "/".join(parts)).resolve().is_relative_to(root.resolve())


def test_read_bytes_names_what_it_found(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "big").write_bytes(b"12345")
    cases = {
        "none": "found no such file",
        "pipe": "found a pipe or device",
        ".": "found a folder",
        "big": "expected a thing of at most 4 bytes, found 5",
        "x" * 300: "can't be read: File name too long",
    }
    for name, found in cases.items():
        with pytest.raises(ImageError, match=found):
            read_bytes(tmp_path / name, max_bytes=4, what="a thing", error=ImageError)
    assert read_bytes(tmp_path / "big", max_bytes=5, what="a thing") == b"12345"


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_atomic_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    write_atomic(path, "é\n")
    write_atomic(path, b"\xff\x00")
    assert path.read_bytes() == b"\xff\x00"
    assert left_in(path.parent) == ["a.txt"]


def test_write_atomic_honours_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_write_atomic_follows_a_link_and_refuses_what_is_no_file(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_atomic(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(RunError, match=rf"{place}: expected a file to write, found a folder or device"):
            write_atomic(place, "x")
    with pytest.raises(RunError, match=r"real\.txt/a: could not be written \(.*\); free some space"):
        write_atomic(tmp_path / "real.txt" / "a", "x")


def test_write_atomic_long_names_work(tmp_path):
    write_atomic(tmp_path / ("x" * 255), "x")
    assert left_in(tmp_path) == ["x" * 255]


@contextlib.contextmanager
def disk_of(size):
    """Writing beyond `size` bytes of a file fails, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def noise_picture():
    return np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("picture.png", lambda path: write_atomic(path, encode(noise_picture(), ".png"))),
        ("numbers.json", lambda path: write_json(path, list(range(300_000)))),
        ("table.csv", lambda path: write_csv(path, ["a"], ([number] for number in range(300_000)))),
    ],
)
def test_row_43_disk_full_leaves_the_old_file_and_no_temporary(tmp_path, name, write):
    path = tmp_path / name
    path.write_text("old")
    with disk_of(1 << 20), pytest.raises(RunError) as caught:
        write(path)
    assert str(caught.value) == (
        f"{path}: could not be written (File too large); free some space or choose another place"
    )
    assert path.read_text() == "old"
    assert left_in(tmp_path) == [name]
    write(path)
    assert path.stat().st_size > 1 << 20


def test_row_43_interrupted_write_leaves_no_temporary(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a", "x")
    assert left_in(tmp_path) == []


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    out = tmp_path / "deep" / "out"
    with replacing_folder(out) as folder:
        (folder / "old.txt").write_text("old")
        assert not out.exists()
    with pytest.raises(DataError), replacing_folder(out) as folder:
        (folder / "half.txt").touch()
        raise DataError("a fault")
    with pytest.raises(RunError, match=r"deep/out: could not be written \(No space"), replacing_folder(out):
        raise OSError(28, "No space left on device")
    assert [path.name for path in out.iterdir()] == ["old.txt"]
    with replacing_folder(out) as folder:
        (folder / "new.txt").touch()
    assert [path.name for path in out.iterdir()] == ["new.txt"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_stale_temporaries_are_removed_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *paths: os._exit(0) if os.getpid() != parent else None)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        write_atomic(tmp_path / "a", "x")  # dies before the rename, as if killed
    os.waitpid(child, 0)
    (tmp_path / ".visiontasks-notes.txt").write_text("mine")
    assert len(left_in(tmp_path)) == 2
    remove_stale_temporaries(tmp_path)
    assert left_in(tmp_path) == [".visiontasks-notes.txt"]
    remove_stale_temporaries(tmp_path / "none")


def strict(path):
    def refuse(literal):
        raise AssertionError(f"{literal} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_write_json_is_strict_and_keeps_order(tmp_path):
    path = tmp_path / "a.json"
    value = {
        "z": math.nan,
        "a": [math.inf, -math.inf, 1.5, (1, 2)],
        "array": np.array([[1.0, np.nan]], dtype=np.float32),
        "scalars": [np.float32(0.5), np.int64(3), np.bool_(True), np.float64("nan")],
        "path": Path("x/y"),
        "name": "é \ud800",
        1: None,
    }
    for indent in (2, None):
        write_json(path, value, indent=indent)
        read = strict(path)
        assert list(read) == ["z", "a", "array", "scalars", "path", "name", "1"]
        assert read["z"] is None and read["a"] == [None, None, 1.5, [1, 2]]
        assert read["array"] == [[1.0, None]] and read["scalars"] == [0.5, 3, True, None]
        assert read["path"] == "x/y" and read["name"] == "é \ud800"
    assert path.read_text(encoding="utf-8").count("\n") == 1
    with pytest.raises(TypeError, match="can't write a object as JSON"):
        write_json(path, {"a": object()})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(json_values)
def test_write_json_round_trip_but_for_nan(tmp_path_factory, value):
    def expected(item):
        if isinstance(item, float):
            return item if math.isfinite(item) else None
        if isinstance(item, dict):
            return {key: expected(inner) for key, inner in item.items()}
        return [expected(inner) for inner in item] if isinstance(item, list) else item

    path = tmp_path_factory.getbasetemp() / "round.json"
    write_json(path, value)
    assert strict(path) == expected(value)


def test_write_csv_quotes_and_leaves_nan_empty(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(
        path, ["file", "n"], [["a, b.jpg", math.nan], ['"é"', None], ["c", np.float32("nan")], ["d", 0.1]]
    )
    assert path.read_bytes().decode() == 'file,n\n"a, b.jpg",\n"""é""",\nc,\nd,0.1\n'


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder as users have it: subfolders, spaces, unicode, hidden and other files."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "photos/b.jpg",
        "photos/A.JPG",
        "photos/größe äöü/日本 1.png",
        "photos/sub/deep/c.webp",
        "photos/notes.txt",
        "photos/.hidden.jpg",
        "photos/.thumbs/d.jpg",
        "photos/odd[1].jpg",
        "empty/notes.txt",
        "single.dat",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
    return tmp_path


def test_row_35_folders_are_searched_sorted_hidden_left_out(pictures):
    expected = ["A.JPG", "b.jpg", "größe äöü/日本 1.png", "odd[1].jpg", "sub/deep/c.webp"]
    assert list_inputs(["photos"]) == [Path("photos", name) for name in expected]
    assert list_inputs([pictures / "photos"]) == [pictures / "photos" / name for name in expected]


def test_row_35_unicode_spaces_brackets_and_globs(pictures):
    assert list_inputs(["photos/größe äöü/日本 1.png"]) == [Path("photos/größe äöü/日本 1.png")]
    assert list_inputs(["photos/odd[1].jpg"]) == [Path("photos/odd[1].jpg")]  # a name first, a pattern second
    assert list_inputs(["photos/*.jpg"]) == [Path("photos/b.jpg"), Path("photos/odd[1].jpg")]
    assert list_inputs(["photos/**/*.webp"]) == [Path("photos/sub/deep/c.webp")]
    assert list_inputs(["photos/s*"]) == [Path("photos/sub/deep/c.webp")]  # a folder that a pattern finds


def test_the_same_file_is_taken_once_in_the_order_typed(pictures):
    typed = ["photos/b.jpg", "./photos/b.jpg", str(pictures / "photos" / "b.jpg"), "photos"]
    found = list_inputs(typed)
    assert found[0] == Path("photos/b.jpg")
    assert len(found) == 5


def test_a_file_is_taken_whatever_its_suffix(pictures):
    assert list_inputs(["single.dat"]) == [Path("single.dat")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected pictures, folders or patterns like 'photos/\\*.jpg', found none"),
        (["none.jpg"], "expected a picture, folder or pattern, found nothing at 'none.jpg'"),
        (["photos/b.jpg", "nowhere/"], "found nothing at 'nowhere/'"),
        (["*.gif"], "expected files that match '\\*.gif', found none"),
        (["empty"], "empty: expected pictures \\(.bmp, .gif, .*\\), found none"),
    ],
)
def test_inputs_that_do_not_exist_are_usage_errors(pictures, arguments, message):
    with pytest.raises(UsageError, match=message):
        list_inputs(arguments)


def test_suffixes_are_lower_case_with_a_dot():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)


def test_row_43_disk_full_while_weights_are_saved(tmp_path):
    import torch

    from visiontasks.io.weights import ModelRecord, load_weights, save_weights

    path = tmp_path / "last.safetensors"
    record = ModelRecord(task="classification", model={}, input={}, classes=("a",))
    save_weights(path, {"w": torch.ones(3)}, record)
    with (
        disk_of(1 << 20),
        pytest.raises(RunError, match=rf"^{path}: could not be written \(File too large\); free"),
    ):
        save_weights(path, {"w": torch.ones(1 << 20)}, record)
    assert load_weights(path)[0]["w"].tolist() == [1, 1, 1]
    assert left_in(tmp_path) == [path.name]
