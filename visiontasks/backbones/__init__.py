"""The shared CNN, by name: one contract (`visiontasks.types.Backbone`) for every network.

A family is one file here with two functions, `build(name, options)` and `build_head(...)`; adding a backbone
is that file and one line in `BACKBONES`. Importing this package leaves torch alone.

>>> backbone = build_backbone("resnet18")
>>> backbone.channels, backbone.strides
((64, 64, 128, 256, 512), (2, 4, 8, 16, 32))
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Final

from visiontasks.backbones.freezing import freeze
from visiontasks.backbones.options import OPTIONS, NoOptions, Options
from visiontasks.config_files import parse_config
from visiontasks.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from visiontasks.backbones.heads import ClassifierHead
    from visiontasks.backbones.levels import BackboneModule

__all__ = [
    "BACKBONES",
    "build_backbone",
    "build_classifier_head",
    "build_linear_head",
    "check_backbone",
    "family_of",
    "freeze",
    "names",
    "parse_options",
    "torchvision_names",
]

BACKBONES: Final[dict[str, str]] = {  # name -> the family's file
    "small": "small",
    "alexnet": "alexnet",
    "alexnet_lrn": "alexnet",
    "vgg11": "vgg",
    "vgg11_bn": "vgg",
    "vgg13": "vgg",
    "vgg13_bn": "vgg",
    "vgg16": "vgg",
    "vgg16_bn": "vgg",
    "vgg19": "vgg",
    "vgg19_bn": "vgg",
    "googlenet": "googlenet",
    "resnet18": "resnet",
    "resnet34": "resnet",
    "resnet50": "resnet",
    "resnet101": "resnet",
    "resnet152": "resnet",
    "regnet_x_400mf": "regnet",
    "regnet_x_800mf": "regnet",
    "regnet_y_400mf": "regnet",
    "regnet_y_800mf": "regnet",
    "mobilenet_v3_small": "mobilenet",
    "mobilenet_v3_large": "mobilenet",
    "efficientnet_b0": "efficientnet",
    "efficientnet_b1": "efficientnet",
    "efficientnet_b2": "efficientnet",
    "efficientnet_b3": "efficientnet",
    "convnext_tiny": "convnext",
    "convnext_small": "convnext",
}

OURS: Final = ("small", "alexnet_lrn")  # torchvision has no such network
TIMM_PREFIX: Final = "timm/"


def names() -> tuple[str, ...]:
    """The backbones that come with the package; `timm/NAME` is accepted besides."""
    return tuple(BACKBONES)


def torchvision_names() -> tuple[str, ...]:
    """The backbones that torchvision publishes weights for."""
    return tuple(name for name in BACKBONES if name not in OURS)


def family_of(name: str) -> str:
    """The file that builds a backbone. Raises: UsageError for a name that does not exist."""
    if name.startswith(TIMM_PREFIX):
        return "timm_nets"
    if name not in BACKBONES:
        raise UsageError(unknown_name("backbone", name, [*BACKBONES, f"{TIMM_PREFIX}NAME"]))
    return BACKBONES[name]


def check_backbone(name: str) -> str:
    """The name itself when it can be built, for validating a config without torch.

    Raises: UsageError for an unknown name, or for `timm/NAME` where the package timm is not installed.
    """
    if family_of(name) == "timm_nets" and importlib.util.find_spec("timm") is None:
        raise UsageError(f"expected the package timm for the backbone '{name}', found none; pip install timm")
    return name


def parse_options(name: str, options: dict[str, Any]) -> Options:
    """The options of a backbone, checked and converted (strings from YAML become numbers).

    Raises: ConfigError for an option that this backbone lacks, or a bad value; UsageError for the name.
    """
    model = OPTIONS.get(family_of(name), NoOptions)
    parsed: Options = parse_config(model, options, file=f"options of backbone '{name}'")
    return parsed


def build_backbone(name: str, **options: Any) -> BackboneModule:
    """A network that turns pictures into feature levels, with random weights.

    Args:
        name: one of `names()`, or `timm/NAME`.
        options: see `options.py`; most families have none.

    Returns:
        A module: (B, 3, H, W) float -> levels (B, channels[i], ~H/strides[i], ~W/strides[i]), finest
        first. Its parameters bear torchvision's names, so that official weights fit (`official.py`).

    Raises:
        UsageError: unknown name, or timm is not installed. ConfigError: a wrong option.
    """
    family = importlib.import_module(f"{__name__}.{family_of(check_backbone(name))}")
    backbone: BackboneModule = family.build(name, parse_options(name, options))
    return backbone


def build_classifier_head(
    name: str, backbone: BackboneModule, num_classes: int, dropout: float | None = None
) -> ClassifierHead:
    """The family's original classifier on top of a backbone, with random weights.

    Args:
        name: the backbone's name.
        backbone: what `build_backbone(name)` made; its last level is read.
        num_classes: K >= 1.
        dropout: probability in [0, 1); None = as published for the family.

    Returns:
        A module: feature levels -> logits (B, K).

    Raises:
        UsageError: unknown name.
    """
    family = importlib.import_module(f"{__name__}.{family_of(name)}")
    head: ClassifierHead = family.build_head(name, backbone.channels[-1], num_classes, dropout)
    return head


def build_linear_head(backbone: BackboneModule, num_classes: int, dropout: float = 0.0) -> ClassifierHead:
    """Global average pooling, dropout and one linear layer on any backbone, with random weights.

    Args:
        backbone: its last level is read.
        num_classes: K >= 1.
        dropout: probability in [0, 1).

    Returns:
        A module: feature levels -> logits (B, K).
    """
    from visiontasks.backbones.heads import average_and_linear

    return average_and_linear(backbone.channels[-1], num_classes, dropout)
