"""`visiontasks segment`: which class each pixel of pictures has."""

from __future__ import annotations

from typing import Any

import click

from visiontasks.cli.predict import prediction_options, run_prediction, tile_options


@click.command("segment")
@prediction_options(formats=("json", "csv", "colour", "ids", "coco"))
@tile_options()
def command(**flags: Any) -> None:
    """Say which class each pixel of pictures has: IMAGES are files, videos, folders or globs.

    Each picture gets an index mask (masks/NAME.png, VOC's palette), a drawing with a legend, and the share
    of each class in predictions.json. Formats: csv (shares.csv), colour (colour-coded masks), ids (masks
    with the data set's own values), coco (run lengths).

    \b
    visiontasks segment photo.jpg -w runs/segmentation/camvid_unet
    visiontasks segment 'photos/*.jpg' -w model.safetensors --format csv -o results
    visiontasks segment aerial.tif -w runs/segmentation/fields --tile 512
    visiontasks segment clip.mp4 -w runs/segmentation/camvid_unet
    """
    run_prediction("segmentation", **flags)
