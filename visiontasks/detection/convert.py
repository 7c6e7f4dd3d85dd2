"""A classifier's weights as a sliding-window detector: `detect -w CLASSIFIER --method sliding-window`.

Source: slides 2, "Sliding windows".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from visiontasks.classes import BACKGROUND, ClassMap
from visiontasks.detection.config import InputConfig, LossConfig, SlidingWindowConfig
from visiontasks.errors import UsageError
from visiontasks.io.weights import ModelRecord, check_tensors

if TYPE_CHECKING:
    from torch import Tensor

WINDOWS_ACROSS: Final = 4  # the smallest object that is found is this small a part of the picture's side
SCALES: Final = (1.0, 0.707, 0.5, 0.354, 0.25)  # down to one window for the whole picture
RATIOS: Final = (0.5, 1.0, 2.0)
CONFIDENCE: Final = 0.9  # least probability of a detection where a classifier knows no background


def convert(record: ModelRecord, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], ModelRecord]:
    """A classifier as a detector of its classes; it is not trained any further.

    Its class `background` becomes the detector's background. Without one every window shows some class, and
    only the threshold on the probability (the option `confidence`) keeps windows out.

    Args:
        record, tensors: of a classifier's weights file.

    Returns:
        Tensors and record of a sliding-window detector; its scores on a window equal the classifier's.

    Raises:
        UsageError: it is no classifier, knows nothing but background, or has a head that only works on
            whole pictures. WeightsError: the tensors are not those that the record describes.
    """
    if record.task != "classification":
        raise UsageError(f"expected a classifier to slide over a picture, found a model for {record.task}")
    names = tuple(name for name in record.classes if name != BACKGROUND)
    if not names:
        raise UsageError(f"expected a classifier of objects, found one that only knows '{BACKGROUND}'")
    section, input = _sections(record, has_background=len(names) < len(record.classes))
    order = [record.classes.index(name) for name in names]
    if section.background:
        order.append(record.classes.index(BACKGROUND))
    converted = ModelRecord(
        task="detection",
        model=section.model_dump(mode="json"),
        input=input.model_dump(mode="json"),
        classes=names,
        file_ids=tuple(record.file_ids[i] for i in order[: len(names)]) if record.file_ids else (),
        options={} if section.background else {"confidence": CONFIDENCE},
        provenance={"classifier": record.provenance},
    )
    return _tensors(record, tensors, section, order), converted


def carry(record: ModelRecord, tensors: Mapping[str, Tensor], classes: ClassMap) -> dict[str, Tensor]:
    """What a detector's head takes over from a classifier that knows its classes: the last layer, `shortcut`.

    Args:
        record, tensors: of a weights file, of any task. classes: of the detector.

    Returns:
        Tensors under the detector's names; none where the classifier ends otherwise, or lacks a class.
    """
    weight, bias = tensors.get("head.fc.weight"), tensors.get("head.fc.bias")
    place = {name: i for i, name in enumerate(record.classes)}
    if record.task != "classification" or weight is None or bias is None:
        return {}
    if any(name not in place for name in classes.names):
        return {}
    order = [place[name] for name in classes.names]
    return {"head.shortcut.weight": weight[order], "head.shortcut.bias": bias[order]}


def _sections(record: ModelRecord, *, has_background: bool) -> tuple[SlidingWindowConfig, InputConfig]:
    """The `model` and `input` sections of the detector. The names of a classifier's are part of its file."""
    height, width = (int(side) for side in record.input["size"])
    crops = record.input.get("resize") == "crop"  # the window then shows the inner part of an object's box
    section = SlidingWindowConfig(
        backbone=record.model["backbone"],
        options=record.model.get("options", {}),
        window=(height, width),
        context=float(record.input["crop_fraction"]) if crops else 1.0,
        scales=SCALES,
        ratios=RATIOS,
        head="original" if record.model.get("head") == "original" else "linear",
        dropout=record.model.get("dropout"),
        background=has_background,
        refine=False,
    )
    side = WINDOWS_ACROSS * max(height, width)
    input = InputConfig(size=(side, side), mean=record.input["mean"], std=record.input["std"])
    return section, input


def _tensors(
    record: ModelRecord, tensors: Mapping[str, Tensor], section: SlidingWindowConfig, order: list[int]
) -> dict[str, Tensor]:
    """The detector's tensors. order: the classifier's outputs in the order of the detector's."""
    from torch import nn

    from visiontasks.backbones import build_backbone
    from visiontasks.detection.models.dense import feature_size, make_dense
    from visiontasks.detection.models.sliding_window import build_classifier, build_sliding_window

    backbone = build_backbone(section.backbone, **section.options)
    head = build_classifier(section, backbone, len(record.classes))
    classifier = nn.ModuleDict({"backbone": backbone, "head": head})
    check_tensors(classifier.state_dict(), tensors, strict=True, file="classifier")
    classifier.load_state_dict(dict(tensors))
    *layers, last = make_dense(head, feature_size(backbone, section.window))
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    network = build_sliding_window(section, len(order) - section.background, LossConfig())
    network.backbone.load_state_dict(backbone.state_dict())
    network.trunk.load_state_dict(nn.Sequential(*layers).state_dict())
    sharpness = 1 / record.options.get("temperature", 1.0)  # part of what a classifier says
    scores = {"weight": sharpness * last.weight[order], "bias": sharpness * last.bias[order]}
    network.scores.load_state_dict(scores)
    return network.state_dict()
