"""A small drawn data set to start with: shapes on textured grounds, in the formats that users have.

    classification   train/<class>/000000.png ...                     a folder a class
    detection        images/train/000000.jpg ..., annotations/train.json    COCO
    segmentation     images/train/000000.jpg ..., masks/train/000000.png ..., classes.txt    index masks

A picture is a function of the seed, its split and its number: the same seed gives the same bytes, more
pictures leave the first ones as they are, and detection and segmentation draw the same scenes.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from visiontasks.classes import BACKGROUND
from visiontasks.data.recipes import (
    CLASSIFICATION_YAML,
    COCO_YAML,
    DATA_YAML,
    DETECTION_YAML,
    MASKS_YAML,
    SEGMENTATION_YAML,
)
from visiontasks.data.scenes import CLASSES, Picture, Shape, draw_picture
from visiontasks.errors import UsageError, unknown_name
from visiontasks.io.files import write_atomic, write_json
from visiontasks.io.images import encode, encode_mask

R = TypeVar("R")

SPLITS: Final = ("train", "val", "test")
HELD_OUT: Final = 0.15  # share of val, and of test
MARKER: Final = "drawn.json"  # written first: a folder that has it is ours, and may be drawn anew
CATEGORY_IDS: Final = (1, 3, 4, 8, 13, 21)  # with gaps, as COCO's are
VIEWS: Final = 6300  # pictures that a classifier's training run sees, over all epochs
SCENES: Final = 4200  # the same of the other tasks, whose pictures are larger


@dataclass(frozen=True, slots=True)
class DrawnShapes:
    """What was drawn. classes: names in the order of their indices. counts: pictures a split."""

    root: Path
    task: str
    classes: tuple[str, ...]
    counts: dict[str, int]
    config: Path  # for `visiontasks train`


def draw_shapes(
    out: Path, task: str, n: int, seed: int, *, size: tuple[int, int] | None = None, overwrite: bool = False
) -> DrawnShapes:
    """Draw a data set into a folder.

    Args:
        out: the folder; made if missing, else it must be empty.
        task: classification, detection or segmentation.
        n: number of pictures, at least 18; about 70% train, 15% val, 15% test, at least one a class in each.
        seed: at least 0.
        size: (height, width) in px, at least 32; None = 64x64 for classification, else 192x256.
        overwrite: draw anew into a folder that this function made; other folders are never emptied.

    Raises:
        UsageError: unknown task, a number out of range, or a folder that is not empty.
    """
    if task not in WRITERS:
        raise UsageError(unknown_name("task", task, WRITERS))
    counts = _split(n)
    size = size or ((64, 64) if task == "classification" else (192, 256))
    if seed < 0:
        raise UsageError(f"expected a seed of at least 0, found {seed}")
    if min(size) < 32:
        raise UsageError(f"expected a size of at least 32x32 pixels, found {size[0]}x{size[1]}; raise it")
    _make_room(out, overwrite)
    write_json(out / MARKER, {"task": task, "n": n, "seed": seed, "size": list(size)})
    return WRITERS[task](out, counts, seed, size)


def _split(n: int) -> dict[str, int]:
    least = len(CLASSES)
    if n < len(SPLITS) * least:
        raise UsageError(
            f"expected at least {len(SPLITS) * least} pictures (one a class in each split), "
            f"found {n}; raise it"
        )
    held_out = max(least, round(HELD_OUT * n))
    return {"train": n - 2 * held_out, "val": held_out, "test": held_out}


def _make_room(out: Path, overwrite: bool) -> None:
    """Refuse a folder that holds anything; with `overwrite`, empty it if it is ours."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"expected a folder to draw into, found the file {out}; choose another")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / MARKER).is_file():
        raise UsageError(f"expected an empty folder, found {out} with files of yours; choose another")
    if not overwrite:
        raise UsageError(
            f"expected an empty folder, found {out} with drawn shapes; choose another, or --overwrite"
        )
    for entry in out.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _rng(seed: int, split: str, i: int) -> np.random.Generator:
    return np.random.default_rng([seed, SPLITS.index(split), i])


def _scene(seed: int, split: str, i: int, size: tuple[int, int]) -> Picture:
    """One to seven shapes; the first one's class goes round, so that none is missing."""
    rng = _rng(seed, split, i)
    others = rng.integers(len(CLASSES), size=rng.integers(7)).tolist()
    return draw_picture(rng, size, [i % len(CLASSES), *others], radii=(0.06, 0.3))


def _for_each(count: int, work: Callable[[int], R]) -> list[R]:
    """work(0), work(1), ... on some threads: most of the time goes into waiting for the disk."""
    pool = ThreadPoolExecutor(8)
    try:
        return list(pool.map(work, range(count)))
    finally:
        pool.shutdown(cancel_futures=True)


def _write_classification(out: Path, counts: dict[str, int], seed: int, size: tuple[int, int]) -> DrawnShapes:
    def write_picture(split: str, i: int) -> None:
        label = i % len(CLASSES)
        picture = draw_picture(_rng(seed, split, i), size, [label], radii=(0.22, 0.4))
        write_atomic(out / split / CLASSES[label] / f"{i:06d}.png", encode(picture.image, ".png"))

    for split, count in counts.items():
        _for_each(count, partial(write_picture, split))
    half = (max(32, size[0] // 2), max(32, size[1] // 2))  # trains four times as fast, and shows enough
    config = _write_config(out, "classification", DATA_YAML, CLASSIFICATION_YAML, counts, half, VIEWS)
    return DrawnShapes(out, "classification", CLASSES, counts, config)


def _write_config(
    out: Path, task: str, data: str, recipe: str, counts: dict[str, int], size: tuple[int, int], views: int
) -> Path:
    """Write data.yaml and <task>.yaml. views: pictures that a run sees, over all epochs."""
    data = data.format(root=_quoted(out.resolve()))
    epochs = max(10, round(views / counts["train"]))
    config = recipe.format(
        data=textwrap.indent(data.rstrip(), "  "),
        height=size[0],
        width=size[1],
        epochs=epochs,
        warmup=epochs / 4,
    )
    write_atomic(out / "data.yaml", data)
    write_atomic(out / f"{task}.yaml", config)
    return out / f"{task}.yaml"


def _write_detection(out: Path, counts: dict[str, int], seed: int, size: tuple[int, int]) -> DrawnShapes:
    def write_picture(split: str, i: int) -> tuple[Shape, ...]:
        picture = _scene(seed, split, i, size)
        write_atomic(out / "images" / split / f"{i:06d}.jpg", encode(picture.image, ".jpg"))
        return picture.shapes

    for split, count in counts.items():
        shapes = _for_each(count, partial(write_picture, split))
        write_json(out / "annotations" / f"{split}.json", _coco(shapes, size), indent=None)
    config = _write_config(out, "detection", COCO_YAML, DETECTION_YAML, counts, size, SCENES)
    return DrawnShapes(out, "detection", CLASSES, counts, config)


def _coco(pictures: list[tuple[Shape, ...]], size: tuple[int, int]) -> dict[str, Any]:
    """The annotation document of a split; picture i is the file 00000i.jpg and has the id i + 1."""
    annotations = [
        {
            "id": number,
            "image_id": i + 1,
            "category_id": CATEGORY_IDS[shape.label],
            "bbox": list(shape.box),
            "area": shape.area,
            "segmentation": [polygon.ravel().tolist() for polygon in shape.polygons],
            "iscrowd": 0,
        }
        for number, (i, shape) in enumerate(
            ((i, shape) for i, shapes in enumerate(pictures) for shape in shapes), start=1
        )
    ]
    return {
        "info": {"description": "drawn shapes"},
        "images": [
            {"id": i + 1, "file_name": f"{i:06d}.jpg", "height": size[0], "width": size[1]}
            for i in range(len(pictures))
        ],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": "shape"}
            for number, name in zip(CATEGORY_IDS, CLASSES, strict=True)
        ],
    }


def _write_segmentation(out: Path, counts: dict[str, int], seed: int, size: tuple[int, int]) -> DrawnShapes:
    def write_picture(split: str, i: int) -> None:
        picture = _scene(seed, split, i, size)
        write_atomic(out / "images" / split / f"{i:06d}.jpg", encode(picture.image, ".jpg"))
        write_atomic(out / "masks" / split / f"{i:06d}.png", encode_mask(picture.mask))

    for split, count in counts.items():
        _for_each(count, partial(write_picture, split))
    names = (BACKGROUND, *CLASSES)
    write_atomic(out / "classes.txt", "".join(f"{name}\n" for name in names))
    config = _write_config(out, "segmentation", MASKS_YAML, SEGMENTATION_YAML, counts, size, SCENES)
    return DrawnShapes(out, "segmentation", names, counts, config)


def _quoted(path: Path) -> str:
    """A path as a YAML scalar: single-quoted, so that no character in it means anything."""
    return "'" + str(path).replace("'", "''") + "'"


Writer = Callable[[Path, dict[str, int], int, tuple[int, int]], DrawnShapes]
WRITERS: Final[dict[str, Writer]] = {
    "classification": _write_classification,
    "detection": _write_detection,
    "segmentation": _write_segmentation,
}
