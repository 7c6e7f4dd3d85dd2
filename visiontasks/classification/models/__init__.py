"""The networks of classification, by the name of their head."""

from __future__ import annotations

from torch import nn

from visiontasks.backbones import build_backbone, build_head
from visiontasks.classes import ClassMap
from visiontasks.classification.config import LossConfig, ModelConfig
from visiontasks.classification.models.classifier import Classifier


def build_model(model: ModelConfig, loss: LossConfig, classes: ClassMap) -> nn.Module:
    """A classifier with random weights; K is the number of classes.

    Raises: UsageError when there is no such backbone.
    """
    backbone = build_backbone(model.backbone, stem=model.stem)
    head = build_head(model.backbone, backbone, len(classes), kind=model.head, dropout=model.dropout)
    return Classifier(backbone, head, None, loss.label_smoothing)
