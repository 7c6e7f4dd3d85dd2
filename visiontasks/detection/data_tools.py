"""Detection's part of `visiontasks data`. Imports no torch."""

from __future__ import annotations

from typing import Final

import numpy as np

from visiontasks.data_tools import DataTools, LabelCounts
from visiontasks.detection.data_examine import examine
from visiontasks.detection.data_recognise import recognise
from visiontasks.detection.data_statistics import statistics
from visiontasks.detection.data_writers import WRITERS
from visiontasks.detection.datasets import ComposedScenes, LabelledBoxes
from visiontasks.detection.types import Boxes
from visiontasks.types import Source


def count(source: Source[Boxes]) -> LabelCounts:
    """How many boxes of each class are on each picture."""
    assert isinstance(source, LabelledBoxes | ComposedScenes)  # what every format becomes
    annotations, num_classes = source.annotations, len(source.classes)
    places, counts = np.unique(annotations.picture * num_classes + annotations.labels, return_counts=True)
    return LabelCounts(places // num_classes, places % num_classes, counts.astype(np.int64))


DATA_TOOLS: Final[DataTools[Boxes]] = DataTools(
    counted="boxes",
    recognise=recognise,
    examine=examine,
    count=count,
    statistics=statistics,
    writers=WRITERS,
)
