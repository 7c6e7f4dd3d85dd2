"""`visiontasks stylize`: the content of one picture in the style of another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from visiontasks.cli.options import (
    LARGEST_SIDE,
    SEED,
    Share,
    device_option,
    json_option,
    max_pixels_option,
)
from visiontasks.errors import UsageError


@click.command("stylize")
@click.argument("content", type=click.Path(path_type=Path))
@click.argument("style", type=click.Path(path_type=Path))
@click.option("-w", "--weights", help="A bundled name, weights file, run folder or torchvision:NAME.")
@click.option(
    "--content-layer", help="A layer's dotted name, see inspect. [default: the backbone's middle level]"
)
@click.option(
    "--style-layer",
    "style_layers",
    multiple=True,
    metavar="NAME[=LAMBDA]",
    help="A layer and its weight (1); may be repeated. [default: all levels of the backbone]",
)
@click.option(
    "--style-weight",
    metavar="W",
    type=Share(0),
    help="Of the style error against the content error. [default: 1]",
)
@click.option("--variation", metavar="W", type=Share(0), help="Of the total variation. [default: 0.1]")
@click.option("--optimizer", type=click.Choice(("lbfgs", "adam")), help="[default: lbfgs]")
@click.option("--steps", type=click.IntRange(1), help="Of the optimizer. [default: 200]")
@click.option(
    "--size",
    metavar="PX",
    type=click.IntRange(1, LARGEST_SIDE),
    help="Longer side of both pictures. [default: CONTENT's, at most 512]",
)
@click.option(
    "--start", type=click.Choice(("content", "noise")), help="The first picture. [default: content]"
)
@click.option("--seed", type=SEED, help="Of the noise. [default: 0]")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Results. [default: runs/stylize/NNN]")
@device_option
@max_pixels_option
@json_option
def command(
    content: Path,
    style: Path,
    weights: str | None,
    style_layers: tuple[str, ...],
    out: Path | None,
    device: str,
    max_pixels: int,
    as_json: bool,
    **given: Any,
) -> None:
    """Paint what is on CONTENT in the style of STYLE: colours, strokes and textures, wherever they are.

    The error is that of the activations at the content layer plus that of the style (Gram) matrices at the
    style layers, each layer times its lambda. Errors are relative: the content error of an even grey picture
    is 1, and so are the style error and the total variation of CONTENT itself. OUT receives stylize.png,
    stylize.json (settings, and the errors before each step), and while it works preview.png. Ctrl-C saves
    the picture so far.

    \b
    visiontasks stylize photo.jpg painting.jpg -w torchvision:vgg19
    visiontasks stylize photo.jpg painting.jpg -w runs/classification/cifar10 --start noise --steps 400
    """
    how = {name: value for name, value in given.items() if value is not None}
    if "seed" in how and how.get("start") != "noise":
        raise UsageError("expected --seed beside --start noise, found it alone; nothing else is random")
    if style_layers:
        how["style_layers"] = parse_layers(style_layers)
    from visiontasks import api
    from visiontasks.cli.grown import PREVIEW, finish
    from visiontasks.cli.predict import default_model
    from visiontasks.engine.log import Report
    from visiontasks.engine.results import result_folder
    from visiontasks.io.images import read_image

    pictures = [read_image(path, max_pixels=max_pixels) for path in (content, style)]
    model = api.load(weights or default_model("classification"), device=device, precision="fp32")
    folder = result_folder("stylize", out, [content, style])
    began = time.perf_counter()
    grown = api.stylize(model, *pictures, preview=folder / PREVIEW, report=Report(), **how)
    seconds = time.perf_counter() - began
    curves = {
        name: f"{round(values[0], 6):.3g} -> {round(values[-1], 6):.3g}"
        for name, values in grown.curves.items()
    }
    line = (
        f"{content} as {style}  error {curves['total']} (content {curves['content']}, style "
        f"{curves['style']}) in {len(grown.curves['total']) - 1} steps, {seconds:.1f} s"
    )
    about = {"content": str(content), "style": str(style), "model": model.name}
    finish("stylize", folder, about, grown, line, as_json=as_json)


def parse_layers(texts: tuple[str, ...]) -> dict[str, float]:
    """`("layer1", "layer2=0.5")` -> {"layer1": 1.0, "layer2": 0.5}.

    Raises: UsageError for a weight that is no number, or a layer that is given twice.
    """
    layers: dict[str, float] = {}
    for text in texts:
        name, sign, weight = text.partition("=")
        try:
            value = float(weight) if sign else 1.0
        except ValueError:
            raise UsageError(f"expected --style-layer NAME or NAME=LAMBDA, found '{text}'") from None
        if name in layers:
            raise UsageError(f"expected each --style-layer once, found '{name}' twice; leave one out")
        layers[name] = value
    return layers
