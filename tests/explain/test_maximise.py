"""Activation maximisation on networks small enough to know the answer."""

import numpy as np
import pytest
import torch
from torch import nn

from visiontasks.errors import RunError, UsageError
from visiontasks.explain.maximise import Priors, maximise, unit_objective, variation_gradient
from visiontasks.types import Batch, ImageInfo

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
SIZE = (24, 20)
QUICK = Priors(steps=40, rate=0.05, jitter=2)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, padding=2), nn.Tanh(), nn.Conv2d(6, 4, 3), nn.Flatten(2))

    def forward(self, batch):
        return self.body(batch.images)


def score(network, layer, unit, image):
    """Of a picture as it is saved, by way of the whole network."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    images = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    height, width = image.shape[:2]
    seen = {}
    hook = network.get_submodule(layer).register_forward_hook(lambda m, a, output: seen.update(it=output))
    with torch.no_grad():
        network(Batch(images, [ImageInfo(0, height, width, height, width)]))
    hook.remove()
    return float(seen["it"][0, unit].mean())


def natural(seed):
    """A picture with large and small structures: noise of several sizes."""
    rng = np.random.default_rng(seed)
    layers = [
        np.kron(rng.uniform(-1, 1, (-(-SIZE[0] // n), -(-SIZE[1] // n), 3)), np.ones((n, n, 1)))
        for n in (1, 2, 4, 8)
    ]
    total = sum(layer[: SIZE[0], : SIZE[1]] for layer in layers)
    return np.clip(127.5 + 60 * total, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("unit", range(4))
def test_above_any_real_picture(unit):
    network = Network().eval()
    found = maximise(unit_objective(network, "body.2", unit), SIZE, mean=MEAN, std=STD, priors=QUICK)
    others = [score(network, "body.2", unit, natural(seed)) for seed in range(50)]
    assert found.image.shape == (*SIZE, 3) and found.image.dtype == np.uint8
    assert found.score == pytest.approx(score(network, "body.2", unit, found.image), abs=1e-5)
    assert found.score > max(others) and len(found.scores) == QUICK.steps


def test_the_seed_decides():
    objective = unit_objective(Network().eval(), "body.2", 1)
    first, again, other = (
        maximise(objective, SIZE, mean=MEAN, std=STD, seed=seed, priors=QUICK) for seed in (3, 3, 4)
    )
    assert np.array_equal(first.image, again.image) and first.scores == again.scores
    assert not np.array_equal(first.image, other.image)


def test_one_step_without_priors_is_the_formula():
    """x + rate * g / rms(g) from the noise, clipped."""
    network, priors = Network().eval(), Priors(steps=1, rate=0.1, jitter=0, blur=0, variation=0)
    found = maximise(unit_objective(network, "body.0", 2), SIZE, mean=MEAN, std=STD, priors=priors)
    noise = torch.randn((1, 3, *SIZE), generator=torch.Generator().manual_seed(0))
    pixels = (0.5 + 0.05 * noise).clamp(0, 1).requires_grad_()
    images = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    network.body[0](images)[0, 2].mean().backward()
    moved = pixels.detach() + 0.1 * pixels.grad / pixels.grad.square().mean().sqrt()
    expected = (255 * moved.clamp(0, 1)[0]).round().byte().permute(1, 2, 0).numpy()
    assert np.abs(found.image.astype(int) - expected).max() <= 1


def test_the_gradient_of_the_total_variation():
    pixels = torch.rand(1, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    total = sum(pixels.diff(dim=axis).square().sum() for axis in (2, 3)) / 2
    (expected,) = torch.autograd.grad(total, pixels)
    torch.testing.assert_close(variation_gradient(pixels.detach()), expected)


def test_total_variation_makes_pictures_smoother():
    objective = unit_objective(Network().eval(), "body.0", 0)
    rough, smooth = (
        maximise(objective, SIZE, mean=MEAN, std=STD, priors=Priors(40, 0.05, 0, 0, weight)).image.astype(int)
        for weight in (0.0, 2.0)
    )
    assert np.abs(np.diff(smooth, axis=1)).mean() < np.abs(np.diff(rough, axis=1)).mean()


def test_what_cannot_be_maximised_is_refused():
    network = Network().eval()
    with pytest.raises(UsageError, match="a unit of the layer, 0 to 3, found 4"):
        maximise(unit_objective(network, "body.2", 4), SIZE, mean=MEAN, std=STD)
    with pytest.raises(UsageError, match=r"unknown layer 'body.9'"):
        maximise(unit_objective(network, "body.9", 0), SIZE, mean=MEAN, std=STD)
    with pytest.raises(RunError, match="gradient of 0"):
        maximise(lambda images: (0 * images).sum(), SIZE, mean=MEAN, std=STD)
    with pytest.raises(RunError, match="expected a finite score, found nan"):
        maximise(lambda images: (images * float("nan")).sum(), SIZE, mean=MEAN, std=STD)
