"""Saliency, integrated gradients and occlusion against captum, formulas and their axioms."""

import numpy as np
import pytest
import torch

from tests.explain.tiny import asked, info_of, tiny_classifier
from visiontasks.errors import UsageError
from visiontasks.explain.gradients import integrated_gradients, pixel_gradient, saliency
from visiontasks.explain.occlusion import occlusion
from visiontasks.explain.picture import METHODS, Method, explain_picture
from visiontasks.types import Aim


@pytest.fixture
def subject():
    torch.manual_seed(0)
    return asked(tiny_classifier(), torch.randn(1, 3, 20, 28))


def test_the_gradient_is_that_of_finite_differences(subject):
    network = subject.network.double()
    images = subject.batch.images.double()

    def score(pixels):
        return network.head(network.backbone(pixels))[:, 1]

    gradient, step = pixel_gradient(score, images), 1e-6
    for place in [(0, 0, 0), (1, 7, 13), (2, 19, 27)]:
        moved = images.clone()
        moved[0][place] += step
        difference = (score(moved) - score(images)).item() / step
        assert difference == pytest.approx(float(gradient[0][place]), abs=1e-6)
    torch.testing.assert_close(saliency(score, images), gradient[0].abs().max(dim=0).values)


def test_the_same_as_captum(subject):
    attr = pytest.importorskip("captum.attr")
    images = subject.batch.images
    expected = attr.Saliency(subject.score).attribute(images.clone().requires_grad_(), abs=True)
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(saliency(subject.score, images), expected[0].amax(0), **close)
    path = attr.IntegratedGradients(subject.score).attribute(images, n_steps=40, method="riemann_middle")
    found = integrated_gradients(subject.score, images, steps=40, batch_size=7)
    torch.testing.assert_close(found, path[0].sum(0).detach().float(), **close)
    covered = attr.Occlusion(subject.score).attribute(images, (3, 6, 6), strides=(3, 4, 4), baselines=0)
    found = occlusion(subject.score, images, patch=6, stride=4, batch_size=5)
    torch.testing.assert_close(found, covered[0, 0].float(), **close)


def test_integrated_gradients_add_up_to_the_difference_of_the_scores(subject):
    """Completeness, proposition 1 of the paper; exact on the way's limit, here to a thousandth."""
    images = subject.batch.images
    baseline = torch.full_like(images, 0.3)
    difference = (subject.score(images) - subject.score(baseline)).item()
    found = integrated_gradients(subject.score, images, steps=500, batch_size=100, baseline=baseline)
    assert float(found.sum()) == pytest.approx(difference, rel=1e-3, abs=1e-4)
    explained = explain_picture(
        np.zeros((20, 28, 3), np.uint8), subject, Method("integrated-gradients", steps=500)
    )
    assert explained.gap is not None and explained.gap < 1e-2


def test_of_a_linear_score_the_methods_give_its_terms():
    weights, image = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8)

    def score(images):
        return (images * weights).sum(dim=(1, 2, 3))

    terms = (weights * image)[0].sum(0)
    torch.testing.assert_close(integrated_gradients(score, image, steps=3, batch_size=2), terms)
    found = occlusion(score, image, patch=1, stride=1, batch_size=9)
    torch.testing.assert_close(found, terms, atol=1e-4, rtol=1e-4)


def test_only_the_picture_is_covered_not_its_padding():
    image = torch.ones(1, 3, 10, 12)
    found = occlusion(
        lambda images: images.sum(dim=(1, 2, 3)), image, patch=4, stride=4, batch_size=8,
        frame=(slice(2, 9), slice(0, 6)),
    )  # fmt: skip
    expected = torch.zeros(10, 12)
    expected[2:6, :4], expected[6:9, :4], expected[2:6, 4:6], expected[6:9, 4:6] = 48, 36, 24, 18
    assert torch.equal(found, expected)


@pytest.mark.parametrize("method", ["saliency", "integrated-gradients", "occlusion"])
def test_random_weights_change_the_map(method):
    """Adebayo et al. 2018: rank correlation of the maps of two networks, on average over pairs."""
    stats = pytest.importorskip("scipy.stats")
    correlations = []
    for seed in range(6):
        torch.manual_seed(seed)
        images, maps = torch.randn(1, 3, 32, 32), []
        for _ in range(2):
            values, _, _ = METHODS[method](asked(tiny_classifier(), images), Method(method, steps=8))
            maps.append(values.numpy().ravel())
        correlations.append(stats.spearmanr(*maps).statistic)
    assert abs(np.mean(correlations)) < 0.5 and max(correlations) < 0.95


def test_bf16_is_not_used_and_would_matter(subject):
    """What computing in bf16 would change, against float32: 1% to 30% of the map's length."""
    exact = saliency(subject.score, subject.batch.images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = saliency(subject.score, subject.batch.images)
    error = float((exact - rough).norm() / exact.norm())
    assert 1e-4 < error < 0.3


def test_a_map_of_a_cropped_picture_lies_where_the_crop_was():
    images = torch.zeros(1, 3, 8, 8)
    images[0, :, 2:4, 2:4] = 1
    info = info_of(images, height=24, width=12, resized_height=16, resized_width=8, pad_top=-4)
    found = asked(tiny_classifier(), images, Aim(0), info)
    values = explain_picture(np.zeros((24, 12, 3), np.uint8), found, Method("saliency")).values
    assert values.shape == (24, 12)
    assert np.all(values[:4] == 0) and np.all(values[20:] == 0) and values[6:18].max() > 0


@pytest.mark.parametrize("values", [{"name": "gradcam"}, {"steps": 0}, {"stride": 0}])
def test_a_method_that_there_is_not(values):
    with pytest.raises(UsageError, match=r"did you mean 'grad-cam'|at least 1, found 0"):
        Method(**values)
