"""`import visiontasks as vt`: what the README shows."""

import shutil

import numpy as np
import pytest
from PIL import Image

import visiontasks as vt
from visiontasks.data.shapes import draw_shapes
from visiontasks.errors import ImageError, UsageError

SETTINGS = {
    "model.options": {"stem": 4, "widths": [4]},
    "train.epochs": 1,
    "train.batch_size": 8,
    "train.workers": 0,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("api")
    draw_shapes(root / "shapes", "classification", 24, 0, size=(32, 32))
    return vt.train(root / "shapes" / "classification.yaml", SETTINGS, out=root / "run")


def test_a_path_an_array_and_a_pillow_picture_give_the_same(run, tmp_path):
    model = vt.load(run, precision="fp32")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    results = [model(item).probabilities for item in (path, str(path), pixels, Image.fromarray(pixels))]
    assert all(np.array_equal(results[0], other) for other in results[1:])
    assert isinstance(model(path), vt.Classification)
    assert results[0].sum() == pytest.approx(1, abs=1e-5)


def test_a_pillow_picture_is_turned_upright_as_its_file_is(run, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    picture, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture.save(tmp_path / "turned.png", exif=exif)
    model = vt.load(run, precision="fp32")
    with Image.open(tmp_path / "turned.png") as opened:
        assert np.array_equal(model(opened).probabilities, model(tmp_path / "turned.png").probabilities)
    assert not np.array_equal(model(picture).probabilities, model(tmp_path / "turned.png").probabilities)


def test_predict_streams_in_order_whatever_the_batch_size(run):
    model = vt.load(run, precision="fp32")
    folder = run.parent / "shapes" / "test"
    one, many = list(model.predict(folder, batch_size=1)), list(model.predict([folder], batch_size=64))
    assert [path for path, _ in one] == [path for path, _ in many] == sorted(folder.rglob("*.png"))
    assert all(
        np.allclose(a.probabilities, b.probabilities, atol=1e-5)
        for (_, a), (_, b) in zip(one, many, strict=True)
    )


def test_a_run_goes_on_with_the_settings_that_it_began_with(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    config = run.parent / "shapes" / "classification.yaml"
    vt.train(config, {**SETTINGS, "train.epochs": 2}, out=copy, resume=True)
    assert len((copy / "metrics.jsonl").read_text().splitlines()) == 2
    with pytest.raises(UsageError, match=r"expected a run to resume at .*nowhere, found none"):
        vt.train(out=tmp_path / "nowhere", resume=True)


def test_evaluate_gives_numbers(run):
    numbers = vt.evaluate(run, split="test")
    assert 0 <= numbers["top1"] <= 1
    assert numbers == vt.evaluate(vt.load(run), split="test", batch_size=3, workers=0) | {
        "loss": numbers["loss"]
    }


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), 7]
)
def test_what_is_no_picture_is_refused(run, wrong):
    with pytest.raises(ImageError, match=r"an \(H, W, 3\) uint8 RGB array, found"):
        vt.load(run)(wrong)


def test_options_of_the_operating_point(run):
    sharp, flat = (vt.load(run, options={"temperature": t}) for t in (0.1, 100.0))
    picture = next((run.parent / "shapes" / "test" / "star").iterdir())
    assert sharp(picture).score > flat(picture).score
    assert flat(picture).score == pytest.approx(1 / 6, abs=0.02)
    with pytest.raises(UsageError, match=r"expected an option of classification .temperature., found 'conf'"):
        vt.load(run, options={"conf": 0.5})


def test_names_that_do_not_exist_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        vt.lode  # noqa: B018
    assert "load" in dir(vt)
