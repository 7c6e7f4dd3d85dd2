"""`visiontasks evaluate`: a model on a data set, or files of predictions against files of truth."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import click

from visiontasks.classes import parse_class_mapping
from visiontasks.cli.options import Share, device_option, is_given, json_option, precision_option
from visiontasks.errors import UsageError
from visiontasks.tasks import TASKS

MODEL_FLAGS = ("split", "data", "batch_size", "workers", "device", "precision", "max_skip", "strict")
FILE_FLAGS = ("classes", "ignore", "max_detections")
FLAG_TASKS = {"ignore": "segment", "max_detections": "detect"}  # flags that one verb alone has


@click.command("evaluate")
@click.argument("model", required=False, metavar="WEIGHTS|RUN")
@click.option(
    "--split",
    default="test",
    show_default=True,
    type=click.Choice(["train", "val", "test"]),
    help="Part of the data.",
)
@click.option(
    "--data",
    type=click.Path(),
    help="DATA.yaml (the data: section of a config), or a config. [default: the model's own]",
)
@click.option(
    "--task",
    type=click.Choice(sorted(TASKS.values())),
    help="For files without a model (and as a check with one).",
)
@click.option("--truth", type=click.Path(path_type=Path), help="File or folder of the truth; needs no model.")
@click.option("--predictions", type=click.Path(path_type=Path), help="File or folder of the predictions.")
@click.option("-o", "--out", type=click.Path(), help="Folder for metrics, tables, plots and skipped.json.")
@click.option("--classes", metavar="A,B,C", help="All class names, where the files do not name each.")
@click.option(
    "--ignore", type=click.IntRange(0, 255), help="Value of masks that counts as no class. [default: 255]"
)
@click.option(
    "--max-det",
    "max_detections",
    type=click.IntRange(1),
    help="Best detections of a class on a picture that count. [default: 100]",
)
@click.option(
    "--map-class",
    "mapping",
    multiple=True,
    metavar="OLD=NEW",
    help="A class of the data under the model's name.",
)
@click.option("--batch-size", type=click.IntRange(1), help="Pictures per step. [default: the task's]")
@click.option(
    "--workers", type=click.IntRange(0), help="Processes that read pictures. [default: by the machine]"
)
@device_option
@precision_option
@click.option(
    "--max-skip",
    default=0.01,
    show_default=True,
    type=Share(0, 1),
    help="Largest share of unreadable pictures.",
)
@click.option("--strict", is_flag=True, help="Stop at what would be skipped or repaired.")
@json_option
def command(
    model: str | None,
    task: str | None,
    truth: Path | None,
    predictions: Path | None,
    mapping: tuple[str, ...],
    classes: str | None,
    ignore: int | None,
    max_detections: int | None,
    as_json: bool,
    out: str | None,
    **options: Any,
) -> None:
    """Measure a model (WEIGHTS or RUN) on a split, or --predictions against --truth without any model.

    \b
    visiontasks evaluate runs/classification/cifar10 --split test
    visiontasks evaluate weights.safetensors --data my_data.yaml
    visiontasks evaluate --task classify --truth t.csv --predictions p.csv
    """
    from visiontasks import api

    if truth is not None or predictions is not None:
        if task is None or truth is None or predictions is None or model is not None:
            raise UsageError(
                "without a model, give all of --task, --truth and --predictions (and no WEIGHTS)"
            )
        _refuse(MODEL_FLAGS, "--truth and --predictions")
        _refuse([flag for flag, verb in FLAG_TASKS.items() if verb != task], f"--task {task}")
        names = [name.strip() for name in classes.split(",")] if classes is not None else None
        numbers, protocol = api.compare(
            task,
            truth,
            predictions,
            map_class=parse_class_mapping(mapping),
            classes=names,
            ignore=ignore,
            max_detections=max_detections,
            out=out,
        )
    elif model is None:
        raise UsageError("expected WEIGHTS or RUN, or --task with --truth and --predictions; found neither")
    else:
        _refuse(FILE_FLAGS, "a model")
        from visiontasks.engine.log import Report

        loaded = api.load(model, task=task, device=options.pop("device"), precision=options.pop("precision"))
        numbers, protocol = api.measure(
            loaded, map_class=parse_class_mapping(mapping), out=out, report=Report(), **options
        )
    show(numbers, protocol, as_json=as_json)
    if out is not None:
        click.echo(f"written to {out}", err=True)


def _refuse(names: Collection[str], beside: str) -> None:
    """Raises: UsageError for a flag that has no effect here, rather than ignoring it."""
    for parameter in click.get_current_context().command.params:
        if parameter.name in names and is_given(parameter.name):
            raise UsageError(f"expected no {parameter.opts[0]} beside {beside}, found one; leave it out")


def show(numbers: Mapping[str, float], protocol: str, *, as_json: bool) -> None:
    """The numbers on the terminal: headline ones with their intervals first, then a row a class."""
    if as_json:
        clean = {name: None if math.isnan(value) else value for name, value in numbers.items()}
        click.echo(json.dumps({**clean, "protocol": protocol}))
        return
    plain = {name: value for name, value in numbers.items() if "@" not in name}
    width = max(len(name) for name in plain)
    for name, value in plain.items():
        low, high = numbers.get(f"{name}@low"), numbers.get(f"{name}@high")
        interval = f"  ({low:.4f} to {high:.4f})" if low is not None and high is not None else ""
        click.echo(f"{name:<{width}}  {'undefined' if math.isnan(value) else f'{value:.4f}'}{interval}")
    click.echo(f"protocol: {protocol}", err=True)
