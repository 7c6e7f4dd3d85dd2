"""`visiontasks explain`: where on a picture a prediction comes from."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from visiontasks.cli.explain_network import METHODS as NETWORK_METHODS
from visiontasks.cli.explain_network import OPTIONS_OF as METHODS_OF
from visiontasks.cli.explain_network import network_options, run_network_method
from visiontasks.cli.explain_worst import run_worst, worst_options
from visiontasks.cli.options import (
    Share,
    device_option,
    echo_file,
    is_given,
    json_option,
    max_pixels_option,
)
from visiontasks.errors import UsageError

if TYPE_CHECKING:
    from visiontasks.explain.picture import Explanation

CAMS: Final = ("grad-cam", "hires-cam")
PICTURE_METHODS: Final = (*CAMS, "saliency", "integrated-gradients", "occlusion")
OPTIONS_OF: Final = {  # option -> the methods that have it
    "layer": CAMS,
    "steps": ("integrated-gradients",),
    "patch": ("occlusion",),
    "stride": ("occlusion",),
    "batch_size": ("integrated-gradients", "occlusion"),
}


@click.command("explain")
@click.argument("image", type=click.Path(), required=False)
@click.option("-w", "--weights", help="A bundled name, weights file, run folder or torchvision:NAME.")
@click.option(
    "--method",
    type=click.Choice((*PICTURE_METHODS, *NETWORK_METHODS)),
    help="[default: grad-cam of a classifier, hires-cam of a detection or a segmentation]",
)
@click.option(
    "--target",
    metavar="WHAT",
    help="CLASS, #N (detection N; 0 = the best), CLASS#N, Y,X (a pixel of a segmentation) or CLASS@Y,X. "
    "[default: what the network is surest of]",
)
@click.option(
    "--layer",
    help="Of the cams, dissect, top-patches and maximise: a layer's dotted name. [default: of the cams and "
    "dissect the backbone's last level; of a detection or region the last that is fine enough]",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    help="Of integrated-gradients: points [default: 64]; of maximise: gradient steps [default: 256].",
)
@click.option(
    "--patch",
    metavar="PX",
    type=click.IntRange(1),
    help="Of occlusion: side of the patch, network pixels. [default: an eighth of the shorter side]",
)
@click.option(
    "--stride", metavar="PX", type=click.IntRange(1), help="Of occlusion: its step. [default: half the patch]"
)
@click.option(
    "--batch-size", type=click.IntRange(1), help="Inputs computed at once. [default: by the method]"
)
@network_options
@worst_options
@click.option(
    "--conf", "confidence", type=Share(0, 1), help="Least score of a detection. [default: the model's]"
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Results. [default: runs/explain/NNN]")
@device_option
@max_pixels_option
@json_option
def command(
    image: str | None,
    weights: str | None,
    method: str | None,
    target: str | None,
    batch_size: int | None,
    confidence: float | None,
    out: Path | None,
    device: str,
    max_pixels: int,
    as_json: bool,
    **given: Any,
) -> None:
    """Show where on IMAGE a prediction comes from: a map over the picture, and the map as numbers.

    The number that is explained is a logit: of a classifier's class, of one detection, or the mean over the
    pixels of a class. A small object may leave no trace in the last layer: name an earlier one. OUT receives
    a PNG, the map as .npy (float32, height x width of IMAGE) and explanation.json.

    \b
    visiontasks explain cat.jpg -w torchvision:resnet18
    visiontasks explain street.jpg -w runs/segmentation/camvid --target car --layer backbone.layer3
    visiontasks explain cells.png -w runs/detection/bccd --target '#2' --method occlusion

    Without IMAGE the network itself is looked at: filters (the weights of its convolutions as pictures),
    top-patches (what in a data set excites each unit of a layer most), dissect (which units stand for which
    classes of a segmentation), maximise (the picture, grown from noise, that a unit or class answers to
    most).

    \b
    visiontasks explain -w torchvision:alexnet --method filters --gabor
    visiontasks explain -w runs/classification/cifar10 --method top-patches --layer stages.1 --units 0-63
    visiontasks explain -w runs/classification/cifar10 --method maximise --target cat
    visiontasks explain -w torchvision:resnet18 --method dissect --data camvid.yaml --layer layer3

    --worst N shows where a model fails: the N errors on a data set that cost its metric most, each with the
    truth, the prediction and maps of both classes (by default at a layer that is fine enough for the error's
    size), on one sheet, worst.png, and in worst.json.

    \b
    visiontasks explain --worst 20 -w runs/detection/bccd
    visiontasks explain --worst 20 -w runs/segmentation/camvid --split val
    """
    worst = given.pop("worst")
    options = _typed(**given)
    of_pictures = {"max_pixels": max_pixels} if is_given("max_pixels") else {}
    if worst is not None:
        _check_method(method or "grad-cam", [name for name in options if name in OPTIONS_OF])
        options |= _typed(method=method, target=target, batch_size=batch_size) | of_pictures
        run_worst(worst, image, weights, confidence, out, device, as_json, options)
        return
    options |= _typed(batch_size=batch_size)
    if method in NETWORK_METHODS:
        options |= _typed(target=target, conf=confidence) | of_pictures
        run_network_method(method, image, weights, out, device, as_json, options)
        return
    chosen = method or "grad-cam"
    _check_method(chosen, options)
    if image is None:
        raise UsageError(f"expected a picture for --method {chosen}, found none; give IMAGE")
    from visiontasks import api
    from visiontasks.cli.predict import default_model
    from visiontasks.engine.results import result_folder
    from visiontasks.explain.picture import Method

    how = Method(name=method, **options)
    model = api.load(
        weights or default_model("classification"),
        device=device,
        precision="fp32",
        options={} if confidence is None else {"confidence": confidence},
    )
    began = time.perf_counter()
    explanation = model.explain(Path(image), target, how, max_pixels=max_pixels)
    milliseconds = 1000 * (time.perf_counter() - began)
    folder = result_folder("explain", out, [Path(image)])
    record = _write(explanation, folder, image, model.name)
    if as_json:
        echo_file(folder / "explanation.json")
    more = "" if explanation.gap is None else f", sum off by {explanation.gap:.1%}"
    more += f", layer {explanation.layer}" if explanation.layer else ""
    click.echo(
        f"{image}  predicted {explanation.predicted}; {explanation.subject}{more}  {milliseconds:.0f} ms; "
        f"{folder / record['picture']}",
        err=as_json,
    )


def _typed(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _check_method(chosen: str, options: Iterable[str]) -> None:
    """Raises: UsageError for an option of another method."""
    for name in options:
        if chosen not in OPTIONS_OF.get(name, ()):
            owners = " or ".join((*OPTIONS_OF.get(name, ()), *METHODS_OF.get(name, ())))
            flag, owner = name.replace("_", "-"), f"--method {owners}" if owners else "--worst N"
            raise UsageError(f"expected --{flag} with {owner}, found --method {chosen}; leave it out")


def _write(explanation: Explanation, folder: Path, image: str, model: str) -> dict[str, Any]:
    """The picture, the map and explanation.json, whose content is returned."""
    import io

    import numpy as np

    from visiontasks.engine.faults import run_faults
    from visiontasks.io.files import write_atomic, write_json
    from visiontasks.io.images import encode

    stem = f"{Path(image).stem}-{explanation.method}"
    buffer = io.BytesIO()
    np.save(buffer, explanation.values)
    write_atomic(folder / f"{stem}.npy", buffer.getvalue())
    with run_faults("take a smaller picture"):
        write_atomic(folder / f"{stem}.png", encode(explanation.draw(), ".png"))
    record = {
        "file": image,
        "model": model,
        "method": explanation.method,
        "layer": explanation.layer or None,
        "target": explanation.target,
        "logit": explanation.score,
        "predicted": explanation.predicted,
        "gap": explanation.gap,
        "box": None if explanation.box is None else list(explanation.box),
        "point": None if explanation.point is None else list(explanation.point),
        "picture": f"{stem}.png",
        "map": f"{stem}.npy",
    }
    write_json(folder / "explanation.json", record)
    return record
