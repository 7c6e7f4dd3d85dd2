"""The files that segmentation can write, and its words for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np

from visiontasks.classes import BACKGROUND, ClassMap
from visiontasks.errors import UsageError
from visiontasks.io.files import free_stem, write_atomic, write_csv, write_json
from visiontasks.io.images import encode, encode_mask, voc_palette
from visiontasks.segmentation.config import parse_colour
from visiontasks.segmentation.datasets.painting import encode_run_length
from visiontasks.segmentation.draw import percent
from visiontasks.segmentation.types import SegmentationMap
from visiontasks.types import Output

MASKS: Final = "masks"  # folder of the index masks
CLASSES: Final = 4  # that a description lists


def record(prediction: SegmentationMap, classes: ClassMap, folder: Path, name: str) -> dict[str, Any]:
    """A picture's fields in predictions.json (design section 7); its mask is written beside it.

    folder: the results'. name: of the picture; its mask is `masks/<stem>.png`, indices with VOC's palette.

    Raises: RunError when the mask can't be written.
    """
    file = f"{MASKS}/{PurePath(name).stem}.png"
    write_atomic(folder / file, encode_mask(prediction.mask))
    shares = prediction.shares(len(classes)).tolist()
    return {"mask": file, "shares": dict(zip(classes.names, shares, strict=True))}


def describe(prediction: SegmentationMap, classes: ClassMap) -> str:
    """The largest classes and their share of the pixels, for the terminal: `road 34%, sky 20%`."""
    shares = prediction.shares(len(classes))
    order = np.argsort(-shares, kind="stable")[: np.count_nonzero(shares)].tolist()
    words = [f"{classes.names[index]} {percent(float(shares[index]))}" for index in order[:CLASSES]]
    if more := order[CLASSES:]:
        words.append(f"{len(more)} more {percent(float(shares[more].sum()))}")
    return ", ".join(words)


class MaskFolder:
    """A folder of masks, one a picture, in another form than that of the index masks.

    folder: where it is made. encoded: a mask of class indices as the bytes of a PNG.
    """

    def __init__(self, folder: Path, encoded: Callable[[SegmentationMap], bytes]) -> None:
        self.folder, self.encoded = folder, encoded
        self.paths: list[Path] = []
        self.taken: set[str] = set()

    def add(self, file: str, size: tuple[int, int], prediction: SegmentationMap) -> None:
        """One picture: its path as typed, its (height, width), its classes. Raises: RunError."""
        path = self.folder / f"{free_stem(PurePath(file).stem, self.taken)}.png"  # as the drawn pictures
        write_atomic(path, self.encoded(prediction))
        self.paths.append(path)

    def close(self) -> Sequence[Path]:
        """The files that were written."""
        return self.paths


def colour_masks(folder: Path, classes: ClassMap) -> MaskFolder:
    """Colour-coded masks in `colours/`, and the table in colours.csv, which `data.colours` reads.

    Colours are the data set's where it has some, else VOC's.
    """
    given = [parse_colour(ident) for ident in classes.file_ids]
    colours = voc_palette()[: len(classes)]
    if given and all(isinstance(colour, list) for colour in given):
        colours = np.array(given, dtype=np.uint8)
    rows = [(name, *colour) for name, colour in zip(classes.names, colours.tolist(), strict=True)]
    write_csv(folder / "colours.csv", ("name", "r", "g", "b"), rows)
    return MaskFolder(folder / "colours", lambda prediction: encode(colours[prediction.mask], ".png"))


def id_masks(folder: Path, classes: ClassMap) -> MaskFolder:
    """Masks with the data set's own values in `ids/`: what its authors' programs read.

    Raises: UsageError where the classes have no values of 0 to 255.
    """
    ids = [ident for ident in classes.file_ids if isinstance(ident, int) and 0 <= ident <= 255]
    if len(ids) != len(classes):
        raise UsageError(
            "expected classes with values of 0 to 255 in their data set's masks for --format ids, found "
            f"{', '.join(map(str, classes.file_ids[:3])) or 'none'}; choose another format"
        )
    table = np.array(ids, dtype=np.uint8)
    return MaskFolder(folder / "ids", lambda prediction: encode_mask(table[prediction.mask]))


class CocoMasks:
    """A document as the format `coco` reads it, one run length a class and picture.

    Category ids are the classes' file ids where these are numbers, else 1, 2, ...; the class `background` is
    what no run length covers. folder, name: where it is written. classes: the K classes of the predictions.
    """

    def __init__(self, folder: Path, classes: ClassMap, name: str = "coco.json") -> None:
        self.path, self.classes = folder / name, classes
        numbers = [ident for ident in classes.file_ids if isinstance(ident, int)]
        self.numbers = numbers if len(numbers) == len(classes) else list(range(1, len(classes) + 1))
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, file: str, size: tuple[int, int], prediction: SegmentationMap) -> None:
        """One picture: its path as typed, its (height, width), its classes."""
        picture = len(self.images) + 1
        self.images.append({"id": picture, "file_name": file, "height": size[0], "width": size[1]})
        counts = prediction.shares(len(self.classes)) * prediction.mask.size
        for index in np.flatnonzero(counts).tolist():
            if self.classes.names[index] == BACKGROUND:
                continue
            shown = prediction.mask == index
            rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
            top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": picture,
                    "category_id": self.numbers[index],
                    "segmentation": encode_run_length(shown),
                    "area": round(float(counts[index])),
                    "bbox": [int(left), int(top), int(right - left), int(bottom - top)],
                    "iscrowd": 0,
                }
            )

    def close(self) -> Sequence[Path]:
        """Write the file. Raises: RunError when it can't be written."""
        categories = [
            {"id": number, "name": name}
            for number, name in zip(self.numbers, self.classes.names, strict=True)
            if name != BACKGROUND
        ]
        document = {"info": {}, "images": self.images, "annotations": self.annotations}
        write_json(self.path, {**document, "categories": categories}, indent=None)
        return [self.path]


class CsvShares:
    """shares.csv: a row a picture, its path and the share of its pixels that each class has.

    folder: where it is written. classes: the K classes of the predictions.
    """

    def __init__(self, folder: Path, classes: ClassMap) -> None:
        self.path, self.classes = folder / "shares.csv", classes
        self.rows: list[tuple[object, ...]] = []

    def add(self, file: str, size: tuple[int, int], prediction: SegmentationMap) -> None:
        """One picture: its path as typed, its (height, width), its classes."""
        self.rows.append((file, *prediction.shares(len(self.classes)).tolist()))

    def close(self) -> Sequence[Path]:
        """Write the file. Raises: RunError when it can't be written."""
        write_csv(self.path, ("path", *self.classes.names), self.rows)
        return [self.path]


OUTPUTS: Final[dict[str, Callable[[Path, ClassMap], Output[SegmentationMap]]]] = {
    "csv": CsvShares,
    "colour": colour_masks,
    "ids": id_masks,
    "coco": CocoMasks,
}
