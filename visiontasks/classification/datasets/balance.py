"""Weights against unequal numbers of pictures a class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visiontasks.classification.config import ClassificationConfig, LossConfig
from visiontasks.classification.datasets.labelled_images import LabelledImages
from visiontasks.types import Source


def sample_weights(config: ClassificationConfig, source: Source[int]) -> NDArray[np.float64] | None:
    """Chance of each picture to be drawn (N,), summing to 1; None = each once an epoch.

    With `sampling: balanced` each class is drawn equally often on average.
    """
    if config.sampling == "shuffle":
        return None
    assert isinstance(source, LabelledImages)  # what every format here becomes
    weights = 1.0 / np.bincount(source.labels)[source.labels]  # (N,)
    chances: NDArray[np.float64] = weights / weights.sum()
    return chances


def class_weights(config: LossConfig, source: LabelledImages) -> NDArray[np.float64] | None:
    """Factor of each class in the loss (K,); None = all alike.

    `balanced`: inversely proportional to the class's pictures, with mean 1 over the pictures.
    Source: the rule of scikit-learn's compute_class_weight.

    Raises: DataError for a class that the data does not have.
    """
    if config.class_weights is None:
        return None
    if config.class_weights == "balanced":
        counts = np.bincount(source.labels, minlength=len(source.classes))
        return len(source) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    weights = np.ones(len(source.classes))
    for name, weight in config.class_weights.items():
        weights[source.classes.index(name, where="loss.class_weights")] = weight
    return weights
