"""torchvision's official detectors as ours: `-w torchvision:NAME`. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from visiontasks.backbones.official import Adopted, with_counters
from visiontasks.config import IMAGENET_MEAN, IMAGENET_STD
from visiontasks.io.downloads import Download
from visiontasks.io.weights import ModelRecord

if TYPE_CHECKING:
    from torch import Tensor

NO_CLASS: Final = ("__background__", "N/A")  # rows of torchvision's heads that stand for no class of COCO
POOLED: Final = 7


def _resnet50(eps: float, **parts: dict[str, Any]) -> dict[str, Any]:
    """The model section of a ResNet-50; eps: of its batch norm, as those weights were trained."""
    return {
        "name": "faster_rcnn",
        "backbone": "resnet50",
        "batch_norm": {"frozen": True, "eps": eps},
        "pyramid": parts.get("pyramid", {}),
        "anchors": {"sizes": [[32], [64], [128], [256], [512]], "placement": "corners"},
        "proposals": {"before_nms": 1000, "after_nms": 1000, **parts.get("proposals", {})},
        "head": {"aligned": False, **parts.get("head", {})},
    }


def _mobilenet(proposals: int) -> dict[str, Any]:
    """The model section of a MobileNetV3; proposals: before and after suppression."""
    return {
        "name": "faster_rcnn",
        "backbone": "mobilenet_v3_large",
        "options": {"split": True},
        "batch_norm": {"frozen": True, "eps": 1e-5},
        "pyramid": {"finest": 32},
        "anchors": {"sizes": [[32, 64, 128, 256, 512]] * 3, "placement": "corners"},
        "proposals": {"before_nms": proposals, "after_nms": proposals, "min_score": 0.05},
        "head": {"aligned": False},
    }


DETECTORS: Final[dict[str, tuple[dict[str, Any], tuple[int, int]]]] = {  # name -> model section, input.size
    "fasterrcnn_resnet50_fpn": (_resnet50(eps=0.0), (800, 1333)),
    "fasterrcnn_resnet50_fpn_v2": (
        _resnet50(
            eps=1e-5,
            pyramid={"norm": "batch"},
            proposals={"depth": 2},
            head={"convolutions": 4, "norm": "batch", "widths": [1024]},
        ),
        (800, 1333),
    ),
    "fasterrcnn_mobilenet_v3_large_fpn": (_mobilenet(1000), (800, 1333)),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (_mobilenet(150), (320, 640)),
}

RENAMED: Final = (  # in torchvision's names -> in ours; older files lack a level of numbers
    (r"backbone\.body\.(\d)", r"backbone.features.\1"),
    (r"backbone\.body\.", "backbone."),
    (r"backbone\.fpn\.inner_blocks\.(\d+)\.(weight|bias)", r"pyramid.project.\1.0.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d+)\.(weight|bias)", r"pyramid.finish.\1.0.\2"),
    (r"backbone\.fpn\.inner_blocks\.", "pyramid.project."),
    (r"backbone\.fpn\.layer_blocks\.", "pyramid.finish."),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.convolutions.0.0.\1"),
    (r"rpn\.head\.conv\.", "rpn.convolutions."),
    (r"rpn\.head\.cls_logits\.", "rpn.objectness."),
    (r"rpn\.head\.bbox_pred\.", "rpn.deltas."),
    (r"roi_heads\.box_head\.fc6\.", "head.layers.0.0."),
    (r"roi_heads\.box_head\.fc7\.", "head.layers.1.0."),
    (r"roi_heads\.box_head\.5\.", "head.layers.0.0."),  # of v2: after four convolutions and a flattening
    (r"roi_heads\.box_head\.", "head.convolutions."),
    (r"roi_heads\.box_predictor\.cls_score\.", "head.classes."),
    (r"roi_heads\.box_predictor\.bbox_pred\.", "head.deltas."),
)


def adopt(found: Download) -> Adopted:
    """A published detector as one of our models.

    Rows of the head that stand for numbers that COCO does not use are left out: no picture taught them, so
    their scores are next to nothing.

    Args:
        found: what is to be downloaded, one of `DETECTORS`; its entry names the classes.

    Returns: its record, and what makes our state dict of torchvision's.
    """
    categories = found.weights.meta["categories"]
    rows = [number for number, name in enumerate(categories) if name not in NO_CLASS]
    model, size = DETECTORS[found.model]
    record = ModelRecord(
        task="detection",
        model=model,
        input={
            "size": list(size),
            "resize": "shorter",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
        classes=tuple(categories[row] for row in rows),
        file_ids=tuple(rows),
        options={"confidence": 0.5, "iou": 0.5, "max_detections": 100},
        provenance={"source": found.url},
    )
    return record, partial(convert_tensors, rows=rows)


def convert_tensors(tensors: Mapping[str, Tensor], rows: list[int]) -> dict[str, Tensor]:
    """The state dict of torchvision's FasterRCNN as that of our `FasterRcnn`.

    Three tensors are more than renamed: a head's first layer reads features channel by channel there and cell
    by cell here; the background is class 0 there and the last one here; it has box outputs there.

    Args:
        tensors: torchvision's names -> tensors. rows: its class numbers that are kept, without 0.
    """
    converted = {renamed(name): tensor for name, tensor in tensors.items()}
    first = converted["head.layers.0.0.weight"]
    converted["head.layers.0.0.weight"] = (
        first.reshape(len(first), -1, POOLED, POOLED).permute(0, 2, 3, 1).flatten(1)
    )  # (O, POOLED * POOLED * C)
    for part in ("weight", "bias"):
        converted[f"head.classes.{part}"] = converted[f"head.classes.{part}"][[*rows, 0]]
        deltas = converted[f"head.deltas.{part}"]
        converted[f"head.deltas.{part}"] = deltas.reshape(-1, 4, *deltas.shape[1:])[rows].flatten(0, 1)
    return with_counters(converted)


def renamed(name: str) -> str:
    """Our name of one of torchvision's tensors."""
    for pattern, replacement in RENAMED:
        ours, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            return ours
    return name
