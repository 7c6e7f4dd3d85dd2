"""The files that classification can write, and its words for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from visiontasks.classes import ClassMap
from visiontasks.classification.types import Classification
from visiontasks.io.files import write_csv
from visiontasks.types import Output

LABELS = 5  # classes listed for a picture


def record(prediction: Classification, classes: ClassMap, folder: Path, name: str) -> dict[str, Any]:
    """A picture's fields in predictions.json: its five best classes, best first (design section 7).

    folder, name: unused; classification has no further files of a picture.
    """
    labels = [
        {"label": classes.names[index], "class": index, "score": score}
        for index, score in prediction.top(LABELS)
    ]
    return {"labels": labels}


def describe(prediction: Classification, classes: ClassMap) -> str:
    """The best class and its probability, for the terminal: `cat 0.93`."""
    return f"{classes.names[prediction.best]} {prediction.score:.2f}"


class CsvPredictions:
    """predictions.csv with the columns path, label, score: what `evaluate --predictions` reads.

    folder: where it is written. classes: the K classes of the predictions.
    """

    def __init__(self, folder: Path, classes: ClassMap) -> None:
        self.path, self.classes = folder / "predictions.csv", classes
        self.rows: list[tuple[str, str, float]] = []

    def add(self, file: str, size: tuple[int, int], prediction: Classification) -> None:
        """One picture: its path as typed, its (height, width), what it shows."""
        self.rows.append((file, self.classes.names[prediction.best], prediction.score))

    def close(self) -> Sequence[Path]:
        """Write the file. Raises: RunError when it can't be written."""
        write_csv(self.path, ("path", "label", "score"), self.rows)
        return [self.path]


OUTPUTS: Final[dict[str, Callable[[Path, ClassMap], Output[Classification]]]] = {"csv": CsvPredictions}
