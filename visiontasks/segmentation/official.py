"""torchvision's official weights as a start of training: `model.weights: torchvision:resnet50`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from visiontasks.backbones import torchvision_names
from visiontasks.backbones.official import renamed_tensors
from visiontasks.errors import UsageError, unknown_name
from visiontasks.io.downloads import Download
from visiontasks.io.weights import ModelRecord

T = TypeVar("T")


def adopt(found: Download, tensors: Mapping[str, T]) -> tuple[dict[str, T], ModelRecord]:
    """A downloaded classifier, whose backbone a segmentation network can start from; it says what it is.

    Args:
        found: what was downloaded; its entry says the class names.
        tensors: torchvision's names -> tensors.

    Raises: UsageError for a network that is none of our backbones.
    """
    if found.model not in torchvision_names():
        raise UsageError(unknown_name("torchvision backbone", found.model, torchvision_names()))
    record = ModelRecord(
        task="classification",
        model={"backbone": found.model, "head": "original"},
        input={},
        classes=tuple(found.weights.meta["categories"]),
        options={},
        provenance={"source": found.url},
    )
    return renamed_tensors(tensors), record
