"""torchvision's official classifiers as ours: `-w torchvision:NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from visiontasks.backbones import torchvision_names
from visiontasks.backbones.official import normalisation, renamed_tensors
from visiontasks.errors import UsageError, unknown_name
from visiontasks.io.downloads import Download
from visiontasks.io.weights import ModelRecord

T = TypeVar("T")


def adopt(found: Download, tensors: Mapping[str, T]) -> tuple[dict[str, T], ModelRecord]:
    """A downloaded state dict as one of our models.

    Args:
        found: what was downloaded; its entry says size, crop and class names.
        tensors: torchvision's names -> tensors.

    Raises: UsageError for a network that is none of our backbones.
    """
    if found.model not in torchvision_names():
        raise UsageError(unknown_name("torchvision classifier", found.model, torchvision_names()))
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
    return renamed_tensors(tensors), record


def distinct(names: list[str]) -> tuple[str, ...]:
    """Class names told apart by a counter: ImageNet has two classes "crane" and two "maillot"."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(result)
