"""visiontasks: computer-vision task pipelines on one shared CNN backbone.

>>> import visiontasks as vt
>>> model = vt.load("path/to/weights.safetensors")
>>> result = model("photo.jpg")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from visiontasks.api import Model, check, evaluate, load, train
    from visiontasks.classification.types import Classification
    from visiontasks.detection.types import Detections
    from visiontasks.segmentation.types import SegmentationMap

_PUBLIC = {  # name -> module; imported when first asked for, so that `import visiontasks` is quick
    "load": "visiontasks.api",
    "train": "visiontasks.api",
    "evaluate": "visiontasks.api",
    "check": "visiontasks.api",
    "Model": "visiontasks.api",
    "Classification": "visiontasks.classification.types",
    "Detections": "visiontasks.detection.types",
    "SegmentationMap": "visiontasks.segmentation.types",
}
__all__ = ["Classification", "Detections", "Model", "SegmentationMap", "check", "evaluate", "load", "train"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'visiontasks' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
