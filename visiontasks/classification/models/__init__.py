"""The networks of classification."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from visiontasks.backbones import build_backbone, build_classifier_head, build_linear_head
from visiontasks.classes import ClassMap
from visiontasks.classification.config import LossConfig, ModelConfig
from visiontasks.classification.datasets import LabelledImages
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
    options = {"stem": model.stem} if model.stem != "standard" else {}
    backbone = build_backbone(model.backbone, **options)
    if model.head == "original":
        head: nn.Module = build_classifier_head(model.backbone, backbone, len(classes), model.dropout)
    else:
        head = build_linear_head(backbone, len(classes), model.dropout)
    return Classifier(backbone, head, _class_weights(loss, classes, source), loss.label_smoothing)


def _class_weights(loss: LossConfig, classes: ClassMap, source: LabelledImages | None) -> Tensor | None:
    """(K,) float32: N / (K * n_k) for `balanced`, or the factors of the config; None for no weights."""
    if loss.class_weights is None or source is None:
        return None
    if loss.class_weights == "balanced":
        counts = np.bincount(source.labels, minlength=len(classes))
        return torch.tensor(len(source) / (len(classes) * np.maximum(counts, 1)), dtype=torch.float32)
    weights = torch.ones(len(classes))
    for name, factor in loss.class_weights.items():
        weights[classes.index(name)] = factor
    return weights
