"""torchvision's official networks against ours: the same tensors, in two parts. Imports no torch.

A classifier here is a `backbone` and a `head`; torchvision's is one module with the same names in it:
`layer1.0.conv1.weight` -> `backbone.layer1.0.conv1.weight`, `fc.weight` -> `head.fc.weight`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from visiontasks.config import IMAGENET_MEAN, IMAGENET_STD

T = TypeVar("T")

HEADS: Final = ("fc.", "classifier.")
AUXILIARY: Final = ("aux1.", "aux2.")  # GoogLeNet's extra classifiers, of use in training only


def renamed_tensors(tensors: Mapping[str, T]) -> dict[str, T]:
    """The state dict of torchvision's network as that of a module with a `backbone` and a `head`.

    Args:
        tensors: names as torchvision writes them -> tensors (anything: only the names are read).
    """
    return {
        f"{'head' if name.startswith(HEADS) else 'backbone'}.{name}": tensor
        for name, tensor in tensors.items()
        if not name.startswith(AUXILIARY)
    }


def normalisation(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """(mean, std) of RGB in [0, 1] that torchvision's official weights of a backbone were trained with.

    GoogLeNet's came from TensorFlow and want pixels in [-1, 1]; torchvision converts inside the network
    (`transform_input`), we before it.
    """
    return ((0.5,) * 3, (0.5,) * 3) if name == "googlenet" else (IMAGENET_MEAN, IMAGENET_STD)
