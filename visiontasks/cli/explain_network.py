"""The methods of `visiontasks explain` that look at the network itself: filters, top-patches and others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from visiontasks.cli.options import SEED, Share, echo_file
from visiontasks.errors import UsageError, number_of

if TYPE_CHECKING:
    from visiontasks.explain.gabor import Gabors
    from visiontasks.model import Model

F = TypeVar("F", bound=Callable[..., Any])

NOISE_FILTERS: Final = 64  # that the share explained is compared with
OPTIONS_OF: Final = {  # option -> the methods of this file that have it
    "layer": ("top-patches", "dissect", "maximise"),
    "target": ("maximise",),
    "steps": ("maximise",),
    "batch_size": ("top-patches", "dissect"),
    "gabor": ("filters",),
    "plane": ("filters",),
    "data": ("top-patches", "dissect"),
    "split": ("top-patches", "dissect"),
    "workers": ("top-patches", "dissect"),
    "max_skip": ("top-patches", "dissect"),
    "active": ("dissect",),
    "patches": ("top-patches",),
    "units": ("top-patches",),
    "unit": ("maximise",),
    "size": ("maximise",),
    "seed": ("maximise",),
}


def network_options(command: F) -> F:
    """The flags that only these methods have; each is None where it is not given."""
    options = [
        click.option(
            "--gabor", is_flag=True, default=None, help="Of filters: fit Gabor functions to the first layer."
        ),
        click.option(
            "--plane",
            type=click.Choice(("luminance", "mean", "principal")),
            help="Of --gabor: what of a colour filter is fitted. [default: luminance]",
        ),
        click.option(
            "--data",
            metavar="DATA",
            help="Of top-patches, dissect and --worst: a DATA.yaml or config. [default: the model's own]",
        ),
        click.option(
            "--split",
            type=click.Choice(("train", "val", "test")),
            help="Of top-patches, dissect and --worst: part of the data. [default: test]",
        ),
        click.option(
            "--patches", type=click.IntRange(1), help="Of top-patches: how many a unit. [default: 9]"
        ),
        click.option("--units", metavar="0-63,80", help="Of top-patches: which are drawn. [default: all]"),
        click.option(
            "--active",
            metavar="SHARE",
            type=Share(0, 1, min_open=True, max_open=True),
            help="Of dissect: share of the positions at which a unit counts as active. [default: 0.005]",
        ),
        click.option("--unit", type=click.IntRange(0), help="Of maximise: a channel of --layer."),
        click.option("--size", metavar="HxW", help="Of maximise: the picture's. [default: the model's own]"),
        click.option("--seed", type=SEED, help="Of maximise: of the noise it begins with. [default: 0]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def run_network_method(
    method: str,
    image: str | None,
    weights: str | None,
    out: Path | None,
    device: str,
    as_json: bool,
    given: Mapping[str, Any],
) -> None:
    """Run one of the methods, write its pictures and tables and explanation.json, print one line.

    Args:
        method: a key of `METHODS`. image, weights, out, device, as_json: as typed.
        given: the other options that were typed.

    Raises:
        UsageError: an option of another method, or one that is missing; and what the methods raise.
    """
    if image is not None:
        raise UsageError(f"expected no picture with --method {method}, found {image}; leave it out")
    for name in given:
        if method not in OPTIONS_OF.get(name, ()):
            owners = " or ".join(OPTIONS_OF.get(name, ())) or "--worst N or another method"
            name = name.replace("_", "-")
            raise UsageError(f"expected --{name} with {owners}, found --method {method}; leave it out")
    from visiontasks import api
    from visiontasks.cli.predict import default_model
    from visiontasks.engine.results import result_folder
    from visiontasks.io.files import write_json

    precision = "auto" if method == "top-patches" else "fp32"
    model = api.load(weights or default_model("classification"), device=device, precision=precision)
    folder = result_folder("explain", out)
    found, line = METHODS[method](model, folder, **given)
    record = {"model": model.name, "method": method, **found}
    write_json(folder / "explanation.json", record)
    if as_json:
        echo_file(folder / "explanation.json")
    click.echo(f"{line}; {folder}", err=as_json)


def _filters(
    model: Model[Any], folder: Path, gabor: bool = False, plane: str | None = None
) -> tuple[dict[str, Any], str]:
    """filters.png (the first layer), layers.png (all), and with `gabor` the fits as PNG and CSV."""
    from visiontasks.explain import filters

    if plane is not None and not gabor:
        raise UsageError("expected --plane beside --gabor, found it alone; add --gabor")
    layers = filters.convolutions(model.opened.network)
    first = next((name for name, layer in layers.items() if layer.weight.shape[1] == 3), next(iter(layers)))
    weights = filters.weights_of(layers[first])
    _write_picture(folder / "filters.png", filters.draw_filters(weights))
    sheet, shown = filters.draw_layers(layers)
    _write_picture(folder / "layers.png", sheet)
    for name, layer in layers.items():
        click.echo(f"{name}  {filters.describe(layer)}{'' if name in shown else ', not drawn'}", err=True)
    record: dict[str, Any] = {
        "first": first,
        "layers": {name: filters.describe(layer) for name, layer in layers.items()},
    }
    line = f"{len(layers)} convolutions, the first is {first} ({filters.describe(layers[first])})"
    if gabor:
        record["gabor"] = fitted = _gabors(weights, plane or "luminance", folder)
        line += (
            f"; Gabor functions explain {fitted['median']:.0%} of a filter's variance (median, "
            f"{fitted['plane']}), of white noise {fitted['noise']:.0%}"
        )
    return record, line


def _gabors(weights: Any, plane: str, folder: Path) -> dict[str, Any]:
    import numpy as np

    from visiontasks.explain import filters
    from visiontasks.explain.gabor import explained_of_noise, fit_gabors, planes_of
    from visiontasks.io.files import write_csv

    planes, in_plane = planes_of(weights, plane)
    fits: Gabors = fit_gabors(planes)
    _write_picture(folder / "gabor.png", filters.draw_gabors(planes, fits))
    header, rows = filters.gabor_table(fits, in_plane)
    write_csv(folder / "gabor.csv", header, rows)
    noise = explained_of_noise((planes.shape[1], planes.shape[2]), NOISE_FILTERS, seed=0)
    return {
        "plane": plane,
        "median": float(np.nanmedian(fits.explained)),
        "noise": noise,
        "above_noise": float(np.mean(fits.explained > noise)),
        "filters": [dict(zip(header, row, strict=True)) for row in rows],
    }


def _top_patches(
    model: Model[Any],
    folder: Path,
    layer: str | None = None,
    units: str | None = None,
    patches: int = 9,
    **how: Any,
) -> tuple[dict[str, Any], str]:
    """top-patches-NNN.png, up to 64 units each, named by the first."""
    from visiontasks import api
    from visiontasks.engine.log import Report
    from visiontasks.explain.features import receptive_field
    from visiontasks.explain.top_patches import check_unit, draw_sheets, patch_records

    if layer is None:
        raise UsageError(
            "expected --layer with --method top-patches, found none; visiontasks inspect lists them"
        )
    chosen = None if units is None else parse_units(units)
    if chosen is not None:  # before the pass over the data
        row = receptive_field(model.opened.network, layer, model.opened.input.size)
        check_unit(max(chosen), row.output[0])
    top, field, source = api.top_patches(model, layer, patches, report=Report(), **how)
    wanted = list(range(len(top.scores))) if chosen is None else chosen
    sheets = []
    for page, sheet in draw_sheets(top, field, lambda place: source[place].image, wanted):
        sheets.append(f"top-patches-{page[0]:03}.png")
        _write_picture(folder / sheets[-1], sheet)
    sees = "the whole picture"
    if field.receptive_field is not None:
        sees = f"{field.receptive_field[0]}x{field.receptive_field[1]} network pixels"
    record = {
        "layer": layer,
        "receptive_field": field.receptive_field,
        "sheets": sheets,
        "units": patch_records(top, field, source.files, wanted),
    }
    over = number_of(len(source), "picture")
    return record, f"{number_of(len(wanted), 'unit')} of {layer}, which see {sees}, over {over}"


def parse_units(text: str) -> list[int]:
    """`0-3,7` -> [0, 1, 2, 3, 7]. Raises: UsageError."""
    units: dict[int, None] = {}
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,6})(?:-(\d{1,6}))?\s*", part)
        if found is None or int(found[2] or found[1]) < int(found[1]):
            raise UsageError(f"expected --units as numbers and ranges, for instance 0-63,80, found '{text}'")
        units.update(dict.fromkeys(range(int(found[1]), int(found[2] or found[1]) + 1)))
    return list(units)


def _dissect(
    model: Model[Any], folder: Path, layer: str | None = None, active: float | None = None, **how: Any
) -> tuple[dict[str, Any], str]:
    """dissection.csv (a row a unit) and concepts.png (the best units of each concept)."""
    from visiontasks import api
    from visiontasks.engine.log import Report
    from visiontasks.explain import dissect as room
    from visiontasks.io.files import write_csv

    found, layer, look = api.dissect(model, layer, share=active, report=Report(), **how)
    write_csv(folder / "dissection.csv", *room.unit_table(found))
    _write_picture(folder / "concepts.png", room.draw_concepts(found, look))
    concepts = room.concept_records(found)
    for one in concepts:
        click.echo(
            f"{one['concept']}  {one['share']:.1%} of the pixels; unit {one['unit']}, IoU {one['iou']:.3f} "
            f"(of as many pixels at most {one['reachable']:.3f}), "
            f"{number_of(len(one['detectors']), 'detector')}",
            err=True,
        )
    record = {
        "layer": layer,
        "active": found.share,
        "units": len(found.thresholds),
        "concepts": concepts,
        "table": "dissection.csv",
        "picture": "concepts.png",
    }
    count, kinds = (sum(map(of, (one["detectors"] for one in concepts))) for of in (len, bool))
    units = number_of(len(found.thresholds), "unit")
    line = (
        f"{units} of {layer}: {number_of(count, 'detector')} (IoU above {room.DETECTOR}) of {kinds} concepts"
    )
    return record, line


def _maximise(
    model: Model[Any],
    folder: Path,
    size: str | None = None,
    steps: int | None = None,
    **how: Any,
) -> tuple[dict[str, Any], str]:
    """maximise.png and the score before each step."""
    from visiontasks import api
    from visiontasks.cli.inspect import parse_size
    from visiontasks.explain.maximise import Priors

    priors = Priors() if steps is None else Priors(steps=steps)
    wanted = None if size is None else parse_size(size)
    found = api.maximise(model, size=wanted, priors=priors, **how)
    _write_picture(folder / "maximise.png", found.image)
    what = f"unit {how['unit']} of {how['layer']}" if "unit" in how else how.get("target") or "the surest"
    record = {**how, "score": found.score, "scores": list(found.scores), "picture": "maximise.png"}
    return record, f"{what}: from {found.scores[0]:.3g} on noise to {found.score:.3g} in {priors.steps} steps"


def _write_picture(path: Path, image: Any) -> None:
    from visiontasks.io.files import write_atomic
    from visiontasks.io.images import encode

    write_atomic(path, encode(image, ".png"))


METHODS: Final[dict[str, Callable[..., tuple[dict[str, Any], str]]]] = {
    "filters": _filters,
    "top-patches": _top_patches,
    "dissect": _dissect,
    "maximise": _maximise,
}
