"""`visiontasks detect`: which objects are on pictures, and where."""

from __future__ import annotations

from typing import Any, Final

import click

from visiontasks.cli.options import Share
from visiontasks.cli.predict import prediction_options, run_prediction, tile_options

METHODS: Final = ("faster-rcnn", "fast-rcnn", "sliding-window")
MOST_IN_TILES: Final = 10_000  # objects on a picture that is looked at in tiles, unless --max-det says else


@click.command("detect")
@prediction_options(formats=("json", "csv", "coco", "yolo", "voc"))
@click.option("--conf", "confidence", type=Share(0, 1), help="Least score. [default: the model's]")
@click.option(
    "--iou",
    type=Share(0, 1),
    help="Largest IoU of two boxes of a class (NMS). [default: the model's]",
)
@click.option(
    "--max-det",
    "max_detections",
    type=click.IntRange(1),
    help="Most boxes per picture. [default: the model's; with --tile 10000]",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help="Refuse weights of another; sliding-window takes a classifier's, too. [default: the model's]",
)
@tile_options()
def command(
    confidence: float | None, iou: float | None, max_detections: int | None, tile: int | None, **flags: Any
) -> None:
    """Find objects: IMAGES are files, videos, folders or globs.

    \b
    visiontasks detect photo.jpg -w runs/detection/bccd
    visiontasks detect 'photos/*.jpg' -w coco --conf 0.3 --format coco -o results
    visiontasks detect slide.png -w runs/detection/bccd --tile 640
    visiontasks detect clip.mp4 -w runs/detection/bccd
    """
    if max_detections is None and tile is not None:
        max_detections = MOST_IN_TILES
    given = {"confidence": confidence, "iou": iou, "max_detections": max_detections}
    options = {name: float(value) for name, value in given.items() if value is not None}
    run_prediction("detection", options=options, tile=tile, **flags)
