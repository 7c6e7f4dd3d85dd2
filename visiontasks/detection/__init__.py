"""Object detection: which objects are on a picture, and where. Importing this package leaves torch alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from visiontasks.classes import ClassMap
from visiontasks.detection.config import AugmentConfig, DetectionConfig, InputConfig, LossConfig, ModelConfig
from visiontasks.detection.convert import carry, convert
from visiontasks.detection.data_tools import DATA_TOOLS
from visiontasks.detection.datasets import open_source
from visiontasks.detection.draw import draw, draw_example, plots
from visiontasks.detection.metrics import DetectionEvaluator, compare
from visiontasks.detection.mining import refresh
from visiontasks.detection.mistakes import DetectionMistakes, cut
from visiontasks.detection.official import DETECTORS, adopt
from visiontasks.detection.operating_point import choose_operating_point
from visiontasks.detection.outputs import OUTPUTS, describe, record
from visiontasks.detection.types import Boxes, Detections
from visiontasks.types import Batch, Example, Source, Stitcher, Targets, Task, Transform

if TYPE_CHECKING:
    from torch import Tensor, nn


def _build_transform(
    input: InputConfig, augment: AugmentConfig | None, classes: ClassMap, memory: Mapping[str, Tensor] | None
) -> Transform[Boxes]:
    from visiontasks.detection.transforms import build_transform

    return build_transform(input, augment, classes, memory)


def _collate(examples: Sequence[Example[Boxes]]) -> Batch:
    from visiontasks.detection.transforms import collate

    return collate(examples)


def _build_model(
    model: ModelConfig, classes: ClassMap, loss: LossConfig | None, source: Source[Boxes] | None
) -> nn.Module:
    from visiontasks.detection.models import build_model

    return build_model(model, classes, loss, source)


def _stitcher(network: Any, size: tuple[int, int], options: Mapping[str, float]) -> Stitcher[Detections]:
    from visiontasks.detection.stitch import DetectionStitcher

    return DetectionStitcher(network, size, options)


def _targets() -> Targets:
    from visiontasks.detection import targets

    return targets


TASK: Task[Boxes, Detections] = Task(
    name="detection",
    verb="detect",
    config=DetectionConfig,
    headline="AP",
    batch_size=8,
    decode_options={"confidence": 0.5, "iou": 0.5, "max_detections": 100},
    evaluate_options={"confidence": 0.001, "max_detections": 100},
    open_source=open_source,
    build_transform=_build_transform,
    collate=_collate,
    build_model=_build_model,
    build_evaluator=DetectionEvaluator,
    draw=draw,
    draw_example=draw_example,
    plots=plots,
    describe=describe,
    record=record,
    as_truth=Detections.as_truth,
    outputs=OUTPUTS,
    compare=compare,
    official=dict.fromkeys(DETECTORS, adopt),
    convert=convert,
    carry=carry,
    refresh=refresh,
    stitcher=_stitcher,
    data=DATA_TOOLS,
    targets=_targets,
    build_mistakes=DetectionMistakes,
    cut=cut,
    operating_point=choose_operating_point,
)
