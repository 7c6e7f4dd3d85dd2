"""`visiontasks dream`: DeepDream."""

from __future__ import annotations

import time
from pathlib import Path

import click

from visiontasks.cli.options import LARGEST_SIDE, SEED, device_option, json_option, max_pixels_option


@click.command("dream")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("-w", "--weights", help="A bundled name, weights file, run folder or torchvision:NAME.")
@click.option(
    "--layer", help="A layer's dotted name, see inspect. [default: the backbone's last level but one]"
)
@click.option("--unit", type=click.IntRange(0), help="A channel of the layer. [default: all]")
@click.option(
    "--octaves",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Sizes of the picture, each 1.4 times the one before; more give larger shapes.",
)
@click.option(
    "--steps", type=click.IntRange(1), default=20, show_default=True, help="Gradient steps in each octave."
)
@click.option(
    "--size",
    metavar="PX",
    type=click.IntRange(1, LARGEST_SIDE),
    help="Longer side of the result. [default: the picture's, at most 512]",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the moves before each step.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Results. [default: runs/dream/NNN]")
@device_option
@max_pixels_option
@json_option
def command(
    image: Path,
    weights: str | None,
    layer: str | None,
    unit: int | None,
    octaves: int,
    steps: int,
    size: int | None,
    seed: int,
    out: Path | None,
    device: str,
    max_pixels: int,
    as_json: bool,
) -> None:
    """Change IMAGE so that a layer of a network answers to it more strongly: DeepDream.

    What the layer sees a little of, grows. OUT receives dream.png, dream.json (settings, and the mean square
    of the layer before each step), and while it works preview.png. Ctrl-C saves the picture so far.

    \b
    visiontasks dream clouds.jpg -w torchvision:vgg16
    visiontasks dream clouds.jpg -w runs/classification/cifar10 --layer stages.2 --unit 17 --octaves 6
    """
    from visiontasks import api
    from visiontasks.cli.grown import PREVIEW, finish
    from visiontasks.cli.predict import default_model
    from visiontasks.engine.log import Report
    from visiontasks.engine.results import result_folder
    from visiontasks.explain.dream import Dreaming
    from visiontasks.io.images import read_image

    pixels = read_image(image, max_pixels=max_pixels)
    model = api.load(weights or default_model("classification"), device=device, precision="fp32")
    folder = result_folder("dream", out, [image])
    began = time.perf_counter()
    grown = api.dream(
        model,
        pixels,
        Dreaming(steps, octaves, seed),
        layer=layer,
        unit=unit,
        size=size,
        preview=folder / PREVIEW,
        report=Report(),
    )
    seconds = time.perf_counter() - began
    scores = grown.curves["score"]
    what = grown.settings["layer"] if unit is None else f"unit {unit} of {grown.settings['layer']}"
    line = (
        f"{image}  mean square of {what} {scores[0]:.3g} -> {scores[-1]:.3g} in {len(scores) - 1} steps, "
        f"{seconds:.1f} s"
    )
    finish("dream", folder, {"file": str(image), "model": model.name}, grown, line, as_json=as_json)
