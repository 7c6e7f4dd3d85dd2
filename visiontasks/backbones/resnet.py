"""ResNet-18 to ResNet-152, torchvision's, of any widths. Source: He et al. 2015, arXiv:1512.03385."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from visiontasks.backbones.heads import ClassifierHead, average_and_linear
from visiontasks.backbones.levels import CutNetwork
from visiontasks.backbones.options import ResNetOptions

LAYERS: Final[dict[str, tuple[type[BasicBlock] | type[Bottleneck], list[int]]]] = {  # table 1 of the paper
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}


class Widened(ResNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's network with other widths; its classifier, which does not fit them, is not for use.

    Groups of blocks without a width are left empty. Each block begins as the identity: its last batch norm
    scales by 0 (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
    """

    def __init__(self, name: str, widths: Sequence[int]) -> None:
        self.widths = iter(widths)
        block, layers = LAYERS[name]
        super().__init__(block, layers, num_classes=1, zero_init_residual=True)

    def _make_layer(self, block: Any, planes: int, *others: Any, **options: Any) -> nn.Sequential:
        width = next(self.widths, None)
        if width is None:
            return nn.Sequential()
        layer: nn.Sequential = super()._make_layer(block, width, *others, **options)
        return layer


def build(name: str, options: ResNetOptions) -> CutNetwork:
    """Levels: the stem and the outputs of the four groups of blocks.

    With the small stem (section 4.2 of the paper) the first group already works at full size: four levels of
    strides 1, 2, 4 and 8.
    """
    network = Widened(name, options.widths)
    channels = [width * LAYERS[name][0].expansion for width in options.widths]
    groups = [[f"layer{number}"] for number in range(2, len(channels) + 1)]
    if options.stem == "small":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        stages = [["conv1", "bn1", "relu", "layer1"], *groups]
        return CutNetwork(name, network, stages, channels=channels, strides=(1, 2, 4, 8)[: len(channels)])
    stages = [["conv1", "bn1", "relu"], ["maxpool", "layer1"], *groups]
    strides = (2, 4, 8, 16, 32)[: len(stages)]
    return CutNetwork(name, network, stages, channels=[64, *channels], strides=strides)


def build_head(name: str, channels: int, num_classes: int, dropout: float | None) -> ClassifierHead:
    """Global average pooling and one linear layer."""
    return average_and_linear(channels, num_classes, dropout or 0.0)
