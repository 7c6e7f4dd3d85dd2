"""One picture explained: a method's map in original pixels, with what it is of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from visiontasks.errors import UsageError, unknown_name
from visiontasks.explain.grad_cam import find_layer, fitting_layer, grad_cam
from visiontasks.explain.gradients import integrated_gradients, saliency
from visiontasks.explain.occlusion import occlusion
from visiontasks.explain.overlay import Map, draw_overlay, to_original
from visiontasks.explain.target import Subject
from visiontasks.types import Image

PATCHES: Final = 8  # occluding patches along the picture's shorter side, unless their size is given


@dataclass(frozen=True, slots=True)
class Method:
    """How a map is made; None = the default.

    name: of `METHODS`; by default grad-cam, and hires-cam of a target with a place (a detection, pixels): it
        does not depend on all of the picture.
    layer: of grad-cam and hires-cam, dotted name. steps: of integrated gradients.
    patch, stride: of occlusion, network pixels; by default an eighth of the shorter side, and half of that.
    batch_size: inputs that are computed at once.

    Raises: UsageError for another name, or a number below 1.
    """

    name: str | None = None
    layer: str | None = None
    steps: int = 64
    patch: int | None = None
    stride: int | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        if self.name is not None and self.name not in METHODS:
            raise UsageError(unknown_name("method", self.name, METHODS))
        for name in ("steps", "patch", "stride", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"expected {name} of at least 1, found {value}")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where on a picture a number of a network's output comes from.

    image: (H, W, 3) uint8, the picture.
    values: (H, W) float32 in original pixels; 0 where the network does not see the picture.
    method: its name. layer: of grad-cam and hires-cam, else "".
    target: what the number is of. score: the number, a logit. predicted: the whole prediction in words.
    gap: of integrated gradients: by how much the sum of the map in network pixels misses the difference to
        the score of the mean colour, as a share of that difference; else None.
    box: (4,) xyxy original pixels, of a detection. point: (y, x), of a pixel.
    """

    image: Image
    values: Map
    method: str
    layer: str
    target: str
    score: float
    predicted: str
    prediction: Any
    gap: float | None = None
    box: tuple[float, ...] | None = None
    point: tuple[int, int] | None = None

    @property
    def signed(self) -> bool:
        """Whether values below 0 are shown: they speak against the target."""
        return self.method in ("integrated-gradients", "occlusion")

    @property
    def subject(self) -> str:
        """What the map is of, in words."""
        return f"{self.method} of {self.target} (logit {self.score:.2f})"

    def draw(self) -> Image:
        """The map over the picture, (f*H + margins, f*W, 3) uint8, with titles and a scale."""
        titles = [
            f"predicted {self.predicted}",
            self.subject,
            *([f"layer {self.layer}"] if self.layer else []),
        ]
        return draw_overlay(
            self.image, self.values, titles, signed=self.signed, box=self.box, point=self.point
        )


def explain_picture(image: Image, subject: Subject, method: Method) -> Explanation:
    """The map of a picture.

    Args:
        image: (H, W, 3) uint8, original pixels. subject: what is asked of it, see `ask`. method: how.

    Raises: UsageError for an unknown layer, or one without positions.
    """
    name = method.name or ("grad-cam" if subject.aim.where is None else "hires-cam")
    values, layer, gap = METHODS[name](subject, replace(method, name=name))
    info = subject.batch.infos[0]
    box = None
    if subject.aim.where is not None and subject.aim.where.ndim == 1:
        origin = np.array([info.pad_left, info.pad_top] * 2)
        factors = np.array([info.width / info.resized_width, info.height / info.resized_height] * 2)
        box = tuple(((subject.aim.where.cpu().numpy() - origin) * factors).tolist())
    return Explanation(
        image,
        to_original(values.float().cpu().numpy(), info),
        name,
        layer,
        subject.target,
        subject.value,
        subject.task.describe(subject.prediction, subject.classes),
        subject.prediction,
        gap,
        box,
        subject.aim.point,
    )


Found = tuple[Tensor, str, float | None]  # map (h, w) in network pixels, layer, gap


def _grad_cam(subject: Subject, method: Method) -> Found:
    chosen = method.layer or fitting_layer(subject.network, subject.aim.where)
    name, layer = find_layer(subject.network, chosen)
    local = method.name == "hires-cam"
    values = grad_cam(subject.score, subject.network, layer, subject.batch.images, name=name, local=local)
    return values, name, None


def _saliency(subject: Subject, method: Method) -> Found:
    return saliency(subject.score, subject.batch.images), "", None


def _integrated_gradients(subject: Subject, method: Method) -> Found:
    image = subject.batch.images
    values = integrated_gradients(subject.score, image, steps=method.steps, batch_size=method.batch_size)
    with torch.no_grad():
        difference = subject.value - float(subject.score(torch.zeros_like(image))[0])
    gap = abs(float(values.sum()) - difference) / max(abs(difference), 1e-12)
    return values, "", gap


def _occlusion(subject: Subject, method: Method) -> Found:
    rows, columns = subject.frame
    shorter = min(rows.stop - rows.start, columns.stop - columns.start)
    patch = max(1, shorter // PATCHES) if method.patch is None else method.patch
    if patch > shorter:
        raise UsageError(
            f"expected a patch of at most {shorter} pixels, the shorter side of the picture as the network "
            f"sees it, found {patch}; choose a smaller one"
        )
    stride = max(1, patch // 2) if method.stride is None else method.stride
    values = occlusion(
        subject.score,
        subject.batch.images,
        patch=patch,
        stride=stride,
        batch_size=method.batch_size,
        frame=subject.frame,
    )
    return values, "", None


METHODS: Final[dict[str, Callable[[Subject, Method], Found]]] = {
    "grad-cam": _grad_cam,
    "hires-cam": _grad_cam,
    "saliency": _saliency,
    "integrated-gradients": _integrated_gradients,
    "occlusion": _occlusion,
}
