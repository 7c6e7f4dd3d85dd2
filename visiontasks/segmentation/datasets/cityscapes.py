"""Format `cityscapes`: leftImg8bit/<split>/<city>/*_leftImg8bit.png with gtFine/<split>/<city>/*.png.

The 19 classes that Cityscapes evaluates, in the order of its trainIds. Masks are `*_labelIds.png` as the
data set comes; where a split has none of these, `*_labelTrainIds.png`, which its scripts make. All other
values are ignored, as in its evaluation. `data.masks: gtCoarse` reads the coarse masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from visiontasks.errors import DataError
from visiontasks.io.location import SHOWN, split_path
from visiontasks.ledger import Ledger
from visiontasks.segmentation.config import DataConfig
from visiontasks.segmentation.datasets.labelled_masks import Listing, MaskFiles
from visiontasks.segmentation.datasets.mask_values import configured_masks

CLASSES: Final = {  # name -> labelId, in the order of trainIds; cityscapesScripts, helpers/labels.py
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
NUM_LABELS: Final = 34  # labelIds are 0..33; those without a class are void
IMAGES, MASKS = "leftImg8bit", "gtFine"
KINDS: Final = ("labelIds", "labelTrainIds")


def read_cityscapes(root: Path, location: str, config: DataConfig, ledger: Ledger) -> Listing:
    """List the pictures of a split with their masks.

    Args:
        root: the folder with leftImg8bit and gtFine; `location`: the split's name.
        config: the data section.
        ledger: collects pictures without a mask, where it collects faults.

    Raises: DataError for a missing folder, no pictures, or a picture without a mask.
    """
    images, masks = config.images or IMAGES, config.masks or MASKS
    top = split_path(root, f"{images}/{location}", "a folder")
    split_path(root, f"{masks}/{location}", "a folder")
    ending = "_leftImg8bit.png"
    found = sorted(path.relative_to(root / images).as_posix() for path in top.glob(f"*/*{ending}"))
    if not found:
        raise DataError(f"{top}: expected pictures <city>/*{ending}, found none; set data.images")
    bases = [f"{masks}/{path.removesuffix(ending)}_{masks.rpartition('/')[2]}" for path in found]
    is_there = {kind: [(root / f"{base}_{kind}.png").exists() for base in bases] for kind in KINDS}
    kind = max(KINDS, key=lambda kind: sum(is_there[kind]))  # of equal ones the first
    missing = [path for path, there in zip(found, is_there[kind], strict=True) if not there]
    if missing and not ledger.collects:
        raise DataError(
            f"{root / masks}: expected a mask *_{kind}.png for each picture, found none for "
            f"{len(missing)} of {len(found)}: {', '.join(missing[:SHOWN])}; add them or take the pictures out"
        )
    for path in missing:
        fault = f"{root / masks}: expected a mask *_{kind}.png for {path}, found none; add it, or take it out"
        ledger.fault(DataError(fault), root / images / path)
    own = CLASSES if kind == "labelIds" else {name: trainid for trainid, name in enumerate(CLASSES)}
    void = set(range(NUM_LABELS)) - set(CLASSES.values()) if kind == "labelIds" else {255}
    named = {name: (value,) for name, value in own.items()}
    if config.ids is None:
        config = config.model_copy(update={"ignore": (*config.ignore, *sorted(void))})
    codec = configured_masks(config, root, named)
    pairs = [(path, base) for path, base, there in zip(found, bases, is_there[kind], strict=True) if there]
    return Listing(
        codec.classes,
        [f"{images}/{path}" for path, _ in pairs],
        MaskFiles(root, [f"{base}_{kind}.png" for _, base in pairs], codec),
    )
