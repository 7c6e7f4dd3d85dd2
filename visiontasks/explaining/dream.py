"""Joins a model to the pictures that `visiontasks.explain` grows: dream and stylize."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import PIL.Image

from visiontasks.errors import UsageError
from visiontasks.io.files import write_atomic
from visiontasks.io.images import MAX_PIXELS, encode
from visiontasks.model import Model, as_image
from visiontasks.types import Image

if TYPE_CHECKING:
    import torch

    from visiontasks.engine.log import Report
    from visiontasks.explain.dream import Dreaming
    from visiontasks.explain.growing import Moment

Picture = str | Path | Image | PIL.Image.Image

LARGEST: Final = 512  # longer side of a picture that no size is given for, pixels
PREVIEW_SECONDS: Final = 5.0  # between two previews


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """A picture that was dreamed or restyled.

    image: (H, W, 3) uint8. curves: {name: of the picture before each step, then of `image`}.
    steps: how many were wanted; the curves are shorter when a signal stopped it. stopped: that signal, or 0.
    settings: what was done, ready for JSON, with the defaults filled in.
    """

    image: Image
    curves: Mapping[str, tuple[float, ...]]
    steps: int
    stopped: int
    settings: Mapping[str, Any]


def dream(
    model: Model[Any],
    image: Picture,
    how: Dreaming | None = None,
    *,
    layer: str | None = None,
    unit: int | None = None,
    size: int | None = None,
    preview: Path | None = None,
    report: Report | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Grown:
    """Change a picture so that a layer answers to it more strongly: DeepDream.

    Args:
        model: a loaded model, of any task; for pictures that can be reproduced in fp32.
        image: a path, an (H, W, 3) uint8 RGB array, or a Pillow picture.
        how: steps, octaves, seed; see `visiontasks.explain.dream`.
        layer: dotted name; None = the backbone's last level but one. unit: a channel of it; None = all.
        size: longer side of the result, pixels; None = the picture's, at most 512.
        preview: a PNG that shows the picture every few seconds; None = nowhere.
        report: where to speak; None = nowhere. max_pixels: pictures with more are refused.

    Raises:
        UsageError: no such layer or unit. ImageError: the picture cannot be read.
        DataError: it is too small for the backbone. RunError: memory ran out.
    """
    from visiontasks.engine.faults import run_faults
    from visiontasks.explain import dream as room
    from visiontasks.explain.growing import normaliser, to_pixels

    how = how or room.Dreaming()
    setting, network = model.opened.setting, model.opened.network
    given = as_image(image, max_pixels)
    least: int = network.backbone.minimum_size
    layer = layer or network.backbone.ends[-2:][0]
    slope = room.dream_slope(
        network, layer, unit, normaliser(setting.mean, setting.std, setting.device.device)
    )
    with run_faults("take a smaller --size"):
        pixels = to_pixels(_sized(given, size), setting.device.device)
        octaves = room.octave_sizes((pixels.shape[2], pixels.shape[3]), how.octaves, least)
        moments = room.dream(slope, pixels, how, least)
        grown = _grow(moments, how.steps * len(octaves), "dream", preview, report)
        score = slope(to_pixels(grown.image, setting.device.device))[0]
    return replace(
        grown,
        curves={"score": (*grown.curves["score"], score)},
        settings={
            "layer": layer,
            "unit": unit,
            "octaves": [list(octave) for octave in octaves],
            "steps": how.steps,
            "seed": how.seed,
        },
    )


def stylize(
    model: Model[Any],
    content: Picture,
    style: Picture,
    *,
    content_layer: str | None = None,
    style_layers: Mapping[str, float] | None = None,
    size: int | None = None,
    preview: Path | None = None,
    report: Report | None = None,
    max_pixels: int = MAX_PIXELS,
    **how: Any,
) -> Grown:
    """Paint the content of one picture in the style of another.

    Args:
        model: a loaded model, of any task; for pictures that can be reproduced in fp32.
        content, style: paths, (H, W, 3) uint8 RGB arrays, or Pillow pictures.
        content_layer: dotted name; None = the backbone's middle level.
        style_layers: {dotted name: weight}; None = all levels of the backbone, weighted alike.
        size: longer side of both pictures, pixels; None = the content's, at most 512.
        preview, report, max_pixels: as `dream`.
        how: style_weight, variation, optimizer, steps, start, seed; see `visiontasks.explain.style.Styling`.

    Raises:
        UsageError: no such layer, or value of `how`. ImageError: a picture cannot be read.
        DataError: it is too small for the backbone. RunError: memory ran out.
    """
    from visiontasks.engine.faults import run_faults
    from visiontasks.explain import style as room
    from visiontasks.explain.growing import normaliser, to_pixels

    setting, network = model.opened.setting, model.opened.network
    device = setting.device.device
    levels = network.backbone.ends
    styles = dict(style_layers or dict.fromkeys(levels, 1.0))
    styling = room.Styling(content_layer or levels[len(levels) // 2], styles, **how)
    images = [as_image(picture, max_pixels) for picture in (content, style)]
    with run_faults("take a smaller --size"):
        shown = _sized(images[0], size)
        painted = _sized(images[1], max(shown.shape[:2]))
        pixels = to_pixels(shown, device)
        normalise = normaliser(setting.mean, setting.std, device)
        goal = room.set_goal(network, normalise, pixels, to_pixels(painted, device), styling)
        grown = _grow(room.stylize(goal, pixels, styling), styling.steps, "stylize", preview, report)
        last = _errors_of(goal, to_pixels(grown.image, device))
    return replace(
        grown,
        curves={name: (*values, last[name]) for name, values in grown.curves.items()},
        settings={
            "content_layer": styling.content,
            "style_layers": dict(styling.styles),
            "style_weight": styling.style_weight,
            "variation": styling.variation,
            "factors": {
                "content": goal.content_weight,
                "style": dict(goal.style_weights),
                "variation": goal.variation_weight,
            },
            "size": list(shown.shape[:2]),
            "optimizer": styling.optimizer,
            "steps": styling.steps,
            "start": styling.start,
            "seed": styling.seed,
        },
    )


def _errors_of(goal: Any, pixels: torch.Tensor) -> dict[str, float]:
    import torch

    with torch.no_grad():
        return {name: float(error) for name, error in goal.errors(pixels).items()}


def _sized(image: Image, size: int | None) -> Image:
    """The picture with a longer side of `size` pixels; None = its own, at most `LARGEST`.

    Raises: UsageError for less than a pixel.
    """
    from visiontasks.ops.pictures import resize

    longer = max(image.shape[:2])
    size = min(longer, LARGEST) if size is None else size
    if size < 1:
        raise UsageError(f"expected a size of at least 1 pixel, found {size}")
    height, width = (max(1, round(side * size / longer)) for side in image.shape[:2])
    return resize(image, (height, width))


def _grow(
    moments: Iterable[Moment], steps: int, title: str, preview: Path | None, report: Report | None
) -> Grown:
    """Take the steps, with progress and previews, until they end or a signal comes."""
    from visiontasks.engine.log import Report
    from visiontasks.engine.signals import stop_signals
    from visiontasks.explain.growing import to_image

    report = report or Report(speaks=False)
    curves: dict[str, list[float]] = {}
    shown = time.monotonic()
    with stop_signals() as stop, report.progress(title, steps) as meter:
        for moment in moments:
            for name, value in moment.values.items():
                curves.setdefault(name, []).append(value)
            meter.advance(0, "  ".join(f"{name} {value:.4g}" for name, value in moment.values.items()))
            if preview is not None and time.monotonic() - shown > PREVIEW_SECONDS:
                write_atomic(preview, encode(to_image(moment.pixels()), ".png"))
                shown = time.monotonic()
            if stop.signum:
                break
        image = to_image(moment.pixels())
    return Grown(image, {name: tuple(curve) for name, curve in curves.items()}, steps, stop.signum, {})
