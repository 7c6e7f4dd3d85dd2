"""Format `voc`: Pascal VOC's layout for semantic segmentation.

    JPEGImages/*.jpg   SegmentationClass/*.png   ImageSets/Segmentation/<split>.txt

Masks are index PNGs with a palette: 0 background, 1..20 the classes in the development kit's order, 255 the
border between objects, ignored. `data.ids` names other values, `data.masks` another folder
(SegmentationClassAug).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from visiontasks.errors import DataError
from visiontasks.io.files import safe_path
from visiontasks.io.location import describe_folder, split_path
from visiontasks.ledger import Ledger
from visiontasks.segmentation.config import DataConfig
from visiontasks.segmentation.datasets.labelled_masks import Listing, MaskFiles
from visiontasks.segmentation.datasets.list_file import read_lines
from visiontasks.segmentation.datasets.mask_values import configured_masks

CLASSES: Final = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
IMAGES, MASKS, SETS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"


def read_voc(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Listing:
    """List the pictures of a split with their masks.

    Args:
        root: the folder with JPEGImages (VOCdevkit/VOC2012, say); `location`: the split's name.
        config: the data section.
        ledger: names that a split lists twice are dropped and counted.

    Raises: DataError for a missing list or folder, or a name that is no file's.
    """
    codec = configured_masks(config, root, {name: (value,) for value, name in enumerate(CLASSES)})
    file = split_path(root, f"{SETS}/{location}.txt", "a list of names")
    images, masks = config.images or IMAGES, config.masks or MASKS
    for folder in (images, masks):
        if not safe_path(root, folder).is_dir():
            raise DataError(
                f"{root}: expected a folder {folder}, found none ({describe_folder(root)}); set data.root to "
                "the folder that holds JPEGImages"
            )
    stems: dict[str, None] = {}
    for number, stem in enumerate(read_lines(file), start=1):
        if not stem:
            continue
        if "/" in stem or "\\" in stem or stem in (".", ".."):
            fault = f"{file}, line {number}: expected the name of a picture in {images}, found '{stem}'"
            ledger.fault(DataError(fault), file, f"line {number}")
            continue
        if stem in stems:
            ledger.add("dropped", file, "line that repeats another", f"line {number}")
        stems[stem] = None
    if not stems:
        raise DataError(f"{file}: expected a name a line, found none")
    suffixes = dict(os.path.splitext(name) for name in sorted(os.listdir(root / images)))
    return Listing(
        codec.classes,
        [f"{images}/{stem}{suffixes.get(stem, '.jpg')}" for stem in stems],
        MaskFiles(root, [f"{masks}/{stem}.png" for stem in stems], codec),
    )
