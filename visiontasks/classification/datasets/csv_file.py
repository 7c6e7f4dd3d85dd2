"""Format `csv`: a file with the columns `path` and `label`, in any order, among others that are left alone.

Paths are relative to data.root, with forward slashes. Spaces around a label do not count.
Class order: sorted by name.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visiontasks.classes import ClassMap, class_name
from visiontasks.classification.datasets.labelled_images import Listing
from visiontasks.errors import DataError
from visiontasks.io.files import read_document, safe_path
from visiontasks.io.location import SHOWN, split_path
from visiontasks.ledger import Ledger

COLUMNS = ("path", "label")


def read_csv_file(root: Path, location: str, ledger: Ledger) -> Listing:
    """List the pictures of a split.

    Args:
        root: the data's folder; `location`: the split's CSV file below it.
        ledger: rows that repeat another are dropped and counted.

    Raises:
        DataError: no such file; a column is missing; a path that leaves root; a row without a label; two
            labels for one picture; no rows.
    """
    file = split_path(root, location, "a CSV file")
    if file.suffix.lower() != ".csv":
        raise DataError(
            f"{file}: expected a file named *.csv, found '{file.name}'; rename it or set data.format"
        )
    labels, rows = read_labels(file, root, ledger)
    if not labels:
        raise DataError(f"{file}: expected rows under the header, found none; list the pictures")
    names = sorted(set(labels.values()))
    index = {name: place for place, name in enumerate(names)}
    return Listing(
        ClassMap(tuple(names)),
        list(labels),
        np.array([index[label] for label in labels.values()], dtype=np.int64),
        np.array(rows, dtype=np.int64),
    )


def read_labels(file: Path, root: Path | None, ledger: Ledger) -> tuple[dict[str, str], list[int]]:
    """The label of each path in a CSV file, in its order, and their rows, from 1.

    Args:
        file: with columns path and label.
        root: paths must stay inside; None = they are only names.
        ledger: rows that repeat another are dropped and counted; faulty ones are left out, if it collects
            them.

    Raises: DataError as `read_csv_file`; no rows are no fault here.
    """
    table = read_document(file)
    check_columns(file, table, COLUMNS)
    labels: dict[str, str] = {}
    rows: list[int] = []
    conflicts: dict[int, str] = {}
    for number, row in enumerate(table, start=1):
        try:
            path, label = _read_row(row, root, file, number)
        except DataError as error:
            ledger.fault(error, file, f"row {number}")
            continue
        if path not in labels:
            labels[path] = label
            rows.append(number)
        elif labels[path] == label:
            ledger.add("dropped", file, "row that repeats another", f"row {number}")
        else:
            conflicts[number] = f"{path} is '{label}', before it was '{labels[path]}'"
    _report_conflicts(file, conflicts, ledger)
    return labels, rows


def _read_row(row: Mapping[str, str], root: Path | None, file: Path, number: int) -> tuple[str, str]:
    path, label = clean_path(row["path"], root, file, number), class_name(row["label"].strip())
    if not label:
        raise DataError(f"{file}, row {number}: expected a label for {path}, found none; fill it in")
    return path, label


def _report_conflicts(file: Path, conflicts: Mapping[int, str], ledger: Ledger) -> None:
    """conflicts: {row: what it says}. Raises: DataError with some of them; each is a fault, if collected."""
    if conflicts and not ledger.collects:
        shown = "; ".join(f"row {number}: {what}" for number, what in [*conflicts.items()][:SHOWN])
        raise DataError(
            f"{file}: expected one label a picture, found {len(conflicts)} with two: {shown}; "
            "remove the wrong rows"
        )
    for number, what in conflicts.items():
        error = DataError(
            f"{file}, row {number}: expected one label a picture, found two: {what}; remove one"
        )
        ledger.fault(error, file, f"row {number}")


def check_columns(file: Path, table: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Raises: DataError when a column is missing; a table without rows has all."""
    missing = [column for column in columns if table and column not in table[0]]
    if missing:
        raise DataError(
            f"{file}: expected the columns {', '.join(columns)}, found {', '.join(table[0])}; "
            f"add or rename {', '.join(missing)}"
        )


def clean_path(path: str, root: Path | None, file: Path, number: int) -> str:
    """A path as image ids are written: no `./`, no `//`. Raises: DataError for one that leaves root."""
    path = path.replace(os.sep, "/")
    if not path.strip():
        raise DataError(f"{file}, row {number}: expected a path, found none; fill it in")
    parts = path.split("/")
    if root is not None and (not parts[0] or ".." in parts or os.path.isabs(path)):
        try:
            safe_path(root, path)
        except DataError as error:
            raise DataError(f"{file}, row {number}: {error}") from None
    return posixpath.normpath(path)
