"""Formats `masks` and `colour`: a folder of pictures and a folder of masks, joined by name.

Pictures and masks are joined by their path below the split's folder without its suffix, or by what `data.key`
finds in that path. Where the folders lie is found for the usual layouts:

    train/ trainannot/      train/ train_labels/      train/ train_masks/
    images/train/ masks/train/ (or labels/train/, annotations/train/)
    train/images/ train/masks/ (or train/labels/, train/annotations/)

`data.images` and `data.masks` say it for others; their last part may be a pattern: `{split}/*_image.png`.
Hidden files and folders are no part of the data.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from visiontasks.errors import DataError
from visiontasks.io.files import IMAGE_SUFFIXES, is_picture, safe_path
from visiontasks.io.location import SHOWN, describe_folder
from visiontasks.ledger import Ledger
from visiontasks.segmentation.config import DataConfig
from visiontasks.segmentation.datasets.labelled_masks import Listing, MaskFiles
from visiontasks.segmentation.datasets.mask_values import configured_masks

LAYOUTS: Final = (  # pictures, masks
    ("{split}", "{split}annot"),
    ("{split}", "{split}_labels"),
    ("{split}", "{split}_masks"),
    ("images/{split}", "masks/{split}"),
    ("images/{split}", "labels/{split}"),
    ("images/{split}", "annotations/{split}"),
    ("{split}/images", "{split}/masks"),
    ("{split}/images", "{split}/labels"),
    ("{split}/images", "{split}/annotations"),
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Files below a folder whose names match a pattern. folder: relative to root, "" = root itself."""

    folder: str
    pattern: str

    def __str__(self) -> str:
        return posixpath.join(self.folder, self.pattern).removesuffix("/*")


def read_folders(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Listing:
    """List the pictures of a split with their masks.

    Args:
        root: the data's folder; `location`: the split's name in `data.images` and `data.masks`.
        config: the data section.
        ledger: masks without a picture are dropped and counted.

    Raises:
        DataError: no such folders, or several that could be meant; a picture without a mask; two pictures or
            masks of one name; nothing that says which classes there are.
    """
    codec = configured_masks(config, root)
    images_at, masks_at = _find_places(root, location, config)
    images = _by_key(root, images_at, config.key, ledger)
    masks = _by_key(root, masks_at, config.key, ledger)
    if not images:
        raise DataError(
            f"{root / str(images_at)}: expected pictures ({', '.join(sorted(IMAGE_SUFFIXES))}), found none; "
            "set data.images"
        )
    missing = [images[key] for key in images if key not in masks]
    if missing and not ledger.collects:
        raise DataError(
            f"{root / str(masks_at)}: expected a mask for each picture of {images_at}, found none for "
            f"{len(missing)} of {len(images)}: {', '.join(missing[:SHOWN])}; add them, take the pictures "
            "out, or say with data.key how names are joined"
        )
    for path in missing:
        fault = f"expected a mask for {path} in {masks_at}, found none; add it, or take {path} out"
        ledger.fault(DataError(f"{root}: {fault}"), root / str(masks_at), path)
    spare = sorted(masks[key] for key in masks if key not in images)
    if spare:
        ledger.add("dropped", str(masks_at), "masks without a picture", f"{len(spare)}, first {spare[0]}")
    keys = [key for key in images if key in masks]
    return Listing(
        codec.classes, [images[key] for key in keys], MaskFiles(root, [masks[key] for key in keys], codec)
    )


def _find_places(root: Path, location: str, config: DataConfig) -> tuple[_Place, _Place]:
    """Where pictures and masks of a split lie. Raises: DataError where that is not one answer."""
    layouts = [(config.images or images, config.masks or masks) for images, masks in LAYOUTS]
    pairs = list(dict.fromkeys(tuple(_place(path, location) for path in layout) for layout in layouts))
    found = [(images, masks) for images, masks in pairs if _exists(root, images) and _exists(root, masks)]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(f"{images} with {masks}" for images, masks in found)
        raise DataError(
            f"{root}: expected one folder of pictures and one of masks for '{location}', found {shown}; "
            "say which with data.images and data.masks"
        )
    tried = ", ".join(f"{images} with {masks}" for images, masks in pairs[:SHOWN])
    raise DataError(
        f"{root}: expected folders of pictures and masks for '{location}' ({tried}), found none of them "
        f"({describe_folder(root)}); set data.images and data.masks, or the split's name"
    )


def _place(template: str, location: str) -> _Place:
    path = posixpath.normpath(template.replace("{split}", location))
    folder, name = posixpath.split(path)
    if "*" in name:
        return _Place(folder, name)
    return _Place("" if path == "." else path, "*")


def _exists(root: Path, place: _Place) -> bool:
    return (safe_path(root, place.folder) if place.folder else root).is_dir()


def _by_key(root: Path, place: _Place, pattern: str | None, ledger: Ledger) -> dict[str, str]:
    """The pictures at a place, sorted: {key: path relative to root}.

    Raises: DataError where two have one key, or the pattern finds none, unless `ledger` collects faults.
    """
    prefix = f"{place.folder}/" if place.folder else ""
    paths: list[str] = []
    _walk(str(root), prefix, place.pattern, paths)
    keys: dict[str, str] = {}
    for path in sorted(paths):
        try:
            key = _key_of(os.path.splitext(path.removeprefix(prefix))[0], pattern, root / path)
            if key in keys:
                raise DataError(
                    f"{root / str(place)}: expected one file for '{key}', found {keys[key]} and {path}; take "
                    "one out, set data.key, or give a pattern ({split}/*.jpg) in data.images and data.masks"
                )
            keys[key] = path
        except DataError as error:
            ledger.fault(error, root / path)
    return keys


def _key_of(stem: str, pattern: str | None, path: Path) -> str:
    """What joins a picture and its mask. Raises: DataError where the pattern finds nothing."""
    if pattern is None:
        return stem
    found = re.search(pattern, stem)
    if found is None or found.group(1) is None:
        raise DataError(
            f"{path}: expected a name that data.key ('{pattern}') finds something in, found "
            f"'{stem}'; mend the pattern, or take the file out"
        )
    return found.group(1)


def _walk(root: str, folder: str, pattern: str, paths: list[str]) -> None:
    """Collect the pictures below a folder; links to folders are not followed (cycles)."""
    with os.scandir(os.path.join(root, folder)) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                _walk(root, f"{folder}{entry.name}/", pattern, paths)
            elif fnmatch.fnmatchcase(entry.name, pattern) and is_picture(entry.name):
                paths.append(folder + entry.name)
