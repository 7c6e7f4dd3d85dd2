"""Image classification: which of K classes a picture shows. Importing this package leaves torch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from visiontasks.backbones import torchvision_names
from visiontasks.backbones.official import adopt_classifier
from visiontasks.classes import ClassMap
from visiontasks.classification.config import (
    AugmentConfig,
    ClassificationConfig,
    InputConfig,
    LossConfig,
    ModelConfig,
)
from visiontasks.classification.data_tools import DATA_TOOLS
from visiontasks.classification.datasets import LabelledImages, open_source, sample_weights
from visiontasks.classification.draw import draw, draw_example, plots
from visiontasks.classification.metrics import ClassificationEvaluator, compare
from visiontasks.classification.mistakes import ClassificationMistakes, cut
from visiontasks.classification.operating_point import choose_operating_point
from visiontasks.classification.outputs import OUTPUTS, describe, record
from visiontasks.classification.types import Classification
from visiontasks.types import Batch, Example, Targets, Task, Transform

if TYPE_CHECKING:
    from torch import nn


def _build_transform(
    input: InputConfig, augment: AugmentConfig | None, classes: ClassMap, memory: None
) -> Transform[int]:
    from visiontasks.classification.transforms import build_transform

    return build_transform(input, augment, classes)


def _collate(examples: Sequence[Example[int]]) -> Batch:
    from visiontasks.classification.transforms import collate

    return collate(examples)


def _build_model(
    model: ModelConfig, classes: ClassMap, loss: LossConfig | None, source: LabelledImages | None
) -> nn.Module:
    from visiontasks.classification.models import build_model

    return build_model(model, classes, loss or LossConfig(), source)


def _targets() -> Targets:
    from visiontasks.classification import targets

    return targets


TASK: Task[int, Classification] = Task(
    name="classification",
    verb="classify",
    config=ClassificationConfig,
    headline="top1",
    batch_size=64,
    decode_options={"temperature": 1.0},
    evaluate_options={},
    open_source=open_source,
    build_transform=_build_transform,
    collate=_collate,
    build_model=_build_model,
    build_evaluator=ClassificationEvaluator,
    sample_weights=sample_weights,
    draw=draw,
    draw_example=draw_example,
    plots=plots,
    describe=describe,
    record=record,
    as_truth=Classification.as_truth,
    outputs=OUTPUTS,
    compare=compare,
    official=dict.fromkeys(torchvision_names(), adopt_classifier),
    data=DATA_TOOLS,
    targets=_targets,
    build_mistakes=ClassificationMistakes,
    cut=cut,
    operating_point=choose_operating_point,
)
