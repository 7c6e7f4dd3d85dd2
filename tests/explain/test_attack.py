"""Attacks on networks small enough to be worked out by hand, against the papers' formulas."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visiontasks.cli.attack import EPSILONS, parse_epsilons
from visiontasks.cli.attack import METHODS as TYPED
from visiontasks.engine.device import choose_device
from visiontasks.errors import RunError, UsageError
from visiontasks.explain.attack import (
    METHODS,
    Attack,
    attack_batch,
    fgsm,
    gradient,
    normalised,
    pgd,
    pixel_loss,
)
from visiontasks.explain.attacked_pictures import amplified_difference, gain_of
from visiontasks.explain.robustness import choose_pictures, measure_robustness, write_robustness
from visiontasks.types import Batch, ImageInfo

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SIZE = (5, 6)


class Tiny(nn.Module):
    """A classifier of three classes; linear, or with a smooth curve in it."""

    def __init__(self, *, linear):
        super().__init__()
        self.first = nn.Linear(3 * SIZE[0] * SIZE[1], 4)
        self.last = nn.Linear(4, 3)
        self.linear = linear

    def forward(self, batch):
        hidden = self.first(batch.images.flatten(1))
        return self.last(hidden if self.linear else torch.tanh(hidden))

    def loss(self, raw, batch):
        margin = (raw * (1 - 2 * batch.targets)).sum(1).mean()  # linear in the logits
        return {"margin": margin} if self.linear else {"entropy": F.cross_entropy(raw, batch.targets)}


def batch_of(count=2, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, *size), dtype=np.uint8))
    images[0, :, 0, 0], images[0, :, 0, 1] = 0, 255  # values that cannot move in one direction
    infos = [ImageInfo(f"picture {i}", *size, *size) for i in range(count)]
    return Batch(images, infos, F.one_hot(torch.arange(count) % 3, 3).float())


@pytest.fixture(params=[True, False], ids=["linear", "curved"])
def tiny(request):
    torch.manual_seed(1)
    return Tiny(linear=request.param).eval()


def padded_batch():
    """A picture that fills a part of its tensor, and one that was cropped."""
    batch = batch_of()
    infos = [ImageInfo("padded", 9, 9, 3, 4, pad_left=1, pad_top=2), ImageInfo("cut", 9, 9, 9, 9, -2, -1)]
    return Batch(batch.images, infos, batch.targets)


def test_pixels_are_normalised_as_the_device_does():
    batch = padded_batch()
    expected = choose_device("cpu", "fp32").load(batch, MEAN, STD).images
    pixels = batch.images.float().requires_grad_()
    found = normalised(pixels, batch.infos, MEAN, STD)
    assert torch.equal(found, expected)
    found.sum().backward()
    is_picture = torch.zeros(SIZE, dtype=torch.bool)
    is_picture[2:5, 1:5] = True
    assert torch.equal(pixels.grad[0] != 0, is_picture.expand(3, -1, -1)) and (pixels.grad[1] != 0).all()


def test_the_gradient_is_that_of_finite_differences(tiny):
    tiny, batch = tiny.double(), padded_batch()
    batch = Batch(batch.images, batch.infos, batch.targets.double())
    pixels = batch.images.double()
    loss = pixel_loss(tiny, batch, MEAN, STD)
    found, h = gradient(loss, pixels), 1e-3
    for place in [(0, 0, 3, 2), (0, 2, 4, 4), (0, 1, 0, 0), (1, 0, 0, 0), (1, 2, 4, 5)]:
        step = torch.zeros_like(pixels)
        step[place] = h
        with torch.no_grad():
            expected = (loss(pixels + step) - loss(pixels - step)) / (2 * h)
        assert found[place] == pytest.approx(expected.item(), rel=1e-4, abs=1e-12)
    assert found[0, 1, 0, 0] == 0  # padding


def test_fgsm_is_the_formula(tiny):
    batch = batch_of()
    pixels = batch.images.float().requires_grad_()
    scale, shift = torch.tensor(STD).view(3, 1, 1) * 255, torch.tensor(MEAN).view(3, 1, 1) * 255
    seen = Batch((pixels - shift) / scale, batch.infos, batch.targets)
    sum(tiny.loss(tiny(seen), seen).values()).backward()
    attack = Attack(epsilons=(0, 1, 7, 255))
    for epsilon, found in zip(attack.epsilons, attack_batch(tiny, batch, MEAN, STD, attack), strict=True):
        expected = (pixels.detach() + epsilon * pixels.grad.sign()).clamp(0, 255)
        assert found.images.dtype == torch.uint8
        assert torch.equal(found.images.float(), expected)
        assert found.infos is batch.infos


def test_pgd_is_the_steps_of_the_paper(tiny):
    batch = batch_of()
    pixels, loss = batch.images.float(), pixel_loss(tiny, batch, MEAN, STD)
    (found,) = pgd(pixels, loss, Attack("pgd", (4,), steps=3, seed=5), batch.infos)
    (expected,) = pgd(pixels, loss, Attack("pgd", (4,), steps=1, seed=5), batch.infos)
    for _ in range(2):
        slope = gradient(loss, expected).numpy()
        moved = expected.numpy() + np.sign(slope)  # epsilon / 4
        moved = np.clip(moved, pixels.numpy() - 4, pixels.numpy() + 4)
        expected = torch.from_numpy(np.clip(moved, 0, 255))
    assert torch.equal(found, expected)


def test_pgd_starts_at_random_by_seed_and_picture():
    batch = batch_of(3)
    pixels, still = batch.images.float() * 0 + 128, lambda p: 0 * p.sum()  # a gradient of 0 moves nothing
    (start,) = pgd(pixels, still, Attack("pgd", (8,)), batch.infos)
    offsets = start - pixels
    assert offsets.abs().max() <= 8 and offsets.abs().mean() == pytest.approx(4, abs=0.5)
    assert not torch.equal(offsets[0], offsets[1])
    (alone,) = pgd(pixels[1:2], still, Attack("pgd", (8,)), batch.infos[1:2])
    assert torch.equal(alone[0], start[1])
    (other,) = pgd(pixels, still, Attack("pgd", (8,), seed=1), batch.infos)
    assert not torch.equal(other, start)


@pytest.mark.parametrize("method", METHODS)
def test_pictures_stay_in_range_and_near(tiny, method):
    batch, attack = batch_of(), Attack(method, (0, 1, 3, 200))
    for epsilon, found in zip(attack.epsilons, attack_batch(tiny, batch, MEAN, STD, attack), strict=True):
        change = found.images.int() - batch.images.int()
        assert change.abs().max() == epsilon
        assert epsilon or torch.equal(found.images, batch.images)
        assert found.images.stride() == batch.images.stride()


@pytest.mark.parametrize("method", METHODS)
def test_a_larger_epsilon_raises_the_loss_of_a_linear_network(method):
    tiny, batch = Tiny(linear=True).eval(), batch_of()
    loss = pixel_loss(tiny, batch, MEAN, STD)
    attack = Attack(method, (0, 1, 2, 4, 8, 16, 64, 255))
    changed = list(attack_batch(tiny, batch, MEAN, STD, attack))
    with torch.no_grad():
        values = [float(loss(one.images.float())) for one in changed]
    assert values == sorted(values) and values[-1] > values[0] + 0.1
    slope = gradient(loss, batch.images.float())
    if (
        method == "fgsm"
    ):  # Goodfellow et al. 2015, section 4: the change is epsilon * |w| where nothing is cut
        inside = Batch(batch.images // 2 + 64, batch.infos, batch.targets)
        (moved,) = attack_batch(tiny, inside, MEAN, STD, Attack(epsilons=(8,)))
        with torch.no_grad():
            gained = loss(moved.images.float()) - loss(inside.images.float())
        assert float(gained) == pytest.approx(8 * float(slope.abs().sum()), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_network_is_left_as_it_was(tiny, method):
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    batch = batch_of()
    images = batch.images.clone()
    list(attack_batch(tiny, batch, MEAN, STD, Attack(method)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.state_dict().items())
    assert all(parameter.grad is None for parameter in tiny.parameters())
    assert torch.equal(batch.images, images)


def test_a_gradient_that_is_not_finite_is_refused(tiny):
    with torch.no_grad():
        tiny.first.weight[0, 0] = float("nan")
    with pytest.raises(RunError, match="expected a finite gradient of the loss, found nan or inf"):
        list(attack_batch(tiny, batch_of(), MEAN, STD, Attack()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "fgms"}, r"'fgms'.*fgsm"),
        ({"epsilons": (4, 2)}, "ascending and each once, .*; found 4, 2"),
        ({"epsilons": (2, 2)}, "found 2, 2"),
        ({"epsilons": (0, 256)}, "expected epsilons from 0 to 255 .*found 0, 256"),
        ({"epsilons": ()}, "found none"),
        ({"steps": 0}, "at least 1 step, found 0"),
    ],
)
def test_values_that_there_are_not_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        Attack(**given)


def test_what_is_typed_is_what_there_is():
    assert set(TYPED) == set(METHODS) and parse_epsilons(EPSILONS) == Attack().epsilons
    assert parse_epsilons("8, 0,2,8") == (0, 2, 8)
    for wrong in ("", "1,", "0.5", "-1", "256", "a"):
        with pytest.raises(UsageError, match=rf"whole numbers from 0 to 255.* found '{wrong}'"):
            parse_epsilons(wrong)


def test_the_difference_is_amplified_about_grey():
    clean = np.full((2, 2, 3), 100, np.uint8)
    changed = clean.copy()
    changed[0, 0], changed[1, 1] = 108, 92
    assert gain_of(8) == 15 and gain_of(0) == 127 and gain_of(255) == 1
    found = amplified_difference(clean, changed, 15)
    assert found[0, 0, 0] == 128 + 120 and found[1, 1, 0] == 128 - 120 and (found[0, 1] == 128).all()


def test_pictures_are_chosen_by_the_seed():
    assert list(choose_pictures(5, None, 0)) == list(choose_pictures(5, 9, 0)) == [0, 1, 2, 3, 4]
    first, second = choose_pictures(100, 10, 0), choose_pictures(100, 10, 1)
    assert len(set(first)) == 10 and list(first) == sorted(first) != second
    assert first == choose_pictures(100, 10, 0) and max(first) > 20


class CountRight:
    """An evaluator that counts."""

    protocol = "counting"

    def __init__(self):
        self.seen, self.right = [], 0

    def update(self, predictions, truths, infos):
        self.seen += [info.image_id for info in infos]
        self.right += sum(p == t for p, t in zip(predictions, truths, strict=True))

    def compute(self):
        return {"right": self.right / len(self.seen), "right/cat": float("nan")}


@pytest.fixture
def measured():
    """(robustness, network, 60 pictures that the network names right, their classes)."""

    def predict(batch):
        images = normalised(batch.images.float(), batch.infos, MEAN, STD)
        return tiny(Batch(images, batch.infos)).argmax(1).tolist()

    torch.manual_seed(0)
    tiny = Tiny(linear=False).eval()
    whole = batch_of(60)
    truths = predict(whole)
    whole = Batch(whole.images, whole.infos, F.one_hot(torch.tensor(truths), 3).float())
    pulled = []

    def batches():
        for start in range(0, 60, 7):
            part = slice(start, start + 7)
            pulled.append(start)
            yield whole.part(part), truths[part]

    attack, counters = Attack(epsilons=(0, 1, 4, 32)), [CountRight() for _ in range(4)]
    found = measure_robustness(tiny, batches(), counters, predict, MEAN, STD, attack, "right")
    assert all(counter.seen == [info.image_id for info in whole.infos] for counter in counters)
    assert pulled == list(range(0, 60, 7))
    return found, tiny, whole, truths


def test_a_curve_counts_what_each_picture_alone_becomes(measured):
    found, tiny, whole, truths = measured
    assert (found.images, found.headline, found.protocol) == (60, "right", "counting")
    first, last = tiny.first.weight.detach().double(), tiny.last.weight.detach().double()
    std, mean = (torch.tensor(v).double().view(3, 1, 1) for v in (STD, MEAN))
    for epsilon, numbers in found.numbers.items():
        right = 0
        for image, truth in zip(whole.images.double(), truths, strict=True):
            x = ((image / 255 - mean) / std).flatten()
            hidden = torch.tanh(first @ x + tiny.first.bias.detach().double())
            slope = torch.softmax(last @ hidden + tiny.last.bias.detach().double(), 0)
            slope[truth] -= 1  # of the cross-entropy by the logits
            slope = ((last.T @ slope) * (1 - hidden**2)) @ first  # the chain rule, by hand
            attacked = (image + epsilon * slope.view_as(image).sign()).clamp(0, 255)
            x = ((attacked / 255 - mean) / std).flatten()
            hidden = torch.tanh(first @ x + tiny.first.bias.detach().double())
            right += int((last @ hidden + tiny.last.bias.detach().double()).argmax()) == truth
        assert numbers["right"] == pytest.approx(right / 60)
    values = [numbers["right"] for numbers in found.numbers.values()]
    assert values[0] == 1 and values == sorted(values, reverse=True) and values[-1] < 0.2


def test_a_curve_is_written_as_a_table_a_figure_and_json(measured, tmp_path):
    found = measured[0]
    write_robustness(tmp_path, found, {"model": "a model"})
    lines = (tmp_path / "robustness.csv").read_text().splitlines()
    assert lines[0] == "epsilon,right" and lines[1] == "0,1.0" and len(lines) == 5
    content = json.loads((tmp_path / "attack.json").read_text())
    assert content["robustness"][0] == {"epsilon": 0, "right": 1.0, "right/cat": None}
    assert (content["method"], content["headline"], "steps" in content) == ("fgsm", "right", False)
    assert (tmp_path / "robustness.png").read_bytes().startswith(b"\x89PNG")


def test_fgsm_takes_one_gradient_for_all_strengths():
    calls = []

    def loss(pixels):
        calls.append(pixels)
        return pixels.sum()

    pixels = torch.full((1, 3, 2, 2), 100.0)
    found = list(fgsm(pixels, loss, Attack(epsilons=(0, 1, 2, 4)), [ImageInfo("a", 2, 2, 2, 2)]))
    assert len(calls) == 1 and [float(one[0, 0, 0, 0]) for one in found] == [100, 101, 102, 104]
