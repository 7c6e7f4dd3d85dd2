"""Evaluation of a results file against a truth file: no model, no pictures, no torch."""

from __future__ import annotations

import logging
import math
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from visiontasks.classes import ClassMap, class_name
from visiontasks.classification.datasets.csv_file import check_columns, clean_path, read_labels
from visiontasks.classification.metrics.evaluator import ROW, TOP, ClassificationEvaluator
from visiontasks.errors import DataError, unknown_name
from visiontasks.io.files import read_document
from visiontasks.ledger import Ledger

SHOWN = 5  # faults that a message lists

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Answers:
    """What a results file says.

    best: for each picture its labels and their scores, best first; a score is nan where there is none.
    skipped: pictures that were tried and not read: they count as wrong.
    classes: the file's own list, if it has one.
    """

    best: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    classes: tuple[str, ...] = ()


def compare(truth: Path, predictions: Path, options: Mapping[str, Any]) -> ClassificationEvaluator:
    """Measure predictions against the truth, picture by picture, matched by path.

    Every picture of the truth counts. One without a prediction is a fault, unless the results file says that
    it was skipped, or has no predictions at all: then it is wrong. Where all paths of the results begin with
    one more folder (`data/` before `test/1.jpg`), that folder is left out.

    Args:
        truth: CSV with the columns path,label.
        predictions: CSV with path,label and perhaps score, or predictions.json.
        options: `classes`: names in order; None = those of predictions.json, else the sorted labels of the
            truth. `map_class`: {name in the predictions: name in the truth}.

    Raises: DataError for a fault of a file, an unknown label, a picture that only one of the files has.
    """
    labels = _read_truth(truth)
    answers = _read_answers(predictions, dict(options.get("map_class") or {}))
    known = options.get("classes") or answers.classes or sorted(set(labels.values()))
    if not known:
        raise DataError(f"{truth}: expected rows under the header, found none; name the classes to go on")
    classes = ClassMap(tuple(class_name(name) for name in known))
    _check_names(truth, ((path, label) for path, label in labels.items()), classes)
    _check_names(predictions, ((path, best[0][0]) for path, best in answers.best.items()), classes)
    answers = _without_common_folder(answers, labels)
    _check_pictures(truth, labels, predictions, answers)
    if not labels:
        _log.warning("%s: no pictures: every number is undefined", truth)
    rows = np.array(
        [_row(classes, label, answers.best.get(path)) for path, label in labels.items()], dtype=ROW
    )
    evaluator = ClassificationEvaluator(classes)
    evaluator.add(list(labels), rows)
    return evaluator


def _read_truth(file: Path) -> dict[str, str]:
    ledger = Ledger()
    labels, _ = read_labels(file, None, ledger)
    for line in ledger.summary():
        _log.warning(line)
    return labels


def _read_answers(file: Path, renamed: Mapping[str, str]) -> Answers:
    answers = _read_json(file) if file.suffix.lower() == ".json" else _read_csv(file)

    def new(name: str) -> str:
        return class_name(renamed.get(name, name))

    best = {path: [(new(name), score) for name, score in labels] for path, labels in answers.best.items()}
    return Answers(best, answers.skipped, tuple(new(name) for name in answers.classes))


def _read_csv(file: Path) -> Answers:
    table = read_document(file)
    check_columns(file, table, ("path", "label"))
    answers = Answers()
    for number, row in enumerate(table, start=1):
        path = clean_path(row["path"], None, file, number)
        _add(answers, path, [(row["label"].strip(), row.get("score", ""))], f"{file}, row {number}")
    return answers


def _read_json(file: Path) -> Answers:
    """predictions.json as design section 7 of the project's own commands writes it."""
    document = read_document(file, allow_nan=True)  # a nan is then refused with the picture's name
    try:
        answers = Answers(classes=tuple(str(name) for name in document["classes"]))
        for picture in document["images"]:
            labels = [(str(entry["label"]), entry["score"]) for entry in picture["labels"]]
            _add(answers, posixpath.normpath(picture["file"]), labels, f"{file}, {picture['file']}")
        answers.skipped.update(posixpath.normpath(entry["file"]) for entry in document.get("skipped", ()))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file}: expected predictions.json as `visiontasks classify` writes it (classes; images with "
            f"file and labels), found a record of another form: {error!r}"
        ) from None
    return answers


def _add(answers: Answers, path: str, labels: Sequence[tuple[str, Any]], where: str) -> None:
    if path in answers.best:
        raise DataError(
            f"{where}: expected one prediction a picture, found a second one for {path}; remove it"
        )
    if not labels or not all(name for name, _ in labels):
        raise DataError(f"{where}: expected a label for {path}, found none; fill it in")
    answers.best[path] = [(name, _score(score, where)) for name, score in labels]


def _score(value: Any, where: str) -> float:
    """A probability; nan where there is none."""
    if value is None or value == "":
        return math.nan
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score <= 1:
        raise DataError(f"{where}: expected a score from 0 to 1, found {value!r}")
    return score


def _check_names(file: Path, labels: Iterable[tuple[str, str]], classes: ClassMap) -> None:
    known = set(classes.names)
    wrong = [(path, label) for path, label in labels if label not in known]
    if wrong:
        path, label = wrong[0]
        raise DataError(
            f"{file}, {path}: {unknown_name('class', label, classes.names)} ({len(wrong)} such labels); "
            "map it with --map-class old=new, or name all classes with --classes"
        )


def _without_common_folder(answers: Answers, labels: Mapping[str, str]) -> Answers:
    """Take the folder off that all paths of the results begin with and those of the truth do not."""
    paths = [*answers.best, *answers.skipped]
    if not paths or any(path in labels for path in paths):
        return answers
    parts = paths[0].split("/")
    cuts = (n for n in range(1, len(parts)) if "/".join(parts[n:]) in labels)
    prefix = "".join(f"{part}/" for part in parts[: next(cuts, 0)])
    if not prefix or not all(path.startswith(prefix) for path in paths):
        return answers
    best = {path.removeprefix(prefix): labels for path, labels in answers.best.items()}
    return Answers(best, {path.removeprefix(prefix) for path in answers.skipped}, answers.classes)


def _check_pictures(truth: Path, labels: Mapping[str, str], predictions: Path, answers: Answers) -> None:
    unknown = [path for path in answers.best if path not in labels]
    missing = [path for path in labels if path not in answers.best and path not in answers.skipped]
    if not answers.best and not answers.skipped:
        missing = []  # no predictions at all is a result, and a bad one
    if unknown or missing:
        only = [(predictions, truth, unknown)] * bool(unknown) + [(truth, predictions, missing)] * bool(
            missing
        )
        listed = (
            f"{len(paths)} of {here} not in {there}: {', '.join([*paths[:SHOWN], '...'][: len(paths)])}"
            for here, there, paths in only
        )
        raise DataError(
            f"expected the same pictures in both files, found {'; '.join(listed)}; "
            "write paths relative to one folder, and one row a picture"
        )


def _row(classes: ClassMap, label: str, best: Sequence[tuple[str, float]] | None) -> tuple[float, ...]:
    """A picture as the evaluator keeps it (ROW)."""
    truth = classes.names.index(label)
    if best is None:
        return truth, -1, 0.0, math.nan, math.nan
    names = [name for name, _ in best]
    is_ranked = len(best) >= min(TOP, len(classes)) or label in names[:TOP]
    in_top5 = float(label in names[:TOP]) if is_ranked else math.nan
    of_truth = best[names.index(label)][1] if label in names else math.nan
    return truth, classes.names.index(names[0]), in_top5, of_truth, best[0][1]
