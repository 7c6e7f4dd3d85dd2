"""The files that detection can write, and its words for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np

from visiontasks.classes import ClassMap
from visiontasks.detection.datasets.coco import write_coco
from visiontasks.detection.datasets.csv_file import write_csv_boxes
from visiontasks.detection.datasets.packing import pack
from visiontasks.detection.datasets.voc import write_voc
from visiontasks.detection.datasets.yolo import write_yolo
from visiontasks.detection.types import Annotations, Detections
from visiontasks.io.files import free_stem
from visiontasks.ledger import Ledger
from visiontasks.types import Output

CLASSES: Final = 6  # that a description lists


def record(prediction: Detections, classes: ClassMap, folder: Path, name: str) -> dict[str, Any]:
    """A picture's fields in predictions.json: what was found, best first (design section 7).

    folder, name: unused; detection has no further files of a picture.
    """
    found = zip(
        prediction.labels.tolist(), prediction.scores.tolist(), prediction.boxes.tolist(), strict=True
    )
    return {
        "detections": [
            {"label": classes.names[index], "class": index, "score": score, "box": box}
            for index, score, box in found
        ]
    }


def describe(prediction: Detections, classes: ClassMap) -> str:
    """How many of which class, for the terminal: `3 RBC, 1 WBC`."""
    counts = np.bincount(prediction.labels, minlength=len(classes))
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist()
    words = [f"{counts[index]} {classes.names[index]}" for index in order[:CLASSES]]
    if more := order[CLASSES:]:
        words.append(f"{counts[more].sum()} of {len(more)} more classes")
    return ", ".join(words) or "nothing"


Write = Callable[[Path, ClassMap, Annotations], Sequence[Path]]


class BoxFile:
    """Collects the boxes of all pictures, and has them written last.

    Args:
        write: writes them into the folder and returns the files.
        folder: where they are written. classes: the K classes of the predictions.
    """

    def __init__(self, write: Write, folder: Path, classes: ClassMap) -> None:
        self.write, self.folder, self.classes = write, folder, classes
        self.files: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.found: list[Detections] = []

    def add(self, file: str, size: tuple[int, int], prediction: Detections) -> None:
        """One picture: its path as typed, its (height, width), what was found."""
        self.files.append(file)
        self.sizes.append(size)
        self.found.append(prediction)

    def close(self) -> Sequence[Path]:
        """Write the files. Raises: RunError when they can't be written."""
        picture = np.repeat(np.arange(len(self.found)), [len(one) for one in self.found])
        labels = np.concatenate([np.zeros(0, dtype=np.int64), *(one.labels for one in self.found)])
        annotations = pack(
            self.files,
            np.array(self.sizes, dtype=np.int64).reshape(-1, 2),  # (N, 2)
            picture,
            np.concatenate([np.zeros((0, 4)), *(one.boxes for one in self.found)]),
            labels,
            np.arange(len(labels)),
            scores=np.concatenate([np.zeros(0), *(one.scores for one in self.found)]),
        )
        return self.write(self.folder, self.classes, annotations)


def _write_csv(folder: Path, classes: ClassMap, annotations: Annotations) -> Sequence[Path]:
    path = folder / "predictions.csv"
    write_csv_boxes(path, classes, annotations)
    return [path]


def _write_coco(folder: Path, classes: ClassMap, annotations: Annotations) -> Sequence[Path]:
    """COCO's list of results; files that are named by numbers, as COCO's own, have these as ids."""
    path = folder / "coco.json"
    stems = [PurePath(file).stem for file in annotations.files]
    if len({int(stem) for stem in stems if stem.isdecimal()}) == len(stems):
        annotations.image_ids = [int(stem) for stem in stems]
    write_coco(path, classes, annotations)
    return [path]


def _write_yolo(folder: Path, classes: ClassMap, annotations: Annotations) -> Sequence[Path]:
    annotations.files = _own_names(annotations.files)
    return write_yolo(folder / "labels", classes, annotations, Ledger())


def _write_voc(folder: Path, classes: ClassMap, annotations: Annotations) -> Sequence[Path]:
    annotations.files = _own_names(annotations.files)
    return write_voc(folder / "Annotations", classes, annotations, Ledger())


def _own_names(files: Sequence[str]) -> list[str]:
    """The names of files without their folders; with a counter where two pictures share a stem."""
    taken: set[str] = {"classes"}  # classes.txt is YOLO's list of names
    names = []
    for file in files:
        stem, suffix = PurePath(file).stem, PurePath(file).suffix
        names.append(free_stem(stem, taken) + suffix)
    return names


OUTPUTS: Final[dict[str, Callable[[Path, ClassMap], Output[Detections]]]] = {
    "csv": partial(BoxFile, _write_csv),
    "coco": partial(BoxFile, _write_coco),
    "yolo": partial(BoxFile, _write_yolo),
    "voc": partial(BoxFile, _write_voc),
}
