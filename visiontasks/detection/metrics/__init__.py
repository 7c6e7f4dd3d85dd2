"""How detection is measured: one file a protocol. Imports no torch."""

from __future__ import annotations

from visiontasks.detection.metrics.compare import compare
from visiontasks.detection.metrics.evaluator import DetectionEvaluator

__all__ = ["DetectionEvaluator", "compare"]
