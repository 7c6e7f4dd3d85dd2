"""How classification is measured: one file a protocol. Imports no torch."""

from __future__ import annotations

from visiontasks.classification.metrics.compare import compare
from visiontasks.classification.metrics.evaluator import ClassificationEvaluator

__all__ = ["ClassificationEvaluator", "compare"]
