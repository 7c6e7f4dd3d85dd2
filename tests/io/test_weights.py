"""One-file models: what is written comes back; anything else is one line, and nothing in it ever runs."""

import json
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visiontasks.errors import RunError, UsageError, WeightsError
from visiontasks.io import weights
from visiontasks.io.weights import (
    FORMAT,
    ModelRecord,
    bundled_weights,
    check_tensors,
    load_weights,
    read_record,
    resolve_weights,
    save_weights,
)


def record(**changes):
    values = {
        "task": "classification",
        "model": {"backbone": "small", "lr": 1e-3, "weights": None},
        "input": {"height": 32, "mean": [0.5, 0.5, 0.5]},
        "classes": ("größe", "no"),
        "file_ids": (3, "x"),
        "options": {"temperature": 1.5},
        "provenance": {"config": {"seed": 0}, "metrics": {"top1": 0.9, "undefined": float("nan")}},
    }
    return ModelRecord(**{**values, **changes})


def tensors():
    return {
        "conv.weight": torch.randn(4, 3, 3, 3),
        "norm.weight": torch.randn(4),
        "norm.num_batches_tracked": torch.tensor(7),
        "fc.weight": torch.randn(2, 4),
        "empty": torch.zeros(0, 3),
    }


def header_file(path, header, data=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + data)
    return path


def with_record(path, values):
    text = values if isinstance(values, str) else json.dumps(values)
    return header_file(path, {"__metadata__": {"visiontasks": text}})


def test_what_is_saved_comes_back(tmp_path):
    saved, path = tensors(), tmp_path / "größe 1.safetensors"
    save_weights(path, saved, record())
    loaded, found = load_weights(path)
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
    assert loaded["norm.num_batches_tracked"].dtype == torch.int64
    assert found.classes == ("größe", "no") and found.file_ids == (3, "x") and found.format == FORMAT
    assert found.options == {"temperature": 1.5} and found.model["lr"] == 1e-3
    assert found.provenance["metrics"] == {"top1": 0.9, "undefined": None}
    assert read_record(path) == found


def test_same_content_gives_the_same_bytes(tmp_path):
    saved = tensors()
    save_weights(tmp_path / "a", saved, record())
    save_weights(tmp_path / "b", dict(reversed(saved.items())), record())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_half_stores_wide_tensors_as_fp16_and_loads_fp32(tmp_path):
    saved = {**tensors(), "large.weight": torch.full((2, 2), 1e6)}
    save_weights(tmp_path / "a", saved, record(), half=True)
    from safetensors.torch import load_file

    stored = {name: tensor.dtype for name, tensor in load_file(tmp_path / "a").items()}
    assert stored == {
        "conv.weight": torch.float16,
        "fc.weight": torch.float16,
        "empty": torch.float16,
        "norm.weight": torch.float32,
        "norm.num_batches_tracked": torch.int64,
        "large.weight": torch.float32,  # beyond fp16
    }
    loaded, _ = load_weights(tmp_path / "a")
    assert torch.equal(loaded["norm.weight"], saved["norm.weight"])
    assert torch.equal(loaded["conv.weight"], saved["conv.weight"].half().float())


def test_shared_strided_and_trained_tensors_are_stored(tmp_path):
    base = torch.randn(4, 3, 5, 5)
    saved = {
        "tied": base,
        "tied_again": base,
        "part": base[1:],
        "channels_last": base.to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(base.transpose(0, 1)),
    }
    save_weights(tmp_path / "a", saved, record())
    loaded, _ = load_weights(tmp_path / "a")
    for name, tensor in saved.items():
        assert torch.equal(loaded[name], tensor.detach()), name
        assert loaded[name].is_contiguous()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path, value):
    path = tmp_path / "a"
    save_weights(path, {"fc.weight": torch.ones(2)}, record())
    good = path.read_bytes()
    with pytest.raises(RunError, match=rf"{path}: expected finite weights to save, .* in fc\.weight$"):
        save_weights(path, {"fc.weight": torch.tensor([1.0, value])}, record())
    assert path.read_bytes() == good
    path.write_bytes(good.replace(struct.pack("<f", 1.0), struct.pack("<f", value)))
    with pytest.raises(WeightsError, match=rf"{path}: expected finite weights, .* in fc\.weight$"):
        load_weights(path)


MALICE = """
import sys
from pathlib import Path
from visiontasks.errors import WeightsError
from visiontasks.io.downloads import load_torchvision_state
from visiontasks.io.weights import load_weights, read_record
for path in sorted(Path(sys.argv[1]).iterdir()):
    for read in (load_weights, read_record, load_torchvision_state):
        try:
            read(path)
            print(f"{read.__name__} accepted {path.name}")
        except WeightsError as error:
            assert str(path) in str(error), error
            assert len(str(error).splitlines()) == 1, error
"""


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_row_39_malicious_files_are_refused_and_run_nothing(tmp_path):
    marker, folder = tmp_path / "marker", tmp_path / "files"
    folder.mkdir()
    payload = Runs(marker)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (folder / f"pickle{protocol}.safetensors").write_bytes(pickle.dumps({"w": payload}, protocol))
    torch.save({"w": payload}, folder / "zip.pt")
    torch.save({"w": payload}, folder / "legacy.safetensors", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(2, 2), folder / "module.pt")
    torch.save([1, 2], folder / "list.pt")
    with zipfile.ZipFile(folder / "script.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload))
        archive.writestr("archive/code/__torch__.py", f"open({str(marker)!r}, 'w')")
        archive.writestr("archive/constants.pkl", pickle.dumps(payload))
    hidden = pickle.dumps(payload, 0).decode("latin-1")
    with_record(folder / "in the record.safetensors", {"format": FORMAT, "task": hidden})
    done = subprocess.run(
        [sys.executable, "-c", MALICE, str(folder)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert not marker.exists()
    pickle.loads((folder / "pickle2.safetensors").read_bytes())["w"].close()
    assert marker.exists()  # the payload would have worked


def test_row_39_a_torch_file_is_called_by_its_name(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError) as caught:
        load_weights(tmp_path / "a.pt")
    assert str(caught.value) == (
        f"{tmp_path / 'a.pt'}: expected a .safetensors weights file of visiontasks, "
        "found a PyTorch or zip file, which can run code"
    )


GOOD = record().model_dump(mode="json")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "found another or damaged file"),
        (lambda path: path.write_bytes(b"\xff" * 100), "found another or damaged file"),
        (lambda path: path.write_bytes(struct.pack("<Q", 2**63) + b"{}"), "found another or damaged file"),
        (lambda path: path.write_bytes(struct.pack("<Q", 50) + b"{}"), "found another or damaged file"),
        (lambda path: header_file(path, b"{" * 100_000), "expected JSON"),
        (lambda path: header_file(path, b'{"a":' * 100_000), "expected JSON of reasonable depth"),
        (lambda path: header_file(path, b'{"\xff": 1}'), "expected UTF-8"),
        (lambda path: header_file(path, b'{"a": 1, "a": 2}'), "expected each key once, found 'a' twice"),
        (lambda path: header_file(path, {}), "found tensors without its record"),
        (lambda path: header_file(path, {"__metadata__": [1]}), "found tensors without its record"),
        (lambda path: header_file(path, {"__metadata__": {"visiontasks": 1}}), "found tensors without"),
        (lambda path: with_record(path, "{"), r"\(record\):1: expected JSON"),
        (lambda path: with_record(path, "[" * 100_000), r"\(record\): expected JSON of reasonable depth"),
        (lambda path: with_record(path, "[]"), f"expected record format {FORMAT}, found null; train it anew"),
        (
            lambda path: with_record(path, {**GOOD, "format": FORMAT + 1}),
            f"expected record format {FORMAT}, found {FORMAT + 1}; update visiontasks",
        ),
        (lambda path: with_record(path, {**GOOD, "format": "1"}), 'found "1"; train it anew'),
        (lambda path: with_record(path, {**GOOD, "classes": []}), "found in 'classes': "),
        (lambda path: with_record(path, {**GOOD, "classes": ["a", "a"]}), "found twice: a"),
        (lambda path: with_record(path, {**GOOD, "file_ids": [1]}), "expected 2 file ids"),
        (lambda path: with_record(path, {**GOOD, "options": {"t": "x"}}), "found in 'options.t': "),
        (lambda path: with_record(path, {**GOOD, "extra": 1}), "found in 'extra': "),
        (
            lambda path: with_record(path, {**GOOD, "model": {"weights": "/etc/passwd"}}),
            r'record names other weights \("/etc/passwd"\)',
        ),
    ],
)
def test_row_39_wrong_headers_are_one_line(tmp_path, make, message):
    path = tmp_path / "a.safetensors"
    make(path)
    for read in (load_weights, read_record):
        with pytest.raises(WeightsError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_folder_and_special_files(tmp_path):
    with pytest.raises(WeightsError, match=r"none: expected a weights file, found no such file"):
        load_weights(tmp_path / "none")
    with pytest.raises(WeightsError, match="expected a weights file, found a folder"):
        read_record(tmp_path)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(path, tensors(), record())
    data = path.read_bytes()
    for cut in range(0, len(data), 37):
        path.write_bytes(data[:cut])
        with pytest.raises(WeightsError, match="expected a"):
            load_weights(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "a.safetensors"
    save_weights(path, {"w": torch.ones(2, 3), "b": torch.ones(2), "n": torch.tensor(1)}, record())
    return path.read_bytes()


@settings(max_examples=300)
@given(
    edits=st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=5)), min_size=1, max_size=3)
)
def test_fuzz_only_our_own_errors_come_out(tmp_path_factory, whole, edits):
    damaged = bytearray(whole)
    for place, content in edits:
        place %= len(damaged)
        damaged[place : place + len(content)] = content
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(damaged)
    try:
        load_weights(path)
    except WeightsError as error:
        assert "\n" not in str(error)


def test_read_record_imports_no_torch(tmp_path):
    save_weights(tmp_path / "a", tensors(), record())
    program = (
        "import sys; from pathlib import Path; from visiontasks.io.weights import read_record; "
        "print(read_record(Path(sys.argv[1])).task, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a")],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=True,
    )
    assert done.stdout == "classification False\n"


def shaped(**shapes):
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


def test_receipt_of_a_perfect_fit():
    receipt = check_tensors(shaped(a=(2, 3), b=(1,)), shaped(b=(1,), a=(2, 3)), strict=True)
    assert receipt.complete
    assert receipt.matched == ("a", "b")
    assert receipt.summary() == "2 tensors matched"


def test_receipt_names_each_kind_of_misfit():
    expected = shaped(a=(2,), head=(10, 4), gone=(1,), gone_too=(1,))
    found = shaped(a=(2,), head=(5, 4), new=(1,))
    receipt = check_tensors(expected, found)
    assert not receipt.complete
    assert receipt.matched == ("a",)
    assert receipt.missing == ("gone", "gone_too")
    assert receipt.unexpected == ("new",)
    assert receipt.reshaped == {"head": ((10, 4), (5, 4))}
    line = (
        "1 tensors matched, 2 missing (gone, ...), 1 unexpected (new), "
        "1 of another shape (head: expected [10, 4], found [5, 4])"
    )
    assert receipt.summary() == line
    with pytest.raises(WeightsError) as caught:
        check_tensors(expected, found, strict=True, file="w.safetensors")
    assert str(caught.value) == f"w.safetensors: expected exactly the tensors of the network, found {line}"


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "BUNDLED", tmp_path / "bundled")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/x/weights").mkdir(parents=True)
    for name, task in (("objects200", "detection"), ("tiny200", "classification")):
        save_weights(tmp_path / "bundled" / f"{name}.safetensors", {}, record(task=task))
    return tmp_path


def test_resolve_bundled_names_paths_and_runs(places):
    assert bundled_weights() == {n: places / f"bundled/{n}.safetensors" for n in ("objects200", "tiny200")}
    assert resolve_weights("tiny200") == places / "bundled/tiny200.safetensors"
    for which in ("last", "best"):  # the best wins once it is there
        file = Path(f"runs/x/weights/{which}.safetensors")
        file.write_bytes(b"")
        assert resolve_weights("runs/x") == file
    Path("plain").write_bytes(b"")
    assert resolve_weights("plain") == Path("plain")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny20", "unknown model 'tiny20'; did you mean 'tiny200'?.*choices: .*objects200, tiny200, torch"),
        ("runs", r"^runs: expected a run's folder, found no weights/best\.safetensors in it$"),
        ("runs/y", "^expected a weights file or a run's folder, found nothing at 'runs/y'$"),
        ("x.safetensors", r"found nothing at 'x\.safetensors'$"),
    ],
)
def test_resolve_unknown_names(places, name, message):
    with pytest.raises(UsageError, match=message):
        resolve_weights(name)


def test_every_bundled_model_has_a_record():
    for name, path in bundled_weights().items():
        assert "/" not in name and "." not in name
        assert read_record(path).classes
