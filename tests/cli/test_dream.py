"""`visiontasks dream` and `stylize` on a tiny network of each task."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.contracts.drawn import QUICK, draw
from visiontasks import api
from visiontasks.cli.stylize import parse_layers
from visiontasks.errors import UsageError
from visiontasks.explain import dream as room
from visiontasks.io.images import encode, read_image
from visiontasks.tasks import TASKS


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{task: a small network that has seen drawn shapes for an epoch}."""
    found = {}
    for task in TASKS:
        root = tmp_path_factory.mktemp(task)
        path = draw(root / "shapes", task, 18)
        found[task] = api.train(path, QUICK, out=root / "run", no_check=True)
    return found


@pytest.fixture
def run(runs):
    return runs["classification"]


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Two files, (height, width) 48 x 64 and 40 x 40."""
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (48, 64)), ("b.png", (40, 40))):
        (tmp_path / name).write_bytes(encode(rng.integers(0, 256, (*size, 3), dtype=np.uint8), ".png"))
    return tmp_path / "a.png", tmp_path / "b.png"


def record_of(folder, verb):
    return json.loads((Path(folder) / f"{verb}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("task", list(TASKS))
def test_every_task_dreams_and_paints(call, runs, pictures, task):
    content, style = pictures
    weights = ("-w", runs[task], "--device", "cpu")
    code, stdout, stderr = call("dream", content, *weights, "--steps", 3, "--octaves", 2, "-o", "out")
    assert code == 0, stderr
    record = record_of("out", "dream")
    assert stdout.startswith(f"{content}  mean square of stages.1 ") and len(stdout.splitlines()) == 1
    assert record["octaves"] == [[34, 46], [48, 64]] and record["steps_taken"] == 6
    scores = record["curves"]["score"]
    assert len(scores) == 7 and scores[-1] > scores[0]
    assert read_image(Path("out/dream.png")).shape == (48, 64, 3)

    code, stdout, stderr = call("stylize", content, style, *weights, "--steps", 8, "-o", "painted")
    assert code == 0, stderr
    record = record_of("painted", "stylize")
    assert record["content_layer"] == "stages.1"
    assert record["style_layers"] == {f"stages.{level}": 1 for level in range(3)}
    curves = record["curves"]
    sums = np.sum([curves[name] for name in ("content", "style", "variation")], axis=0)
    assert curves["total"] == pytest.approx(list(sums), rel=1e-4)
    assert len(curves["total"]) == 9 and curves["total"][-1] < curves["total"][0]
    assert len(stdout.splitlines()) == 1 and "error 1.1 -> " in stdout
    assert read_image(Path("painted/stylize.png")).shape == (48, 64, 3)
    assert sorted(path.name for path in Path("painted").iterdir()) == ["stylize.json", "stylize.png"]


def test_the_same_seed_gives_the_same_bytes(call, run, pictures):
    content, style = pictures
    commands = {
        "dream": ("dream", content, "--steps", 2, "--layer", "stages.2", "--unit", 3),
        "stylize": ("stylize", content, style, "--steps", 4, "--start", "noise", "--optimizer", "adam"),
    }
    for verb, arguments in commands.items():
        written = []
        for out, seed in (("one", 1), ("one", 1), ("two", 2)):
            assert call(*arguments, "-w", run, "--device", "cpu", "--seed", seed, "-o", out)[0] == 0
            written.append([(Path(out) / f"{verb}{suffix}").read_bytes() for suffix in (".png", ".json")])
        assert written[0] == written[1] and written[0][0] != written[2][0]
        for out in ("one", "two"):
            for path in Path(out).iterdir():
                path.unlink()


def test_the_size_is_that_of_the_longer_side(call, run, pictures):
    content, style = pictures
    common = ("-w", run, "--steps", 1, "--size", 100, "--device", "cpu", "--json")
    code, stdout, stderr = call("dream", content, *common)
    assert code == 0 and json.loads(stdout)["octaves"][-1] == [75, 100]
    assert read_image(Path("runs/dream/001/dream.png")).shape == (75, 100, 3)
    code, stdout, stderr = call(
        "stylize", content, style, *common, "--style-layer", "stages.1=0.5", "--content-layer", "stages.0",
        "--style-weight", 3, "--variation", 0.1,
    )  # fmt: skip
    assert code == 0, stderr
    record = json.loads(stdout)
    assert record["size"] == [75, 100] and record["style_layers"] == {"stages.1": 0.5}
    assert record["curves"]["style"][0] == pytest.approx(3, rel=1e-4)
    assert record["curves"]["variation"][0] == pytest.approx(0.1, rel=1e-4)


def test_a_signal_saves_the_picture_so_far(call, run, pictures, monkeypatch):
    """The third step sends the signal that Ctrl-C sends; the preview of the first step is there by then."""
    content, style = pictures
    monkeypatch.setattr("visiontasks.explaining.dream.PREVIEW_SECONDS", -1.0)
    seen = []
    from visiontasks.explain import growing
    from visiontasks.explain import style as painting

    class Interrupting(growing.Moment):
        """Counts the steps."""

        __slots__ = ()

        def __init__(self, values, pixels):
            super().__init__(values, pixels)
            seen.append([path.name for path in Path("out").iterdir()])
            if len(seen) == 3:
                os.kill(os.getpid(), signal.SIGINT)

    for verb, module, inputs in (("dream", room, [content]), ("stylize", painting, [content, style])):
        seen.clear()
        monkeypatch.setattr(module, "Moment", Interrupting)
        code, _, message = call(verb, *inputs, "-w", run, "--device", "cpu", "--steps", 9, "-o", "out")
        assert (
            code == 130
            and message == f"SIGINT: {verb} stopped after 3 of {36 if verb == 'dream' else 9} steps"
        )
        assert seen[0] == [] and seen[1:] == [["preview.png"]] * 2
        assert sorted(path.name for path in Path("out").iterdir()) == [f"{verb}.json", f"{verb}.png"]
        record = record_of("out", verb)
        assert record["steps_taken"] == 3 and all(len(curve) == 4 for curve in record["curves"].values())
        image = read_image(Path("out") / f"{verb}.png")
        assert image.shape == (48, 64, 3) and not np.array_equal(image, read_image(content))
        for path in Path("out").iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dream", "a.png", "--layer", "stages.9"), "unknown layer 'stages.9'"),
        (("dream", "a.png", "--layer", "stages.1", "--unit", 8), "0 to 7, found 8"),
        (("dream", "none.png"), "none.png"),
        (("stylize", "a.png", "b.png", "--content-layer", "stages.9"), "unknown layer 'stages.9'"),
        (("stylize", "a.png", "b.png", "--seed", 1), "expected --seed beside --start noise, found it alone"),
        (("stylize", "a.png", "b.png", "--style-layer", "stages.1=x"), "found 'stages.1=x'"),
        (("stylize", "a.png", "b.png", "--style-layer", "stages.1=0"), "a style layer with one above 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, run, pictures, arguments, message):
    code, stdout, found = call(*arguments, "-w", run, "--device", "cpu", "--steps", 1)
    assert code in (2, 3) and message in found and stdout == ""


def test_a_picture_that_is_too_small_is_refused(call, run, pictures):
    code, _, message = call("dream", pictures[0], "-w", run, "--device", "cpu", "--size", 6)
    assert code == 3 and "at least 8x8 pixels" in message


def test_memory_that_runs_out_is_one_line(call, run, pictures, monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("visiontasks.explain.style.gram_matrix", refuse)
    code, _, message = call("stylize", *pictures, "-w", run, "--device", "cpu")
    assert code == 4 and message == "memory ran out; take a smaller --size"


def test_layers_with_weights():
    assert parse_layers(("layer1", "layer2=0.5")) == {"layer1": 1.0, "layer2": 0.5}
    with pytest.raises(UsageError, match="'layer1' twice"):
        parse_layers(("layer1", "layer1=2"))


def test_the_input_is_never_in_the_folder_of_the_results(call, run, pictures, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "dream.png").symlink_to(pictures[0])
    code, _, stderr = call("dream", tmp_path / "links" / "dream.png", "-w", run, "-o", tmp_path / "links")
    assert code == 2 and "holds an input" in stderr
    for arguments in (("dream", pictures[0]), ("stylize", *pictures)):
        code, _, stderr = call(*arguments, "-w", run, "-o", pictures[0].parent)
        assert code == 2 and "holds an input" in stderr
