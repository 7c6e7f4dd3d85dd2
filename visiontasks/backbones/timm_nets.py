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
from visiontasks.errors import DataError, UsageError


class TimmNet(BackboneModule):
    """A network of timm with `features_only`; `net` has timm's parameter names.

    last: what the last level goes through, unchanged: a name for it with channels first, where timm has none.
    """

    def __init__(self, name: str, net: nn.Module, channels: Sequence[int], strides: Sequence[int]) -> None:
        channels_last = str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")
        layers = () if channels_last else getattr(net, "return_layers", ())  # of a FeatureListNet
        ends = [f"net.{layer}" for layer in layers] or ["last"] * len(channels)
        super().__init__(name, channels=channels, strides=strides, ends=ends, minimum_size=max(strides))
        self.net, self.channels_last = net, channels_last
        self.last = nn.Identity()

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        try:
            levels: Sequence[Tensor] = self.net(images)
        except AssertionError as error:  # of networks for one size only
            raise DataError(
                f"expected pictures of the size that '{self.name}' is built for, found "
                f"{images.shape[-2]}x{images.shape[-1]} ({error}); change input.size or the backbone"
            ) from error
        if self.channels_last:
            levels = [level.permute(0, 3, 1, 2) for level in levels]  # (B, C, h, w)
        return (*levels[:-1], self.last(levels[-1]))


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
