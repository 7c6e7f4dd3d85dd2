"""Evaluation of a folder of masks against a folder of true ones: no model, no pictures, no torch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap, class_name, join_classes
from visiontasks.errors import DataError, UsageError, unknown_name
from visiontasks.io.files import is_picture, read_document, safe_path
from visiontasks.io.images import read_mask
from visiontasks.io.location import describe_folder
from visiontasks.segmentation.metrics.confusion import unknown_values
from visiontasks.segmentation.metrics.evaluator import SegmentationEvaluator
from visiontasks.segmentation.types import IGNORE, Mask

SHOWN: Final = 5  # names that a message lists
RESULTS: Final = "predictions.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answers:
    """The masks that a prediction command, or somebody, wrote.

    files: {key: path}. skipped: keys of pictures that were tried and not read: they count as wrong.
    classes: the names of the indices, where predictions.json says them.
    """

    files: dict[str, Path]
    skipped: frozenset[str] = frozenset()
    classes: tuple[str, ...] = ()


def compare(truth: Path, predictions: Path, options: Mapping[str, Any]) -> SegmentationEvaluator:
    """Measure masks against true ones, matched by name without suffix.

    Where two masks of a folder have one name, in different folders below it, they are matched by path.

    Args:
        truth: folder of index masks; values are places in `classes`.
        predictions: folder of index masks, or one that `visiontasks segment` wrote (with predictions.json).
        options: `classes`: names in the order of the truth's values; None = those of predictions.json.
            `map_class`: {name in predictions.json: name in the truth}. `ignore`: a value of the truth that
            counts nowhere, as 255 does; None = no other.

    Raises: DataError for a fault of a file, unknown values, a mask that only one side has. UsageError when no
        classes are named.
    """
    answers = _read_answers(predictions, dict(options.get("map_class") or {}))
    names = options.get("classes") or answers.classes
    if not names:
        raise UsageError(f"expected the names of the classes: {predictions} has none; give --classes a,b,c")
    classes = ClassMap(tuple(class_name(name) for name in names))
    ignore = {IGNORE} if options.get("ignore") is None else {IGNORE, int(options["ignore"])}
    truths = _list_masks(truth)
    truths, answers = _match_keys(truths, answers)
    _check_pictures(truth, truths, predictions, answers)
    to_truth, to_ours = _index_table(classes, ()), _index_table(classes, answers.classes)
    to_truth[list(ignore)] = IGNORE
    to_ours[[value for value in ignore if to_ours[value] < 0]] = IGNORE
    evaluator = SegmentationEvaluator(classes)
    for key, path in truths.items():
        true = _read_indices(path, to_truth, len(classes))
        if options.get("ignore") is None and (true == IGNORE).any() and not (true % IGNORE).any():
            seen = "0 and 255" if (true == 0).any() else "255"
            raise DataError(
                f"{path}: expected class indices, found only {seen}; give --ignore 255 if 255 means no "
                "class, else write the masks with 0, 1, 2, ..."
            )
        if key in answers.skipped:
            evaluator.add(key, true, np.full_like(true, IGNORE))
            continue
        found = _read_indices(answers.files[key], to_ours, len(answers.classes) or len(classes))
        if found.shape != true.shape:
            raise DataError(
                f"{answers.files[key]}: expected the size of {path}, {true.shape[0]}x{true.shape[1]}, "
                f"found {found.shape[0]}x{found.shape[1]}; predict on the original pictures"
            )
        evaluator.add(key, true, found)
    if absent := evaluator.tables()["absent"]:
        _log.warning("in neither truth nor predictions, and left out of every mean: %s", ", ".join(absent))
    return evaluator


def _list_masks(folder: Path) -> dict[str, Path]:
    """{path below the folder without its suffix: file}. Raises: DataError when there are none, or twins."""
    if not folder.is_dir():
        raise DataError(
            f"expected a folder of masks at {folder}, found {'a file' if folder.exists() else 'nothing'}"
        )
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if not is_picture(path) or any(part.startswith(".") for part in below.parts):
            continue
        key = below.with_suffix("").as_posix()
        if key in files:
            raise DataError(f"{path}: expected one mask a name, found {files[key].name} as well; remove one")
        files[key] = path
    if not files:
        raise DataError(f"expected masks in {folder}, found none ({describe_folder(folder)})")
    return files


def _read_answers(folder: Path, renamed: Mapping[str, str]) -> Answers:
    """What is in a folder of masks, or in one that a prediction command wrote."""
    results = folder / RESULTS
    if not results.is_file():
        if renamed:
            raise UsageError(f"--map-class renames classes of {RESULTS}, and {folder} has none")
        return Answers(_list_masks(folder))
    document = read_document(results)
    try:
        written = [str(name) for name in document["classes"]]
        names = tuple(class_name(renamed.get(name, name)) for name in written)
        files = {}
        for picture in document["images"]:
            place = PurePosixPath(picture["mask"])
            files[place.with_suffix("").name] = safe_path(folder, str(place))
        skipped = frozenset(PurePosixPath(entry["file"]).stem for entry in document.get("skipped", ()))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{results}: expected {RESULTS} as `visiontasks segment` writes it (classes; images with mask), "
            f"found a record of another form: {error!r}"
        ) from None
    for old in renamed:
        if old not in written:
            raise UsageError(f"--map-class: {unknown_name('class', old, written)}")
    return Answers(files, skipped, names)


def _match_keys(truths: dict[str, Path], answers: Answers) -> tuple[dict[str, Path], Answers]:
    """Keys without folders, where names alone tell the masks of each side apart."""
    sides = (truths, answers.files)
    if any(
        count > 1 for files in sides for count in Counter(PurePosixPath(key).name for key in files).values()
    ):
        return truths, answers
    bare, files = ({PurePosixPath(key).name: path for key, path in files.items()} for files in sides)
    return bare, Answers(files, answers.skipped, answers.classes)


def _check_pictures(truth: Path, truths: Mapping[str, Path], predictions: Path, answers: Answers) -> None:
    unknown = [key for key in answers.files if key not in truths]
    missing = [key for key in truths if key not in answers.files and key not in answers.skipped]
    if unknown or missing:
        only = [(predictions, truth, unknown)] * bool(unknown) + [(truth, predictions, missing)] * bool(
            missing
        )
        listed = (
            f"{len(keys)} of {here} not in {there}: {', '.join([*keys[:SHOWN], '...'][: len(keys)])}"
            for here, there, keys in only
        )
        raise DataError(
            f"expected a mask of the same name for each picture on both sides, found {'; '.join(listed)}"
        )


def _index_table(classes: ClassMap, names: Sequence[str]) -> NDArray[np.int16]:
    """What each value of a mask means: (65536,), an index in `classes`, 255, or -1 for an unknown value."""
    table = np.full(1 << 16, -1, dtype=np.int16)
    table[IGNORE] = IGNORE
    if not names:
        table[: len(classes)] = np.arange(len(classes))
    else:
        theirs = ClassMap(tuple(names))
        table[: len(names)] = join_classes(classes, theirs, ours_name="--classes", theirs_name=RESULTS)
    return table


def _read_indices(path: Path, table: NDArray[np.int16], num_values: int) -> Mask:
    """A mask in indices of the classes. Raises: DataError for unknown values, which it lists."""
    values = read_mask(path)
    mask = table[values]
    if (unknown := mask < 0).any():
        found, counts = np.unique(values[unknown], return_counts=True)
        listed = dict(zip(found.tolist(), counts.tolist(), strict=True))
        raise DataError(unknown_values(str(path), listed, num_values))
    return mask.astype(np.uint8)
