"""The networks of segmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from visiontasks.backbones.levels import BackboneModule
from visiontasks.classes import ClassMap
from visiontasks.segmentation.class_weights import CountsPixels, class_weights
from visiontasks.segmentation.model_config import LossConfig, ModelConfig
from visiontasks.segmentation.models.fcn import build_fcn
from visiontasks.segmentation.models.lraspp import build_lraspp
from visiontasks.segmentation.models.naive import build_naive
from visiontasks.segmentation.models.segmenter import Segmenter
from visiontasks.segmentation.models.segnet import build_segnet
from visiontasks.segmentation.models.unet import build_unet
from visiontasks.segmentation.models.upernet import build_upernet

Builder = Callable[[Any, int], tuple[BackboneModule, nn.Module]]  # (section, K) -> backbone and decoder

BUILDERS: Final[dict[str, Builder]] = {
    "naive": build_naive,
    "fcn": build_fcn,
    "segnet": build_segnet,
    "unet": build_unet,
    "upernet": build_upernet,
    "lraspp": build_lraspp,
}


def build_model(
    model: ModelConfig, classes: ClassMap, loss: LossConfig, source: CountsPixels | None
) -> Segmenter:
    """A segmentation network with random weights; K is the number of classes.

    Args:
        model, loss: sections of the config.
        classes: the K classes.
        source: the training pictures, where the loss is weighted by how often each class is shown.

    Raises:
        UsageError: no such backbone. ConfigError: the backbone has no such option, or too few levels.
        DataError: the loss names an unknown class.
    """
    backbone, decoder = BUILDERS[model.name](model, len(classes))
    weights = None if source is None else class_weights(loss, source)
    return Segmenter(
        backbone,
        decoder,
        len(classes),
        loss,
        None if weights is None else torch.tensor(weights, dtype=torch.float32),
        with_positions=model.name == "segnet" or getattr(model, "up", None) == "unpool",
        mirror=model.mirror,
        with_offsets=model.offsets,
    )
