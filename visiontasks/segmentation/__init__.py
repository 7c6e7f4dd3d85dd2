"""Semantic segmentation: a class for each pixel of a picture. Importing this package leaves torch alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from visiontasks.classes import ClassMap
from visiontasks.segmentation.class_offsets import adjust
from visiontasks.segmentation.config import AugmentConfig, InputConfig, SegmentationConfig
from visiontasks.segmentation.data_tools import DATA_TOOLS
from visiontasks.segmentation.datasets import LabelledMasks, open_source
from visiontasks.segmentation.draw import draw, draw_example, plots
from visiontasks.segmentation.metrics import SegmentationEvaluator, compare
from visiontasks.segmentation.mistakes import SegmentationMistakes, cut
from visiontasks.segmentation.model_config import LossConfig, ModelConfig
from visiontasks.segmentation.official import SEGMENTERS, adopt
from visiontasks.segmentation.outputs import OUTPUTS, describe, record
from visiontasks.segmentation.types import Mask, SegmentationMap
from visiontasks.types import Batch, Example, Stitcher, Targets, Task, Transform

if TYPE_CHECKING:
    from torch import nn


def _build_transform(
    input: InputConfig, augment: AugmentConfig | None, classes: ClassMap, memory: Any | None
) -> Transform[Mask]:
    from visiontasks.segmentation.transforms import build_transform

    return build_transform(input, augment, classes, memory)


def _collate(examples: Sequence[Example[Mask]]) -> Batch:
    from visiontasks.segmentation.transforms import collate

    return collate(examples)


def _build_model(
    model: ModelConfig, classes: ClassMap, loss: LossConfig | None, source: LabelledMasks | None
) -> nn.Module:
    from visiontasks.segmentation.models import build_model

    return build_model(model, classes, loss or LossConfig(), source)


def _stitcher(network: Any, size: tuple[int, int], options: Mapping[str, float]) -> Stitcher[SegmentationMap]:
    from visiontasks.segmentation.stitch import MaskStitcher

    return MaskStitcher(network, size)


def _targets() -> Targets:
    from visiontasks.segmentation import targets

    return targets


TASK: Task[Mask, SegmentationMap] = Task(
    name="segmentation",
    verb="segment",
    config=SegmentationConfig,
    headline="mIoU",
    batch_size=8,
    decode_options={},
    evaluate_options={},
    open_source=open_source,
    build_transform=_build_transform,
    collate=_collate,
    build_model=_build_model,
    build_evaluator=SegmentationEvaluator,
    draw=draw,
    draw_example=draw_example,
    plots=plots,
    describe=describe,
    record=record,
    as_truth=SegmentationMap.as_truth,
    outputs=OUTPUTS,
    compare=compare,
    official=dict.fromkeys(SEGMENTERS, adopt),
    stitcher=_stitcher,
    data=DATA_TOOLS,
    targets=_targets,
    build_mistakes=SegmentationMistakes,
    cut=cut,
    adjust=adjust,
)
