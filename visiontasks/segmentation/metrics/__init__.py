"""How segmentation is measured: one confusion matrix, summed over pictures. Imports no torch."""

from __future__ import annotations

from visiontasks.segmentation.metrics.compare import compare
from visiontasks.segmentation.metrics.evaluator import SegmentationEvaluator

__all__ = ["SegmentationEvaluator", "compare"]
