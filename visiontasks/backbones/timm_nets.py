"""Networks of the package timm (extra `timm`) that can give feature levels, as `timm/NAME`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import timm
from torch import Tensor, nn

from visiontasks.backbones import TIMM_PREFIX
from visiontasks.backbones.heads import ClassifierHead, average_and_linear
from visiontasks.backbones.levels import BackboneModule
from visiontasks.backbones.options import NoOptions
from visiontasks.errors import UsageError


class TimmNet(BackboneModule):
    """A network of timm with `features_only`; `net` has timm's parameter names.

    level: what each level goes through last, unchanged: a name for it, channels first.
    """

    def __init__(self, name: str, net: nn.Module, channels: Sequence[int], strides: Sequence[int]) -> None:
        ends = [f"level.{i}" for i in range(len(channels))]
        super().__init__(name, channels=channels, strides=strides, ends=ends, minimum_size=max(strides))
        self.net = net
        self.level = nn.ModuleList(nn.Identity() for _ in channels)
        self.channels_last = str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        levels: Sequence[Tensor] = self.net(images)
        if self.channels_last:
            levels = [level.permute(0, 3, 1, 2) for level in levels]  # (B, C, h, w)
        return tuple(end(level) for end, level in zip(self.level, levels, strict=True))


def build(name: str, options: NoOptions) -> TimmNet:
    """Levels as timm defines them.

    Raises: UsageError when timm has no such network, or one without feature levels.
    """
    model = name.removeprefix(TIMM_PREFIX)
    if model.partition(".")[0] not in timm.list_models():
        close = difflib.get_close_matches(model, timm.list_models(), n=3)
        hint = f"near it: {', '.join(TIMM_PREFIX + other for other in close)}; " if close else ""
        raise UsageError(f"unknown backbone '{name}'; {hint}timm.list_models() lists them all")
    try:
        net: Any = timm.create_model(model, pretrained=False, features_only=True)
    except (RuntimeError, AttributeError, NotImplementedError) as error:
        raise UsageError(
            f"expected a network that gives feature levels, found '{name}' ({error}); take another"
        ) from error
    return TimmNet(name, net, net.feature_info.channels(), net.feature_info.reduction())


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Global average pooling, dropout and one linear layer."""
    return average_and_linear(channels, num_classes, dropout or 0.0)
