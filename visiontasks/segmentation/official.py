"""torchvision's official segmentation network as ours: `-w torchvision:NAME`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from visiontasks.backbones.official import Adopted, with_counters
from visiontasks.config import IMAGENET_MEAN, IMAGENET_STD
from visiontasks.io.downloads import Download
from visiontasks.io.weights import ModelRecord

if TYPE_CHECKING:
    from torch import Tensor

SEGMENTERS: Final[dict[str, dict[str, Any]]] = {  # name -> model section
    "lraspp_mobilenet_v3_large": {
        "name": "lraspp",
        "backbone": "mobilenet_v3_large",
        "options": {"dilated": True},
    },
}
LONGEST: Final = 2  # times the shorter side, of what the network sees; torchvision has no such bound

RENAMED: Final = (  # in torchvision's names -> in ours
    ("backbone.", "backbone.features."),
    ("classifier.cbr.", "decoder.project."),
    ("classifier.scale.", "decoder.weigh."),
    ("classifier.low_classifier.", "decoder.fine_scores."),
    ("classifier.high_classifier.", "decoder.coarse_scores."),
)


def adopt(found: Download) -> Adopted:
    """A published segmentation network as one of our models.

    It sees pictures as torchvision's preset shows them, but shrunk by averaging, and pads sides to multiples
    of its stride where torchvision's network rounds them up.

    Args:
        found: what is to be downloaded, one of `SEGMENTERS`; its entry names the classes and the size.

    Returns: its record, and what makes our state dict of torchvision's.
    """
    classes = tuple(name.strip("_") for name in found.weights.meta["categories"])  # __background__
    (shorter,) = found.weights.transforms().resize_size
    record = ModelRecord(
        task="segmentation",
        model=SEGMENTERS[found.model],
        input={
            "size": [shorter, LONGEST * shorter],
            "resize": "shorter",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
        classes=classes,
        file_ids=tuple(range(len(classes))),
        options={},
        provenance={"source": found.url},
    )
    return record, convert_tensors


def convert_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of torchvision's LRASPP as that of our `Segmenter`, its class offsets 0."""
    converted = {renamed(name): tensor for name, tensor in tensors.items()}
    bias = converted["decoder.fine_scores.bias"]
    return with_counters({**converted, "offsets": bias.new_zeros(bias.shape)})


def renamed(name: str) -> str:
    """Our name of one of torchvision's tensors."""
    for theirs, ours in RENAMED:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
