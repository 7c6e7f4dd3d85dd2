"""The losses against torch, segmentation-models-pytorch, finite differences, and where they must vanish."""

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F

from visiontasks.ops import losses

K = 4
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)


def focal_gamma_2(log_probabilities, targets):
    return losses.focal(log_probabilities, targets, gamma=2)


LOSSES = {
    "cross_entropy": losses.cross_entropy,
    "cross_entropy, weights": lambda p, t: losses.cross_entropy(p, t, WEIGHTS.to(p.dtype)),
    "focal": focal_gamma_2,
    "focal, weights, gamma 0.5": lambda p, t: losses.focal(p, t, WEIGHTS.to(p.dtype), gamma=0.5),
    "dice": losses.dice,
    "lovasz": losses.lovasz_softmax,
}
every = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def draw(ignored=0.3, size=(2, 5, 6), seed=0, dtype=torch.float64):
    """logits (B, K, H, W) and targets (B, H, W), in which each class occurs."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(size[0], K, *size[1:], generator=rng, dtype=torch.float64).to(dtype)
    targets = torch.randint(0, K, size, generator=rng)
    targets[torch.rand(size, generator=rng) < ignored] = losses.IGNORE
    targets.view(-1)[:K] = torch.arange(K)
    return logits.requires_grad_(), targets


def of_logits(loss, logits, targets):
    return loss(torch.log_softmax(logits, 1), targets)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_cross_entropy_and_focal_of_gamma_0_equal_torch(weights):
    logits, targets = draw()
    expected = F.cross_entropy(logits, targets, weights, ignore_index=losses.IGNORE)
    log_probabilities = torch.log_softmax(logits, 1)
    torch.testing.assert_close(losses.cross_entropy(log_probabilities, targets, weights), expected)
    torch.testing.assert_close(losses.focal(log_probabilities, targets, weights, gamma=0), expected)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 5.0])
def test_focal_equals_the_binary_one_of_smp(gamma):
    """Two classes: their softmax is the sigmoid of the logits' difference."""
    logits = torch.randn(2, 2, 7, 5, dtype=torch.float64)
    targets = torch.randint(0, 2, (2, 7, 5))
    targets[0, :3] = losses.IGNORE
    theirs = smp.losses.FocalLoss("binary", gamma=gamma, ignore_index=losses.IGNORE)
    found = of_logits(lambda p, t: losses.focal(p, t, gamma=gamma), logits, targets)
    torch.testing.assert_close(found, theirs(logits[:, 1] - logits[:, 0], targets))


@pytest.mark.parametrize("seed", range(3))
def test_dice_equals_smp(seed):
    logits, targets = draw(seed=seed)
    theirs = smp.losses.DiceLoss("multiclass", ignore_index=losses.IGNORE)
    torch.testing.assert_close(of_logits(losses.dice, logits, targets), theirs(logits, targets))


def test_dice_is_a_mean_over_the_classes_in_the_targets():
    """smp divides by the number of all classes; those that are not there add 0."""
    logits, targets = draw()
    targets[targets == 2] = 1
    theirs = smp.losses.DiceLoss("multiclass", ignore_index=losses.IGNORE)
    torch.testing.assert_close(of_logits(losses.dice, logits, targets), theirs(logits, targets) * K / (K - 1))


@pytest.mark.parametrize("seed", range(3))
def test_lovasz_equals_smp(seed):
    logits, targets = draw(seed=seed, dtype=torch.float32)
    targets[targets == seed] = 3  # a class that is not there is left out
    theirs = smp.losses.LovaszLoss("multiclass", ignore_index=losses.IGNORE)
    torch.testing.assert_close(of_logits(losses.lovasz_softmax, logits, targets), theirs(logits, targets))


def test_lovasz_of_certain_predictions_is_one_minus_mean_iou():
    _, targets = draw()
    predicted = torch.randint(0, K, targets.shape)
    certain = torch.log(F.one_hot(predicted, K).permute(0, 3, 1, 2) + 1e-12).double()
    ious = []
    for index in range(K):
        here, there = (targets == index), (predicted == index) & (targets != losses.IGNORE)
        ious.append(float((here & there).sum() / (here | there).sum()))
    assert float(losses.lovasz_softmax(certain, targets)) == pytest.approx(1 - np.mean(ious), abs=1e-6)


@every
def test_gradient_equals_finite_differences(loss):
    logits, targets = draw(size=(2, 3, 4))
    assert torch.autograd.gradcheck(lambda x: of_logits(loss, x, targets), logits, eps=1e-6, atol=1e-5)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_all_ignored_is_0_with_a_gradient_of_0(loss, dtype):
    logits, targets = draw(dtype=dtype)
    value = of_logits(loss, logits, torch.full_like(targets, losses.IGNORE))
    value.backward()
    assert value.item() == 0
    assert value.dtype == dtype
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@every
def test_ignored_pixels_change_nothing(loss):
    logits, targets = draw()
    ignored = (targets == losses.IGNORE)[:, None].expand_as(logits)
    value = of_logits(loss, logits, targets)
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.equal(gradient[ignored], torch.zeros_like(gradient[ignored]))
    assert gradient[~ignored].abs().max() > 0
    other = torch.where(ignored, torch.randn_like(logits) * 50, logits)
    torch.testing.assert_close(of_logits(loss, other, targets), value)


@every
def test_certain_and_right_is_0_and_finite(loss):
    _, targets = draw()
    known = targets.masked_fill(targets == losses.IGNORE, 0)
    logits = (100.0 * F.one_hot(known, K).permute(0, 3, 1, 2)).requires_grad_()
    for sign in (1, -1):
        value = of_logits(loss, sign * logits, targets)
        (gradient,) = torch.autograd.grad(value, logits)
        assert gradient.isfinite().all()
        assert (value.item() < 1e-6) == (sign == 1)
