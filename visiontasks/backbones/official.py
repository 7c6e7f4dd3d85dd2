"""torchvision's official networks against ours: the same tensors, in two parts. Imports no torch.

A classifier here is a `backbone` and a `head`; torchvision's is one module with the same names in it:
`layer1.0.conv1.weight` -> `backbone.layer1.0.conv1.weight`, `fc.weight` -> `head.fc.weight`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from visiontasks.config import IMAGENET_MEAN, IMAGENET_STD
from visiontasks.io.downloads import Download
from visiontasks.io.weights import ModelRecord

T = TypeVar("T")
Adopted = tuple[ModelRecord, Callable[[Mapping[str, Any]], dict[str, Any]]]

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


def with_counters(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """With batch norm's counters of batches, which torchvision's older files and frozen layers lack."""
    means = [name for name in tensors if name.endswith(".running_mean")]
    counters = {name.replace("running_mean", "num_batches_tracked"): tensors[name] for name in means}
    return {**{name: mean.new_zeros(()).long() for name, mean in counters.items()}, **tensors}


def normalisation(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """(mean, std) of RGB in [0, 1] that torchvision's official weights of a backbone were trained with.

    GoogLeNet's came from TensorFlow and want pixels in [-1, 1]; torchvision converts inside the network
    (`transform_input`), we before it.
    """
    return ((0.5,) * 3, (0.5,) * 3) if name == "googlenet" else (IMAGENET_MEAN, IMAGENET_STD)


def adopt_classifier(found: Download) -> Adopted:
    """A published classifier as one of our models; any task can start from its backbone.

    Args:
        found: what is to be downloaded, one of our backbones; its entry says size, crop and class names.

    Returns: its record, and what makes our state dict of torchvision's.
    """
    preset = found.weights.transforms()
    (size,), (resized,) = preset.crop_size, preset.resize_size
    mean, std = normalisation(found.model)
    names = distinct(found.weights.meta["categories"])
    record = ModelRecord(
        task="classification",
        model={"backbone": found.model, "head": "original"},
        input={
            "size": [size, size],
            "resize": "crop",
            "crop_fraction": size / resized,
            "mean": list(mean),
            "std": list(std),
        },
        classes=names,
        options={"temperature": 1.0},
        provenance={"source": found.url},
    )
    return record, lambda tensors: with_counters(renamed_tensors(tensors))


def distinct(names: list[str]) -> tuple[str, ...]:
    """Class names told apart by a counter: ImageNet has two classes "crane" and two "maillot"."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(result)
