"""`visiontasks classify`: what is on pictures."""

from __future__ import annotations

from typing import Any

import click

from visiontasks.cli.predict import prediction_options, run_prediction


@click.command("classify")
@prediction_options(formats=("json", "csv"))
def command(**options: Any) -> None:
    """Say what is on each picture: IMAGES are files, videos, folders or globs.

    \b
    visiontasks classify photo.jpg -w runs/classification/shapes
    visiontasks classify 'photos/*.jpg' -w torchvision:resnet50 --format csv -o results
    """
    run_prediction("classification", **options)
