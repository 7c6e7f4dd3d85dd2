"""The networks of classification."""

from __future__ import annotations

import torch
from torch import nn

from visiontasks.backbones import build_backbone, build_classifier_head, build_linear_head
from visiontasks.classes import ClassMap
from visiontasks.classification.config import LossConfig, ModelConfig
from visiontasks.classification.datasets import LabelledImages, class_weights
from visiontasks.classification.models.classifier import Classifier


def build_model(
    model: ModelConfig, classes: ClassMap, loss: LossConfig, source: LabelledImages | None
) -> nn.Module:
    """A classifier with random weights; K is the number of classes.

    Args:
        model, loss: sections of the config.
        classes: the K classes.
        source: the training pictures, where the loss is weighted by how many there are of each class.

    Raises:
        UsageError: no such backbone. ConfigError: the backbone has no such option. DataError: unknown class.
    """
    backbone = build_backbone(model.backbone, **model.options)
    if model.head == "original":
        head: nn.Module = build_classifier_head(model.backbone, backbone, len(classes), model.dropout)
    else:
        head = build_linear_head(backbone, len(classes), model.dropout or 0.0)
    weights = class_weights(loss, source) if source is not None else None
    factors = None if weights is None else torch.tensor(weights, dtype=torch.float32)
    return Classifier(backbone, head, factors, loss.label_smoothing, mirror=model.mirror, shift=model.shift)
