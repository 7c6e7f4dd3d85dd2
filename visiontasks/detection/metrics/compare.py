"""Evaluation of a file of predictions against a file of truth: no model, no pictures decoded, no torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from visiontasks.classes import ClassMap, class_name, join_classes
from visiontasks.detection.datasets.coco import read_coco_file
from visiontasks.detection.datasets.repair import warn_if_outside
from visiontasks.detection.datasets.voc import read_voc_folder
from visiontasks.detection.datasets.yolo import read_yolo_labels
from visiontasks.detection.datasets.yolo_yaml import read_names
from visiontasks.detection.metrics.coco import MAX_DETECTIONS
from visiontasks.detection.metrics.evaluator import DetectionEvaluator
from visiontasks.detection.metrics.prediction_files import read_predictions
from visiontasks.detection.metrics.results import join_annotations
from visiontasks.detection.types import Annotations
from visiontasks.errors import DataError
from visiontasks.io.location import describe_folder
from visiontasks.io.pictures import picture_sizes, pictures_below
from visiontasks.ledger import Ledger

_log = logging.getLogger(__name__)


def compare(truth: Path, predictions: Path, options: Mapping[str, Any]) -> DetectionEvaluator:
    """Measure predictions against the truth, picture by picture; every picture of the truth counts.

    Args:
        truth: COCO's JSON; a folder of VOC's XML files; a folder of YOLO's text files, `labels` beside the
            pictures' `images`.
        predictions: COCO's results, predictions.json, a folder of YOLO's rows with a score, of VOC's XML
            files with a score in each object.
        options: `classes`: all names in order, where the files of truth do not name each.
            `map_class`: {name in the predictions: name in the truth}.
            `max_detections`: of a class on a picture that COCO's numbers look at; by default 100.

    Raises: DataError for a fault of a file, unknown classes and pictures, numbers that are not finite.
    """
    ledger = Ledger()
    given = options.get("classes")
    wanted = ClassMap(tuple(class_name(name) for name in given)) if given else None
    classes, true = _read_truth(truth, wanted, ledger)
    renamed = {old: class_name(new) for old, new in dict(options.get("map_class") or {}).items()}
    for new in renamed.values():
        classes.index(new, where="--map-class")
    found = read_predictions(predictions, true, classes, renamed, ledger)
    for line in ledger.summary():
        _log.warning(line)
    warn_if_outside(true, str(truth))
    warn_if_outside(found, str(predictions))
    evaluator = DetectionEvaluator(classes, int(options.get("max_detections") or MAX_DETECTIONS))
    evaluator.add(true.image_ids, join_annotations(true, found, len(classes)))
    return evaluator


def _read_truth(path: Path, wanted: ClassMap | None, ledger: Ledger) -> tuple[ClassMap, Annotations]:
    if not path.is_dir():
        if path.suffix.lower() != ".json":
            raise DataError(
                f"{path}: expected COCO's JSON, or a folder of VOC's or YOLO's files, found '{path.name}'"
            )
        classes, true = read_coco_file(path, ledger)
        if wanted is None:
            return classes, true
        index = join_classes(wanted, classes, ours_name="--classes", theirs_name=str(path))
        ids = dict(zip(index.tolist(), classes.file_ids, strict=True))
        ordered = ClassMap(wanted.names, tuple(ids[place] for place in range(len(wanted))))
        return ordered, replace(true, labels=index[true.labels])
    if any(path.rglob("*.xml")):
        return read_voc_folder(path, ledger, wanted)
    if any(path.rglob("*.txt")):
        return _read_yolo(path, wanted, ledger)
    raise DataError(f"{path}: expected VOC's XML files or YOLO's text files, found {describe_folder(path)}")


def _read_yolo(labels: Path, wanted: ClassMap | None, ledger: Ledger) -> tuple[ClassMap, Annotations]:
    """`data/labels/test`, whose pictures are in `data/images/test` (else beside the text files)."""
    parts = list(labels.parts)
    if "labels" in parts:
        parts[len(parts) - 1 - parts[::-1].index("labels")] = "images"
    pictures = Path(*parts)
    files = pictures_below(pictures, "", ledger) if pictures.is_dir() else []
    if not files:
        raise DataError(f"{labels}: expected pictures in {pictures}, whose sizes the rows need, found none")
    classes = wanted or _names_above(labels)
    sizes = picture_sizes(pictures, files)
    return classes, read_yolo_labels(labels, files, sizes, classes, ledger, scores=False)


def _names_above(folder: Path) -> ClassMap:
    """The names of classes in the nearest folder that has them."""
    folders: Sequence[Path] = [folder, *Path(os.path.abspath(folder)).parents][:3]
    for place in folders[:-1]:
        try:
            return ClassMap(read_names(place, ()))
        except DataError:
            continue
    return ClassMap(read_names(folders[-1], ()))
