"""Style transfer: the content of one picture, G's activations near C's, in the style of another, S.

E(G) = E_content(G, C) + E_style(G, S), style being which channels of a layer answer together, wherever.
Source: slides 2, "Style transfer"; Gatys, Ecker & Bethge 2015, arXiv:1508.06576, equations 1 and 3 to 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from visiontasks.errors import RunError, UsageError, unknown_name
from visiontasks.explain.features import features_of_picture
from visiontasks.explain.growing import Moment, grey_noise

RATE: Final = 0.02  # of Adam, of the range of a pixel
FIRST_STEP: Final = 0.01  # mean change of a value in the first step of L-BFGS, of the range of a pixel
MOST_TRIED: Final = 10  # lengths that a step of L-BFGS tries; mostly the first will do
HISTORY: Final = 20  # pairs of changes that L-BFGS remembers
STARTS: Final = ("content", "noise")


@dataclass(frozen=True, slots=True)
class Styling:
    """How a picture is restyled.

    content: a layer's dotted name. styles: {layer: lambda_l}, relative to one another.
    style_weight: of the style error against the content error. variation: weight of the total variation;
    0 = none: many networks leave a grid of single pixels then.
    steps: of the optimiser, see `OPTIMIZERS`. start: of `STARTS`. seed: of the noise.

    Raises: UsageError for values that there are not.
    """

    content: str
    styles: Mapping[str, float]
    style_weight: float = 1.0
    variation: float = 0.1
    optimizer: str = "lbfgs"
    steps: int = 200
    start: str = "content"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise UsageError(unknown_name("optimizer", self.optimizer, OPTIMIZERS))
        if self.start not in STARTS:
            raise UsageError(unknown_name("start", self.start, STARTS))
        if self.steps < 1:
            raise UsageError(f"expected at least 1 step, found {self.steps}")
        weights = [*self.styles.values(), self.style_weight, self.variation]
        if any(not 0 <= weight < math.inf for weight in weights) or not sum(self.styles.values()):
            raise UsageError(
                f"expected weights of at least 0 and a style layer with one above 0, found layers "
                f"{dict(self.styles)}, style {self.style_weight}, variation {self.variation}"
            )


def content_error(features: Tensor, content: Tensor) -> Tensor:
    """sum_ijk (a_ijk(G) - a_ijk(C))^2, a scalar. features, content: (K, I, J) of one layer."""
    return (features - content).square().sum()


def gram_matrix(features: Tensor) -> Tensor:
    """F_kk' = sum_ij a_ijk a_ijk', the style matrix (K, K). features: (K, I, J) of one layer."""
    flat = features.flatten(1)  # (K, I * J)
    return flat @ flat.T


def style_error(features: Tensor, style: Tensor) -> Tensor:
    """1 / (2 I J K)^2 * sum_kk' (F_kk'(G) - F_kk'(S))^2, a scalar.

    Where S has I' J' positions, F(S) is taken times I J / (I' J'), so that the two may differ in size.

    Args:
        features: (K, I, J) of the picture G.
        style: (K, K), the style matrix of S divided by its positions: gram_matrix(a(S)) / (I' J').
    """
    channels, height, width = features.shape
    return (gram_matrix(features) / (height * width) - style).square().sum() / (2 * channels) ** 2


def total_variation(pixels: Tensor) -> Tensor:
    """Half the sum of squared differences of neighbours, a scalar. pixels: (B, C, H, W)."""
    rows, columns = (pixels.diff(dim=axis).square().sum() for axis in (2, 3))
    return (rows + columns) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Goal:
    """What a picture G shall be near to, and the weights with which its errors are added.

    layers: which are looked at. content: (K, I, J) of C at `content_layer`. styles: {layer: (K, K)} of S,
    divided by its positions. content_weight, style_weights, variation_weight: factors of the errors.
    """

    network: Any
    normalise: Callable[[Tensor], Tensor]
    layers: tuple[str, ...]
    content_layer: str
    content: Tensor
    styles: Mapping[str, Tensor]
    content_weight: float
    style_weights: Mapping[str, float]
    variation_weight: float

    def errors(self, pixels: Tensor) -> dict[str, Tensor]:
        """The weighted errors of a picture (1, 3, H, W) in [0, 1]; `total` is their sum."""
        found = _features(self.network, self.layers, self.normalise(pixels))
        terms = {
            "content": self.content_weight * content_error(found[self.content_layer], self.content),
            "style": torch.stack(
                [
                    self.style_weights[name] * style_error(found[name], style)
                    for name, style in self.styles.items()
                ]
            ).sum(),
        }
        if self.variation_weight:
            terms["variation"] = self.variation_weight * total_variation(pixels)
        return {"total": torch.stack(list(terms.values())).sum(), **terms}


def _features(network: Any, layers: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    """{layer: (K, I, J) float32}. Raises: UsageError for a layer without positions."""
    found = {}
    for layer, features in zip(layers, features_of_picture(network, layers, images), strict=True):
        if features.ndim != 4:
            raise UsageError(
                f"expected layers with positions, (1, channels, height, width), found '{layer}' with "
                f"{tuple(features.shape)}; choose convolutions of the backbone"
            )
        found[layer] = features[0].float()
    return found


@torch.no_grad()
def set_goal(
    network: Any, normalise: Callable[[Tensor], Tensor], content: Tensor, style: Tensor, how: Styling
) -> Goal:
    """Look at both pictures once.

    A network's activations have a scale of their own, and the style error grows with its fourth power. The
    weights are therefore such that the content error is 1 for an even grey picture, each layer's style error
    1 for the content picture itself before lambda, and the total variation 1 for the content picture. The
    lambdas are divided by their sum.

    Args:
        network: in evaluation mode. normalise: pixels in [0, 1] -> what it is fed with.
        content: (1, 3, H, W) in [0, 1]. style: (1, 3, H', W'). how: layers and weights.

    Raises:
        UsageError: no such layer, or one without positions. DataError: a picture is too small.
    """
    layers = tuple(dict.fromkeys([how.content, *how.styles]))
    wanted = _features(network, layers, normalise(content))
    painted = _features(network, tuple(how.styles), normalise(style))
    styles = {name: gram_matrix(it) / (it.shape[1] * it.shape[2]) for name, it in painted.items()}
    grey = _features(network, [how.content], normalise(torch.full_like(content, 0.5)))[how.content]
    total = sum(how.styles.values())
    weights = {
        name: how.style_weight * share / total * _inverse(style_error(wanted[name], styles[name]))
        for name, share in how.styles.items()
    }
    return Goal(
        network,
        normalise,
        layers,
        how.content,
        wanted[how.content],
        styles,
        _inverse(content_error(grey, wanted[how.content])),
        weights,
        how.variation * _inverse(total_variation(content)),
    )


def _inverse(error: Tensor) -> float:
    """What makes an error 1; where it is 0 already (one picture is both), 1."""
    return 1 / float(error) if error > 0 else 1.0


def stylize(goal: Goal, content: Tensor, how: Styling) -> Iterator[Moment]:
    """Make the errors of a picture small; on one device the same seed gives the same picture.

    The optimiser moves numbers without limits, the error is that of the picture cut to [0, 1].

    Args:
        goal: see `set_goal`. content: (1, 3, H, W) float32 in [0, 1]. how: optimiser, steps, start.

    Returns:
        The picture after each step; values: the errors, see `Goal.errors`.

    Raises: RunError: the error is not finite.
    """
    size = (content.shape[2], content.shape[3])
    rng = torch.Generator().manual_seed(how.seed)
    start = content if how.start == "content" else grey_noise(size, rng).to(content.device)
    unit, optimizer_of = OPTIMIZERS[how.optimizer](start.numel())
    pixels = (start / unit).contiguous().requires_grad_()  # in the optimiser's unit
    optimizer = optimizer_of([pixels])

    seen: dict[str, Any] = {
        "at": None
    }  # the latest evaluation: a search for a step ends where the next begins

    def closure() -> float:
        if seen["at"] is None or not torch.equal(seen["at"], pixels.detach()):
            errors = goal.errors((unit * pixels).clamp(0, 1))
            (gradient,) = torch.autograd.grad(errors["total"], pixels)
            errors = {name: error.detach() for name, error in errors.items()}
            # torch's L-BFGS takes gradients in no other layout
            seen.update(at=pixels.detach().clone(), errors=errors, gradient=gradient.contiguous())
        pixels.grad = seen["gradient"]
        return float(seen["errors"]["total"])

    def now() -> Tensor:
        return (unit * pixels.detach()).clamp(0, 1)

    for step in range(how.steps):
        closure()
        values = {name: float(error) for name, error in seen["errors"].items()}
        if not math.isfinite(values["total"]):
            raise RunError(
                f"expected a finite error, found {values['total']} after {step} steps; take --optimizer adam"
            )
        optimizer.step(closure)
        yield Moment(values, now)


Optimizers = Callable[[list[Tensor]], torch.optim.Optimizer]


def _lbfgs(numbers: int) -> tuple[float, Optimizers]:
    """One iteration a step. torch begins with sum |change| = 1, whatever the unit."""
    return FIRST_STEP * numbers, lambda parameters: torch.optim.LBFGS(
        parameters,
        max_iter=1,
        max_eval=MOST_TRIED,
        history_size=HISTORY,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",  # without it the error jumps up after a hundred steps or so
    )


def _adam(numbers: int) -> tuple[float, Optimizers]:
    return 1.0, lambda parameters: torch.optim.Adam(parameters, lr=RATE)


OPTIMIZERS: Final[Mapping[str, Callable[[int], tuple[float, Optimizers]]]] = {  # (unit of pixels, optimiser)
    "lbfgs": _lbfgs,
    "adam": _adam,
}
