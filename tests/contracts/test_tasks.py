"""Every task, through the same door: a new entry of TASKS is tested by existing."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.contracts.drawn import QUICK, draw
from visiontasks import api
from visiontasks.cli import visiontasks
from visiontasks.config_files import describe_keys, section_model
from visiontasks.engine.device import choose_device
from visiontasks.engine.model_files import OpenModel, setting_of
from visiontasks.errors import UsageError
from visiontasks.explain.features import receptive_field
from visiontasks.explain.maximise import Priors
from visiontasks.explain.picture import Method
from visiontasks.io.images import read_image
from visiontasks.ledger import Ledger
from visiontasks.model import Model
from visiontasks.tasks import TASKS, load_task
from visiontasks.types import Aim, Batch, Sample


@pytest.fixture(scope="module", params=list(TASKS))
def drawn(request, tmp_path_factory):
    """(task, its config for drawn shapes, the config's file)."""
    path = draw(tmp_path_factory.mktemp(request.param) / "shapes", request.param, 18)
    task, config = api.load_config(path, QUICK)
    return task, config, path


@pytest.mark.parametrize("task", TASKS)
def test_every_key_of_a_config_has_a_meaning(task):
    keys = list(describe_keys(load_task(task).config))
    assert len(keys) > 50
    assert [key for key, _, meaning in keys if not meaning] == []


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory):
    """A run of one epoch."""
    _, _, path = drawn
    return api.train(path, QUICK, out=tmp_path_factory.mktemp("runs") / "run")


def network_and_batch(task, config, *, augment=None, split="val"):
    source = task.open_source(config.data, split, Ledger(), None)
    transform = task.build_transform(config.input, augment, source.classes, None)
    examples = [
        transform(source[i], np.random.default_rng(i), lambda j: source[j % len(source)])
        for i in range(min(4, len(source)))
    ]
    torch.manual_seed(0)
    network = task.build_model(config.model, source.classes, config.loss, source)
    setting = setting_of(task, config.input, choose_device("cpu", "fp32"), task.evaluate_options)
    batch = setting.device.load(task.collate(examples), setting.mean, setting.std)
    return source, examples, network, batch, setting


def test_the_task_says_what_it_is(drawn):
    task, config, _ = drawn
    assert load_task(task.name) is load_task(task.verb) is task
    assert config.task == task.name and section_model(task.config, "data") is type(config.data)
    assert set(task.evaluate_options) <= set(task.decode_options)


def test_a_training_step_has_a_loss_and_gradients(drawn):
    task, config, _ = drawn
    _, _, network, batch, _ = network_and_batch(task, config, augment=config.augment, split="train")
    network.train()
    losses = network.loss(network(batch), batch)
    assert losses and all(value.ndim == 0 and torch.isfinite(value) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert any(parameter.grad is not None for parameter in network.parameters())


def test_evaluation_leaves_the_random_state_alone_and_has_a_loss(drawn):
    task, config, _ = drawn
    _, _, network, batch, setting = network_and_batch(task, config)
    network.eval()
    before = torch.get_rng_state()
    with torch.inference_mode():
        raw = network(batch)
        losses = network.loss(raw, batch)
        predictions = network.decode(raw, batch.infos, setting.options)
    assert torch.equal(before, torch.get_rng_state())
    assert len(predictions) == len(batch.infos) and all(torch.isfinite(v) for v in losses.values())
    network.train()  # whatever was kept in inference mode must not be in the way of gradients
    torch.stack(list(network.loss(network(batch), batch).values())).sum().backward()


def test_a_batch_without_targets_predicts_the_same(drawn, tmp_path):
    task, config, _ = drawn
    source, examples, network, batch, setting = network_and_batch(task, config)
    transform = task.build_transform(config.input, None, source.classes, None)
    bare = [
        transform(Sample(source[i].image, None, i), np.random.default_rng(0), None)
        for i in range(len(examples))
    ]
    assert all(example.target is None and example.truth is None for example in bare)
    unlabelled = setting.device.load(task.collate(bare), setting.mean, setting.std)
    network.eval()
    with torch.inference_mode():
        first, second = (
            [
                task.record(prediction, source.classes, tmp_path, str(n))
                for n, prediction in enumerate(network.decode(network(b), b.infos, setting.options))
            ]
            for b in (batch, unlabelled)
        )
    assert first == second


def test_everything_that_workers_are_sent_can_be_pickled(drawn):
    task, config, _ = drawn
    source, examples, _, _, _ = network_and_batch(task, config, augment=config.augment, split="train")
    transform = task.build_transform(config.input, config.augment, source.classes, None)
    for thing in (source, transform, task.collate, examples[0], examples[0].info, source[0]):
        pickle.loads(pickle.dumps(thing))
    batch = task.collate(examples)
    part = batch.part(slice(1, 3))
    assert len(part.infos) == len(part.images) == 2 and len(part.targets) == 2


def test_an_evaluator_counts_every_picture_once_whatever_the_sharding(drawn):
    task, config, _ = drawn
    source, examples, network, batch, setting = network_and_batch(task, config)
    network.eval()
    with torch.inference_mode():
        predictions = network.decode(network(batch), batch.infos, setting.options)
    truths = [example.truth for example in examples]

    def measured(*groups):
        parts = []
        for group in groups:
            parts.append(task.build_evaluator(source.classes))
            for i in group:
                parts[-1].update([predictions[i]], [truths[i]], [batch.infos[i]])
        for other in parts[1:]:
            parts[0].merge(pickle.loads(pickle.dumps(other)))
        return parts[0]

    whole, halves = measured(range(4)), measured([0, 2], [1, 3])
    assert whole.compute().keys() == halves.compute().keys()
    for name, value in whole.compute().items():
        assert value == halves.compute()[name] or np.isnan(value), name
    assert json.dumps(whole.tables()) == json.dumps(halves.tables())
    assert task.headline in whole.compute() and whole.protocol
    assert task.plots(whole.tables())
    with pytest.raises(Exception, match=str(batch.infos[0].image_id)):
        whole.update(predictions[:1], truths[:1], batch.infos[:1])


def test_a_model_predicts_draws_and_writes_every_format(drawn, run, tmp_path, monkeypatch):
    task, config, _ = drawn
    monkeypatch.chdir(tmp_path)
    model = api.load(run)
    source = task.open_source(config.data, "test", Ledger(), None)
    image = source[0].image
    prediction = model(image)
    assert task.describe(prediction, model.classes)
    assert task.draw(image, prediction, model.classes).dtype == np.uint8
    assert task.draw(image, source[0].target, model.classes).dtype == np.uint8
    for size in ((1, 1), (1, 300), (700, 500)):
        picture = np.full((*size, 3), 128, np.uint8)
        assert task.draw(picture, model(picture), model.classes).dtype == np.uint8
    for name, output in task.outputs.items():
        folder = tmp_path / name
        folder.mkdir()
        writer = output(folder, model.classes)
        writer.add("a picture.jpg", image.shape[:2], prediction)
        written = writer.close()
        assert written and all(path.is_file() for path in written)
    record = task.record(prediction, model.classes, tmp_path, "a picture.jpg")
    assert json.loads(json.dumps(record)) == record


def test_a_prediction_does_not_depend_on_its_neighbours(drawn, run, tmp_path):
    task, _, _ = drawn
    model = api.load(run, precision="fp32")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((48, 64), (64, 48), (30, 90), (48, 64))]

    def records(batch_size):
        found = model.stream(images, batch_size=batch_size)
        return [task.record(one.prediction, model.classes, tmp_path, "x.png") for one in found]

    alone, together = records(1), records(4)
    assert [_rounded(record) for record in alone] == [_rounded(record) for record in together]


def _rounded(value):
    """Numbers to four digits: sums over larger batches are added in another order."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def test_a_target_is_settled_once_and_its_score_has_a_gradient(drawn):
    task, config, _ = drawn
    source, _, network, batch, _ = network_and_batch(task, config)
    network.eval()
    options = {**task.decode_options, **task.evaluate_options, "confidence": 0.0}
    batch = Batch(batch.images[:1].clone().requires_grad_(), batch.infos[:1], proposals=batch.proposals)
    raw = network(batch)
    aim = task.targets().settle_aim(network, raw, batch.infos, Aim(), options, source.classes)
    assert aim.class_index in range(len(source.classes))
    assert task.targets().settle_aim(
        network, raw, batch.infos, replace(aim, where=None), options, source.classes
    )
    score = task.targets().target_score(network, raw, batch.infos, aim)
    assert score.shape == (1,) and score.dtype == torch.float32
    (gradient,) = torch.autograd.grad(score.sum(), batch.images)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0
    pair = Batch(batch.images.detach().repeat(2, 1, 1, 1), [*batch.infos] * 2)
    pair.images[1] = 0
    with torch.no_grad():
        both = task.targets().target_score(network, network(pair), pair.infos, aim)
    assert both[0] == pytest.approx(score.item(), abs=1e-4) and both[0] != both[1]


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "saliency", "integrated-gradients", "occlusion"])
def test_a_prediction_is_explained_in_original_pixels(drawn, method):
    task, config, _ = drawn
    source, _, network, _, setting = network_and_batch(task, config)
    network.eval()
    options = {**setting.options, "confidence": 0.0} if "confidence" in setting.options else setting.options
    setting = replace(setting, options=options)
    model = Model("tiny", OpenModel(task, network, source.classes, config.input, setting, None))
    image = np.ascontiguousarray(source[0].image[:, :50])
    found = model.explain(image, method=Method(method, steps=4, patch=24))
    assert found.values.shape == image.shape[:2] and found.values.dtype == np.float32
    assert np.isfinite(found.values).all() and np.abs(found.values).max() > 0
    drawing = found.draw()
    assert drawing.shape[1] % 50 == 0 and drawing.dtype == np.uint8
    assert found.target.partition(" #")[0] in source.classes.names


def test_a_picture_is_grown_for_any_class(run):
    model = api.load(run, precision="fp32")
    found = api.maximise(model, target=model.classes.names[-1], priors=Priors(steps=12))
    assert found.image.shape[:2] == tuple(model.opened.input.size)
    assert found.score > found.scores[0]


def test_one_tile_that_shows_everything_predicts_the_same(drawn, run, tmp_path):
    task, config, _ = drawn
    if task.stitcher is None:
        pytest.skip("no tiles")
    model = api.load(run, precision="fp32")
    image = task.open_source(config.data, "test", Ledger(), None)[0].image
    (tiled,) = model.stream([image], tile=max(image.shape))
    records = [task.record(p, model.classes, tmp_path, "x.png") for p in (model(image), tiled.prediction)]
    assert records[0] == records[1]


def test_the_verb_works_on_a_folder_and_evaluate_on_the_run(drawn, run, tmp_path, monkeypatch):
    task, _, path = drawn
    monkeypatch.chdir(tmp_path)
    pictures = sorted(p for p in path.parent.rglob("*") if "test" in p.parts and p.suffix in (".jpg", ".png"))
    pictures = [str(p) for p in pictures if "masks" not in p.parts][:3]
    arguments = [task.verb, *pictures, "-w", str(run), "-o", "out", "--json"]
    result = CliRunner().invoke(visiontasks, arguments)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content == json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [image["file"] for image in content["images"]] == pictures
    for picture in pictures:
        drawn_picture = read_image(tmp_path / "out" / picture.rsplit("/", 1)[1])
        assert drawn_picture.shape[2] == 3
    result = CliRunner().invoke(visiontasks, ["evaluate", str(run), "--json", "-o", "measured"])
    assert result.exit_code == 0, result.output
    numbers = json.loads(result.stdout)
    assert task.headline in numbers and (tmp_path / "measured" / "metrics.json").exists()


def test_its_layers_are_listed_and_what_each_sees(run):
    result = CliRunner().invoke(visiontasks, ["inspect", str(run), "--json"])
    assert result.exit_code == 0, result.output
    network = api.load(run, device="cpu").opened.network
    table = json.loads(result.stdout)
    assert table["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    row = receptive_field(network, "backbone", (64, 64))
    assert row.receptive_field is None or min(row.receptive_field) > 1


def test_a_model_of_another_task_is_refused_by_name(drawn, run):
    task, _, _ = drawn
    for other in TASKS:
        wanted = load_task(other)
        if other != task.name and not (wanted.convert and task.name == "classification"):
            with pytest.raises(UsageError, match=f"visiontasks {task.verb}|{task.verb}"):
                api.load(run, task=other)
