"""`visiontasks attack`: how little it takes to fool a network, on pictures and over a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visiontasks.cli.options import (
    Share,
    device_option,
    echo_file,
    is_given,
    json_option,
    max_pixels_option,
    precision_option,
)
from visiontasks.errors import ImageError, UsageError, number_of
from visiontasks.tasks import load_task

if TYPE_CHECKING:
    from visiontasks.explain.attack import Attack
    from visiontasks.explain.robustness import Robustness
    from visiontasks.model import Model

METHODS = ("fgsm", "pgd")
EPSILONS = "0,1,2,4,8"


@click.command("attack")
@click.argument("images", nargs=-1)
@click.option("-w", "--weights", help="A bundled name, weights file, run or torchvision:NAME.")
@click.option("--method", default=METHODS[0], show_default=True, type=click.Choice(METHODS))
@click.option(
    "--epsilon",
    default=EPSILONS,
    show_default=True,
    metavar="E,E,...",
    help="Largest changes of a pixel's value, in 1/255 of the range, at the network's size.",
)
@click.option("--steps", type=click.IntRange(1), help="Steps of pgd. [default: 10]")
@click.option("--seed", type=click.IntRange(0), help="Of pgd's start and --max-images. [default: 0]")
@click.option(
    "--data", type=click.Path(), help="Without IMAGES: a DATA.yaml or config. [default: the model's own data]"
)
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), help="Part of the data. [default: test]"
)
@click.option("--max-images", type=click.IntRange(1), help="At most so many pictures of the data.")
@click.option("--batch-size", type=click.IntRange(1), help="Pictures per step. [default: the task's]")
@click.option(
    "--workers", type=click.IntRange(0), help="Processes that read pictures. [default: by the machine]"
)
@click.option("--max-skip", type=Share(0, 1), help="Largest share of unreadable pictures. [default: 0.01]")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Results. [default: runs/attack/NNN]")
@click.option("--task", help="classify, detect or segment, where torchvision's network could do several.")
@device_option
@precision_option
@max_pixels_option
@json_option
def command(
    images: tuple[str, ...],
    weights: str | None,
    method: str,
    epsilon: str,
    steps: int | None,
    seed: int | None,
    out: Path | None,
    task: str | None,
    device: str,
    precision: str,
    max_pixels: int,
    as_json: bool,
    **measure: Any,
) -> None:
    """Change IMAGES a little so that a model no longer says of them what it says now; or measure a data set.

    Of IMAGES the model's own prediction is what it is led away from, of a data set the truth. Pictures are
    changed at the network's size, rounded to 8 bits, and predicted from the PNG that is written. Without
    IMAGES all of a split is measured, or as many pictures of it as --max-images says.

    \b
    visiontasks attack photo.jpg -w runs/classification/cifar10 --epsilon 2,8
    visiontasks attack -w runs/classification/cifar10 --method pgd --max-images 1000
    """
    epsilons = parse_epsilons(epsilon)
    given = {name: value for name, value in measure.items() if value is not None}
    if images and given:
        flag = next(iter(given)).replace("_", "-")
        raise UsageError(f"expected pictures or a data set, found pictures and --{flag}; leave one out")
    if not images and is_given("max_pixels"):
        raise UsageError("expected pictures beside --max-pixels, found none; data sets have data.max_pixels")
    if method == "fgsm" and steps is not None:
        raise UsageError("expected --steps beside --method pgd, found it beside fgsm, which goes one step")
    if method == "fgsm" and seed is not None and "max_images" not in given:
        raise UsageError("expected --seed beside --method pgd or --max-images, found it alone")
    from visiontasks import api
    from visiontasks.cli.predict import default_model
    from visiontasks.engine.results import result_folder
    from visiontasks.explain.attack import Attack

    walk = {name: value for name, value in {"steps": steps, "seed": seed}.items() if value is not None}
    how = Attack(method, epsilons, **walk)
    paths = _inputs(images)
    name = weights or default_model(load_task(task or "classification").name)
    model = api.load(name, task=task, device=device, precision=precision)
    folder = result_folder("attack", out, paths)
    if images:
        _attack_pictures(model, paths, how, folder, max_pixels=max_pixels, as_json=as_json)
    else:
        _measure(model, how, folder, as_json=as_json, given=given)


def parse_epsilons(text: str) -> tuple[int, ...]:
    """`8,0,2` -> (0, 2, 8). Raises: UsageError for what is no whole number: 8-bit pictures hold no other."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) <= 255 for part in parts):
        raise UsageError(
            f"expected --epsilon with whole numbers from 0 to 255, for instance {EPSILONS}, found '{text}'"
        )
    return tuple(sorted({int(part) for part in parts}))


def _inputs(images: tuple[str, ...]) -> list[Path]:
    """Raises: UsageError where an input does not exist, or is a video."""
    from visiontasks.io.files import list_inputs
    from visiontasks.io.video import is_video

    paths = list_inputs(images) if images else []
    for path in paths:
        if is_video(path):
            raise UsageError(f"expected pictures to attack, found the video {path}; give one of its frames")
    return paths


def _attack_pictures(
    model: Model[Any], paths: list[Path], how: Attack, folder: Path, *, max_pixels: int, as_json: bool
) -> None:
    """A line a picture and strength; attack.json last. Exits with 1 when a picture could not be read."""
    from visiontasks import api
    from visiontasks.explain.attacked_pictures import write_attacked
    from visiontasks.explain.robustness import describe_attack
    from visiontasks.explaining.attack import victim_of
    from visiontasks.io.files import free_stem, write_json

    stems: set[str] = set()
    records, skipped = [], []
    victim = victim_of(model)
    for path in paths:
        try:
            found = api.attack(model, path, how, max_pixels=max_pixels)
        except ImageError as fault:
            skipped.append({"file": str(path), "reason": str(fault)})
            click.echo(f"skipped: {fault}", err=True)
            continue
        record = write_attacked(folder, free_stem(path.stem, stems), str(path), found, victim)
        records.append(record)
        for row in record["attacks"]:
            click.echo(_line(record, row), err=as_json)
    frame = {"task": model.task.name, "model": model.name, "classes": list(model.classes.names)}
    content = {**frame, **describe_attack(how), "images": records, "skipped": skipped}
    write_json(folder / "attack.json", content)
    if as_json:
        echo_file(folder / "attack.json")
    ending = f", skipped {len(skipped)}" if skipped else ""
    click.echo(f"{number_of(len(records), 'picture')}{ending}; {folder}", err=True)
    sys.exit(1 if skipped else 0)


def _line(record: dict[str, Any], row: dict[str, Any]) -> str:
    as_file = "" if row["as_file"] == row["after"] else f" (as a file: {row['as_file']})"
    said = f"{record['before']} -> {row['after']}{as_file}"
    return (
        f"{record['file']}  epsilon {row['epsilon']}  {said}  loss {record['loss']:.3g} -> {row['loss']:.3g}"
    )


def _measure(model: Model[Any], how: Attack, folder: Path, *, as_json: bool, given: dict[str, Any]) -> None:
    from visiontasks import api
    from visiontasks.engine.log import Report

    found = api.robustness(model, how, out=folder, report=Report(), **given)
    if as_json:
        echo_file(folder / "attack.json")
    else:
        _show(found)
    click.echo(f"protocol: {found.protocol}; written to {folder}", err=True)


def _show(found: Robustness) -> None:
    """A line a strength: the headline metric, with its interval where there is one."""
    name = found.headline
    for epsilon, numbers in found.numbers.items():
        low, high = numbers.get(f"{name}@low"), numbers.get(f"{name}@high")
        interval = "" if low is None or high is None else f"  ({low:.4f} to {high:.4f})"
        value = "undefined" if numbers[name] != numbers[name] else f"{numbers[name]:.4f}"
        click.echo(f"epsilon {epsilon:>3}  {name} {value}{interval}")
