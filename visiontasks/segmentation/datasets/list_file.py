"""Format `list`: a text file a split, a line a picture: its path and its mask's, as SegNet's CamVid has them.

The two are separated by a tab, a comma or spaces; with a tab or comma, paths may have spaces. They are
relative to data.root once `data.strip_prefix` is taken off: lists that were written elsewhere begin with
paths of there. With `data.colours` the masks are colour-coded.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from visiontasks.errors import DataError
from visiontasks.io.documents import decode_text
from visiontasks.io.files import read_bytes, safe_path
from visiontasks.io.location import split_path
from visiontasks.ledger import Ledger
from visiontasks.segmentation.config import DataConfig
from visiontasks.segmentation.datasets.labelled_masks import Listing, MaskFiles
from visiontasks.segmentation.datasets.mask_values import configured_masks

MAX_BYTES = 1 << 30  # of a list


def read_list_file(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Listing:
    """List the pictures of a split with their masks.

    Args:
        root: the data's folder; `location`: the split's list below it.
        config: the data section.
        ledger: lines that repeat another are dropped and counted.

    Raises:
        DataError: no such file; a line that is no pair; a path that leaves root; two masks for one picture;
            nothing that says which classes there are.
    """
    file = split_path(root, location, "a list of pictures and masks")
    codec = configured_masks(config, root)
    pairs: dict[str, str] = {}
    for number, line in enumerate(read_lines(file), start=1):
        if not line:
            continue
        try:
            image, mask = _pair(line, root, config.strip_prefix, f"{file}, line {number}")
            if pairs.get(image, mask) != mask:
                raise DataError(
                    f"{file}, line {number}: expected one mask for {image}, found {mask} after "
                    f"{pairs[image]}; remove one"
                )
        except DataError as error:
            ledger.fault(error, file, f"line {number}")
            continue
        if image in pairs:
            ledger.add("dropped", file, "line that repeats another", f"line {number}")
        pairs[image] = mask
    if not pairs:
        raise DataError(f"{file}: expected a line a picture, found none")
    return Listing(codec.classes, list(pairs), MaskFiles(root, list(pairs.values()), codec))


def read_lines(file: Path) -> list[str]:
    """The lines of a text file without outer spaces. Raises: DataError when it can't be read."""
    text = decode_text(read_bytes(file, max_bytes=MAX_BYTES, what="a list"), str(file))
    return [line.strip() for line in text.split("\n")]


def fields_of(line: str) -> list[str]:
    """The paths in a line."""
    separator = next((mark for mark in "\t," if mark in line), None)
    return [field.strip() for field in line.split(separator)]


def _pair(line: str, root: Path, prefix: str, where: str) -> tuple[str, str]:
    """The picture and the mask that a line names. Raises: DataError."""
    fields = fields_of(line)
    if len(fields) != 2 or not all(fields):
        raise DataError(
            f"{where}: expected a picture and its mask, found {len(fields)} paths; separate two by a tab"
        )
    return _clean(fields[0], root, prefix, where), _clean(fields[1], root, prefix, where)


def _clean(path: str, root: Path, prefix: str, where: str) -> str:
    """A path as image ids are written. Raises: DataError for one that leaves root."""
    path = path.removeprefix(prefix).replace(os.sep, "/")
    if posixpath.isabs(path) or os.path.isabs(path):
        raise DataError(
            f"{where}: expected a path relative to {root}, found '{path}'; set data.strip_prefix to what "
            f"stands for that folder ('{posixpath.dirname(posixpath.dirname(path))}/', say)"
        )
    if ".." in path.split("/"):
        try:
            safe_path(root, path)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    return posixpath.normpath(path)
