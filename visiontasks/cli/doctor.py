"""`visiontasks doctor`: what this installation runs on, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys

import click

from visiontasks.cli.options import json_option

NEEDED = (
    "opencv-python-headless",
    "albumentations",
    "pycocotools",
    "click",
    "pydantic",
    "PyYAML",
    "rich",
    "safetensors",
    "numpy",
    "pillow",
    "matplotlib",
)
OPTIONAL = {"timm": "backbones timm/NAME", "tensorboard": "training curves in TensorBoard"}
OPENCV = (
    "opencv-python",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-contrib-python-headless",
)


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Versions, device and precision, and what is missing. Exit code 1 when something needs attention."""
    facts, problems = diagnose()
    if as_json:
        click.echo(json.dumps({"facts": facts, "problems": problems}, indent=2))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            click.echo(f"{name:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
        for problem in problems:
            click.echo(f"problem: {problem}", err=True)
        if not problems:
            click.echo("nothing is missing", err=True)
    sys.exit(1 if problems else 0)


def diagnose() -> tuple[dict[str, object], list[str]]:
    """(facts by name, problems as lines that say what to do)."""
    problems = []
    installed = [name for name in OPENCV if _version(name)]
    if len(installed) > 1:
        problems.append(
            f"{len(installed)} builds of OpenCV overwrite each other ({', '.join(installed)}); "
            f"pip uninstall -y {' '.join(installed)} && pip install opencv-python-headless"
        )
    try:
        from visiontasks.engine.device import choose_device, environment

        facts = environment(choose_device())
    except (ImportError, RuntimeError) as error:  # a torch and a torchvision that do not belong together
        problems.append(
            f"torch or torchvision cannot be imported ({error}); pip install --upgrade torch torchvision"
        )
        facts = {"python": sys.version.split()[0]}
    for name in NEEDED:
        facts[name] = _version(name) or "missing"
    for name, use in OPTIONAL.items():
        facts[name] = _version(name) or f"not installed ({use}: pip install {name})"
    if facts["albumentations"] not in ("2.0.8", "missing"):
        problems.append(
            f"expected albumentations 2.0.8, found {facts['albumentations']}; "
            "pip install albumentations==2.0.8"
        )
    problems += [
        f"{name} is missing; pip install {name}" for name, value in facts.items() if value == "missing"
    ]
    return facts, problems


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
