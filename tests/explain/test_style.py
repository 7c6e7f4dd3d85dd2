"""The lecture's content and style errors: by hand, in plain loops, and what minimising them does."""

import math

import numpy as np
import pytest
import torch

from tests.explain.tiny import TwoLevels, noise, same
from visiontasks.errors import RunError, UsageError
from visiontasks.explain.style import (
    Styling,
    content_error,
    gram_matrix,
    set_goal,
    style_error,
    stylize,
    total_variation,
)

SMALL = torch.tensor([[[1.0, 2.0]], [[3.0, -1.0]]])  # (K = 2, I = 1, J = 2)
OTHER = torch.tensor([[[0.0, 2.0]], [[1.0, 1.0]]])
STYLES = {"stages.0": 1.0, "stages.1": 3.0}


@pytest.fixture(scope="module")
def network():
    return TwoLevels().eval()


def test_the_errors_by_hand():
    assert float(content_error(SMALL, OTHER)) == 1 + 0 + 4 + 4
    assert gram_matrix(SMALL).tolist() == [[5, 1], [1, 10]]
    assert gram_matrix(OTHER).tolist() == [[4, 2], [2, 2]]
    # 1 / (2 I J K)^2 = 1 / 64, the differences of the matrices are 1, -1, -1, 8
    assert float(style_error(SMALL, gram_matrix(OTHER) / 2)) == pytest.approx((1 + 1 + 1 + 64) / 64)


def test_the_errors_in_plain_loops():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(3, 4, 5)) for _ in range(2))
    grams = []
    for features in (a, b):
        gram = np.zeros((3, 3))
        for k in range(3):
            for other in range(3):
                for i in range(4):
                    for j in range(5):
                        gram[k, other] += features[k, i, j] * features[other, i, j]
        grams.append(gram)
    np.testing.assert_allclose(gram_matrix(torch.from_numpy(a)).numpy(), grams[0])
    expected = sum((grams[0] - grams[1]).ravel() ** 2) / (2 * 4 * 5 * 3) ** 2
    found = style_error(torch.from_numpy(a), gram_matrix(torch.from_numpy(b)) / 20)
    assert float(found) == pytest.approx(expected)
    assert float(content_error(torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(
        sum((x - y) ** 2 for x, y in zip(a.flat, b.flat, strict=True))
    )


def test_a_style_does_not_depend_on_how_often_it_is_repeated():
    wide = torch.cat([OTHER, OTHER, OTHER], 2)
    torch.testing.assert_close(gram_matrix(wide) / 6, gram_matrix(OTHER) / 2)
    assert float(style_error(OTHER, gram_matrix(wide) / 6)) == pytest.approx(0, abs=1e-12)


def test_the_gradient_of_the_style_error_is_the_published_one():
    """Gatys et al., equation 6: (1 / (N M)^2) F^T (G - A), without the ReLU."""
    features = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    style = gram_matrix(torch.randn(3, 4, 5, dtype=torch.float64))
    style_error(features, style / 20).backward()
    flat = features.detach().reshape(3, 20)
    expected = (gram_matrix(features.detach()) - style) @ flat / (3 * 20) ** 2
    torch.testing.assert_close(features.grad.reshape(3, 20), expected)


def test_the_total_variation_by_hand():
    pixels = torch.tensor([[[[0.0, 1.0], [3.0, 1.0]]]])
    assert float(total_variation(pixels)) == (1 + 4 + 9 + 0) / 2


def test_the_total_is_the_weighted_sum_of_the_formulas(network):
    content, style, image = noise((24, 20), 0), noise((16, 32), 1), noise((24, 20), 2)
    how = Styling("stages.1", STYLES, style_weight=5.0, variation=0.5)
    goal = set_goal(network, same, content, style, how)
    with torch.no_grad():
        a, c, s, grey = (
            dict(zip(STYLES, (level[0] for level in network.backbone(pixels)), strict=True))
            for pixels in (image, content, style, torch.full_like(content, 0.5))
        )
        errors = goal.errors(image)
        expected_content = content_error(a["stages.1"], c["stages.1"]) / content_error(
            grey["stages.1"], c["stages.1"]
        )
        expected_style = 0.0
        for name, share in STYLES.items():
            target = gram_matrix(s[name]) / s[name][0].numel()
            expected_style += 5 * share / 4 * style_error(a[name], target) / style_error(c[name], target)
        variation = 0.5 * total_variation(image) / total_variation(content)
    assert float(errors["content"]) == pytest.approx(float(expected_content), rel=1e-4)
    assert float(errors["style"]) == pytest.approx(float(expected_style), rel=1e-4)
    assert float(errors["variation"]) == pytest.approx(float(variation), rel=1e-4)
    assert float(errors["total"]) == pytest.approx(
        float(expected_content + expected_style + variation), rel=1e-4
    )
    at_content = {name: float(error.detach()) for name, error in goal.errors(content).items()}
    assert at_content["content"] == 0 and at_content["style"] == pytest.approx(5, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("start", ["content", "noise"])
def test_the_error_falls(network, optimizer, start):
    content, style = noise((24, 24), 0), noise((20, 28), 1)
    how = Styling("stages.0", STYLES, optimizer=optimizer, steps=40, start=start)
    goal = set_goal(network, same, content, style, how)
    moments = list(stylize(goal, content, how))
    first, last = moments[0].values, moments[-1].values
    assert len(moments) == 40 and last["total"] < 0.5 * first["total"]
    pixels = moments[-1].pixels()
    assert pixels.shape == content.shape and 0 <= float(pixels.min()) and float(pixels.max()) <= 1


def test_content_alone_is_found_again(network):
    content = noise((16, 16), 0, 0.3, 0.7)
    how = Styling("stages.0", STYLES, style_weight=0.0, steps=150, start="noise")
    goal = set_goal(network, same, content, noise((16, 16), 1), how)
    errors = [moment.values["content"] for moment in stylize(goal, content, how)]
    assert errors[-1] < 0.01 * errors[0]


def test_variation_makes_it_smoother(network):
    content = noise((24, 24), 0)
    rough, smooth = (
        list(_run(network, content, Styling("stages.0", STYLES, variation=weight, steps=30)))[-1].pixels()
        for weight in (0.0, 10.0)
    )
    assert total_variation(smooth) < 0.8 * total_variation(rough)


def _run(network, content, how):
    return stylize(set_goal(network, same, content, noise((24, 24), 1), how), content, how)


def test_the_seed_decides(network):
    content = noise((20, 24), 0)
    first, again, other = (
        list(_run(network, content, Styling("stages.0", STYLES, steps=5, start="noise", seed=seed)))[
            -1
        ].pixels()
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_picture_in_its_own_style_stays(network):
    content = noise((24, 24), 1)
    moments = list(_run(network, content, Styling("stages.0", STYLES, variation=0.0, steps=3)))
    assert moments[-1].values["total"] == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(moments[-1].pixels(), content, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'"),
        ({"start": "style"}, "unknown start 'style'"),
        ({"steps": 0}, "at least 1 step, found 0"),
        ({"styles": {"stages.0": -1.0}}, "weights of at least 0 and a style layer with one above 0"),
        ({"styles": {"stages.0": 0.0}}, "weights of at least 0 and a style layer with one above 0"),
        ({"style_weight": math.inf}, "weights of at least 0 .* style inf"),
    ],
)
def test_values_that_there_are_not_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        Styling(**{"content": "stages.0", "styles": STYLES, **changes})


def test_layers_that_do_not_fit_are_refused(network):
    content = noise((16, 16), 0)
    for how, message in (
        (Styling("stages.5", STYLES), "unknown layer 'stages.5'"),
        (Styling("stages.0", {"head": 1.0}), r"layers with positions.*'head' with \(1, 3\)"),
    ):
        with pytest.raises(UsageError, match=message):
            set_goal(network, same, content, content, how)


def test_an_error_that_is_not_finite_ends_it(network):
    content = noise((16, 16), 0)
    how = Styling("stages.0", STYLES, steps=3)
    goal = set_goal(network, same, content, noise((16, 16), 1), how)
    with pytest.raises(RunError, match="a finite error, found nan after 0 steps; take --optimizer adam"):
        list(stylize(goal, content * float("nan"), how))
