"""Format `coco`: one JSON file a split, with `images`, `annotations` and `categories`.

Boxes are x, y, width, height in px. Class order: by category id; the ids are kept as `file_ids`. Polygons and
run lengths are checked and left alone. A key `difficult` of an annotation, ours, carries VOC's flag.
The file is read record by record into arrays: memory for the arrays, not for 200 MB of Python objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from visiontasks.classes import ClassMap
from visiontasks.detection.config import DataConfig
from visiontasks.detection.datasets.coco_tables import Tables
from visiontasks.detection.datasets.packing import Found, fill_sizes, take_pictures
from visiontasks.detection.datasets.usable import clean_paths, each_once, inside_root
from visiontasks.detection.types import Annotations
from visiontasks.io.coco_lists import Id, read_lists
from visiontasks.io.files import write_json
from visiontasks.io.location import split_path
from visiontasks.io.pictures import as_prefix, pictures_folder
from visiontasks.ledger import Ledger
from visiontasks.ops.boxes import xyxy_to_xywh


def read_coco(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Found:
    """List the boxes of a split.

    Args:
        root: the data's folder; `location`: the split's JSON file below it.
        config: `images` is the folder of the pictures; else it is looked for.
        ledger: receives what is filled in or dropped.

    Raises: DataError as `read_coco_file`; a path that leaves root; no pictures where they are looked for.
    """
    file = split_path(root, location, "a JSON file")
    tables = _read(file, ledger)
    classes, found = tables.packed()

    def where(place: int) -> tuple[str, str]:
        return str(file), f"images[{tables.image_numbers[place]}]"

    names, places = clean_paths(found.files, root, where, ledger)
    once = each_once(names, lambda i: where(int(places[i])), ledger)
    names, places = [names[i] for i in once.tolist()], places[once]
    stem = file.stem.removeprefix("instances_")
    beside = as_prefix(str(Path(location).parent))
    folders = ("", beside, "images/", f"{stem}/", f"images/{stem}/", f"{beside}{stem}/", f"{beside}images/")
    folder = pictures_folder(root, config.images, names, folders, file)
    files = [folder + name for name in names]
    inside = inside_root(root, files, lambda i: where(int(places[i])), ledger)
    found = take_pictures(found, places[inside])
    found.files = [files[i] for i in inside.tolist()]
    return Found(classes, fill_sizes(root, found), partial(_where, str(file)))


def _where(file: str, picture: str, record: int) -> tuple[str, str]:
    return file, f"annotations[{record}]"


def read_coco_file(file: Path, ledger: Ledger) -> tuple[ClassMap, Annotations]:
    """Read a file of ground truth.

    Args:
        file: JSON. `files` of the result are the `file_name`s as written, `image_ids` COCO's numbers.
        ledger: missing `info`, `iscrowd`, `area` and ids, ids that are text, and the annotation id 0 are
            repaired, bad polygon parts dropped, and records with neither a box nor a polygon, all counted.

    Raises:
        DataError: no such file or no JSON; a list or key is missing; numbers that are not finite; an id
            twice; an unknown picture or category; `ignore` without `iscrowd`; a run length of another size.
    """
    return _read(file, ledger).packed()


def _read(file: Path, ledger: Ledger) -> Tables:
    tables = Tables(str(file), ledger)
    keys = read_lists(file, tables, tables.add_annotation)
    if "info" not in keys:
        ledger.add("repaired", file, "no 'info': left empty")
    return tables


def write_coco(file: Path, classes: ClassMap, annotations: Annotations) -> None:
    """Write ground truth as COCO's document, or predictions (with scores) as COCO's list of results.

    Category ids are the classes' file ids where these are numbers, else 1, 2, ...; ids of pictures as they
    are where these are numbers, else 1, 2, ... in truth, and texts in results.

    Raises: RunError when it can't be written.
    """
    ids: Sequence[Id] = annotations.image_ids
    if annotations.scores is None and any(isinstance(ident, str) for ident in ids):
        ids = range(1, len(annotations) + 1)
    numbers = classes.file_ids
    if not numbers or any(isinstance(number, str) for number in numbers):
        numbers = tuple(range(1, len(classes) + 1))
    records = _records(annotations, ids, numbers)
    if annotations.scores is not None:
        scores = annotations.scores.tolist()
        write_json(
            file, [{**record, "score": s} for record, s in zip(records, scores, strict=True)], indent=None
        )
        return
    columns = (annotations.area, annotations.crowd.astype(int), annotations.difficult)
    truth = []
    for i, (record, area, crowd, difficult) in enumerate(
        zip(records, *(column.tolist() for column in columns), strict=True), start=1
    ):
        flag = {"difficult": 1} if difficult else {}
        truth.append({"id": i, **record, "area": area, "iscrowd": crowd, **flag})
    images = [
        {"id": ident, "file_name": name, "height": height, "width": width}
        for ident, name, (height, width) in zip(
            ids, annotations.files, annotations.sizes.tolist(), strict=True
        )
    ]
    categories = [{"id": i, "name": name} for i, name in zip(numbers, classes.names, strict=True)]
    write_json(
        file, {"info": {}, "images": images, "annotations": truth, "categories": categories}, indent=None
    )


def _records(annotations: Annotations, ids: Sequence[Id], numbers: Sequence[Id]) -> list[dict[str, Any]]:
    """What truth and results both say of a box."""
    columns = (annotations.picture, annotations.labels, xyxy_to_xywh(annotations.boxes))
    return [
        {"image_id": ids[picture], "category_id": numbers[label], "bbox": box}
        for picture, label, box in zip(*(column.tolist() for column in columns), strict=True)
    ]
