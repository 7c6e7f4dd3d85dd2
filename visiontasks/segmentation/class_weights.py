"""How much each class weighs in the loss, from how often the training masks show it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.segmentation.model_config import LossConfig


class CountsPixels(Protocol):
    """Training data that knows how many pixels each class has."""

    classes: ClassMap

    def class_pixels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Two arrays (K,): the pixels of each class, and the counted pixels of all pictures that show it."""
        ...


def class_weights(loss: LossConfig, source: CountsPixels) -> NDArray[np.float64] | None:
    """The weight of each class (K,) > 0; None where all weigh the same.

    Raises: DataError when the config names a class that the data has not.
    """
    if loss.class_weights is None:
        return None
    if loss.class_weights == "median":
        weights = median_frequency_weights(*source.class_pixels())
    else:
        weights = np.ones(len(source.classes))
        for name, factor in loss.class_weights.items():
            weights[source.classes.index(name, where="loss.class_weights")] = factor
    return np.asarray(weights**loss.class_weight_power, dtype=np.float64)


def median_frequency_weights(
    pixels: NDArray[np.int64], in_pictures: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Median of the classes' frequencies / a class's frequency: rare classes weigh more than 1.

    Args:
        pixels: (K,) pixels of each class.
        in_pictures: (K,) counted pixels of the pictures that show the class at all.

    Returns:
        (K,) float64; 1 for a class that no picture shows.

    Source: Eigen & Fergus 2015 (arXiv 1411.4734, section 6.3.2), as SegNet uses it.
    """
    shown = pixels > 0
    weights = np.ones(len(pixels))
    if shown.any():
        frequencies = pixels[shown] / in_pictures[shown]
        weights[shown] = np.median(frequencies) / frequencies
    return weights
