"""Format `crops`: one folder a class, of pictures that show one object and nothing else, and `background`.

Each picture is one box, the whole picture; those in `background` have none. Class order: sorted by name.
What a sliding window is trained on where nobody has drawn boxes.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from visiontasks.classes import BACKGROUND, ClassMap, class_name
from visiontasks.detection.config import DataConfig
from visiontasks.detection.datasets.packing import Found, pack
from visiontasks.errors import DataError
from visiontasks.io.files import is_picture
from visiontasks.io.location import SHOWN, describe_folder, split_path
from visiontasks.io.pictures import as_prefix, picture_sizes, pictures_below
from visiontasks.ledger import Ledger


def read_crops(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Found:
    """List the pictures of a split.

    Args:
        root: the data's folder; `location`: the split's folder below it.
        config: not used by this format.
        ledger: pictures outside the class folders, and links to folders, are dropped and counted.

    Raises: DataError: no such folder; no class folders; one without pictures.
    """
    top = split_path(root, location, "a folder")
    prefix = as_prefix(location)
    visible = [entry for entry in os.scandir(top) if not entry.name.startswith(".")]
    folders = sorted((entry.name for entry in visible if entry.is_dir()), key=class_name)
    names = [folder for folder in folders if folder != BACKGROUND]
    if not names:
        raise DataError(
            f"{top}: expected one folder a class, found none ({describe_folder(top)}); put the crops of each "
            f"class into a folder with its name, and pictures without objects into '{BACKGROUND}'"
        )
    loose = sorted(entry.name for entry in visible if entry.is_file() and is_picture(entry.name))
    if loose:
        reason = "pictures outside the class folders"
        ledger.add("dropped", f"{prefix}", reason, f"{len(loose)}, first {loose[0]}")
    pictures = {folder: pictures_below(root, f"{prefix}{folder}/", ledger) for folder in folders}
    if empty := [folder for folder, paths in pictures.items() if not paths]:
        what = (
            f"{top}: expected pictures in each class folder, found none in {len(empty)} of {len(folders)}: "
            f"{', '.join(empty[:SHOWN])}; add some or remove the folder"
        )
        ledger.fault(DataError(what), top)
        names = [folder for folder in names if folder not in empty]
    files = [path for paths in pictures.values() for path in paths]
    index = {folder: place for place, folder in enumerate(names)}
    labels = np.repeat([index.get(folder, -1) for folder in pictures], [len(p) for p in pictures.values()])
    sizes = picture_sizes(root, files)
    whole = np.flatnonzero((labels >= 0) & (sizes > 0).all(axis=1))
    boxes = np.zeros((len(whole), 4))
    boxes[:, 2:] = sizes[whole, ::-1]  # width, height
    ones = np.ones(len(whole), dtype=np.int64)
    annotations = pack(files, sizes, whole, boxes, labels[whole], ones)
    return Found(ClassMap(tuple(map(class_name, names))), annotations, _where)


def _where(picture: str, record: int) -> tuple[str, str]:
    return picture, ""
