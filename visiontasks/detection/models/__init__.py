"""The networks of detection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from torch import nn

from visiontasks.backbones import build_backbone, freeze
from visiontasks.backbones.levels import BackboneModule
from visiontasks.classes import ClassMap
from visiontasks.detection.config import FasterRcnnConfig, FastRcnnConfig, LossConfig, ModelConfig
from visiontasks.detection.models.fast_rcnn import FastRcnn
from visiontasks.detection.models.faster_rcnn import FasterRcnn
from visiontasks.detection.models.sliding_window import build_sliding_window


def build_model(model: ModelConfig, classes: ClassMap, loss: LossConfig | None, source: object) -> nn.Module:
    """A detector with random weights.

    Args:
        model, loss: sections of the config; loss None = the default one.
        classes: the K classes.
        source: the training data; not looked at.

    Raises:
        UsageError: no such backbone, or parts that do not fit each other. ConfigError: a wrong option.
    """
    return MODELS[model.name](model, len(classes), loss or LossConfig())


def _faster_rcnn(config: FasterRcnnConfig, num_classes: int, loss: LossConfig) -> nn.Module:
    return FasterRcnn(_region_backbone(config), num_classes, config, loss)


def _fast_rcnn(config: FastRcnnConfig, num_classes: int, loss: LossConfig) -> nn.Module:
    return FastRcnn(_region_backbone(config), num_classes, config, loss)


def _region_backbone(config: FasterRcnnConfig | FastRcnnConfig) -> BackboneModule:
    """The backbone, its batch norm as the config wants it."""
    backbone = build_backbone(config.backbone, **config.options)
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = layer.eps if config.batch_norm.eps is None else config.batch_norm.eps
            if config.batch_norm.frozen:
                freeze(layer)
    return backbone


MODELS: Final[dict[str, Callable[[Any, int, LossConfig], nn.Module]]] = {
    "faster_rcnn": _faster_rcnn,
    "fast_rcnn": _fast_rcnn,
    "sliding_window": build_sliding_window,
}
