"""A classifier's file as a detector: the same scores, the same class names, a background where it has one."""

import numpy as np
import pytest
import torch
from torch import nn

from visiontasks.backbones import build_backbone, build_classifier_head, build_linear_head
from visiontasks.classes import ClassMap
from visiontasks.config_files import parse_config
from visiontasks.detection.config import InputConfig, LossConfig, SlidingWindowConfig
from visiontasks.detection.convert import convert
from visiontasks.detection.models import build_model
from visiontasks.errors import UsageError, WeightsError
from visiontasks.io.weights import ModelRecord
from visiontasks.types import Batch, ImageInfo

SMALL = {"stem": 4, "widths": [4, 6], "padded": False}


def classifier(
    classes, *, head="linear", backbone="small", options=SMALL, size=(32, 32), temperature=1.0, **input
):
    """A record, its tensors, and the classifier itself."""
    body = build_backbone(backbone, **options)
    if head == "linear":
        top = build_linear_head(body, len(classes))
    else:
        top = build_classifier_head(backbone, body, len(classes), None)
    record = ModelRecord(
        task="classification",
        model={
            "backbone": backbone,
            "weights": None,
            "options": options,
            "head": head,
            "dropout": None,
            "mirror": True,
        },
        input={"size": size, "mean": (0.5, 0.5, 0.4), "std": (0.2, 0.2, 0.3), "resize": "stretch", **input},
        classes=classes,
        options={"temperature": temperature},
        provenance={"metrics": {"top1": 0.9}},
    )
    network = nn.ModuleDict({"backbone": body, "head": top}).eval()
    return record, network.state_dict(), lambda images: top(body(images))


def rebuilt(record, tensors):
    section = parse_config(SlidingWindowConfig, record.model, file="record")
    network = build_model(section, ClassMap(record.classes), LossConfig(), None)
    network.load_state_dict(tensors)
    return network.eval()


@pytest.mark.parametrize(
    ("head", "backbone", "options"),
    [("linear", "small", SMALL), ("original", "small", SMALL), ("original", "mobilenet_v3_small", {})],
)
def test_scores_of_a_window_are_the_classifiers(head, backbone, options):
    record, tensors, network = classifier(("cat", "dog"), head=head, backbone=backbone, options=options)
    converted, detector = convert(record, tensors)
    assert (detector.task, detector.classes) == ("detection", ("cat", "dog"))
    images = torch.randn(3, 3, 32, 32)
    info = ImageInfo("a", 32, 32, 32, 32)
    with torch.inference_mode():
        found = rebuilt(detector, converted)(Batch(images[:, None], [info] * 3))
        torch.testing.assert_close(found.logits[:, 0], network(images), rtol=1e-4, atol=1e-5)
    assert found.offsets is None


def test_the_temperature_is_part_of_the_scores():
    record, tensors, _ = classifier(("cat", "dog"), temperature=0.5)
    sharp, _ = convert(record, tensors)
    plain, _ = convert(record.model_copy(update={"options": {}}), tensors)
    for name in ("scores.weight", "scores.bias"):
        torch.testing.assert_close(sharp[name], 2 * plain[name])


def test_a_background_class_becomes_the_background():
    record, tensors, network = classifier(("background", "cat", "dog"))
    converted, detector = convert(record, tensors)
    assert detector.classes == ("cat", "dog")
    assert detector.model["background"] is True
    assert detector.options == {}
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        found = rebuilt(detector, converted)(Batch(images[None], [ImageInfo("a", 32, 32, 32, 32)]))
        torch.testing.assert_close(found.logits[0], network(images)[:, [1, 2, 0]], rtol=1e-4, atol=1e-5)


def test_without_background_a_high_threshold_is_the_operating_point():
    record, tensors, _ = classifier(("cat", "dog"))
    converted, detector = convert(record, tensors)
    assert detector.options == {"confidence": 0.9}
    network = rebuilt(detector, converted)
    info = ImageInfo("a", 60, 80, 60, 80)
    with torch.inference_mode():
        raw = network(Batch(torch.randn(1, 3, 60, 80), [info]))
    options = {"confidence": 0.0, "iou": 0.5, "max_detections": 10}
    (found,) = network.decode(raw, [info], options)
    assert len(found) == 10
    assert (found.scores[:1] < 0.9).all()
    assert len(network.decode(raw, [info], {**options, **detector.options})[0]) == 0


def test_the_window_is_the_classifiers_input():
    record, tensors, _ = classifier(("cat", "dog"), size=(32, 48), resize="crop", crop_fraction=0.8)
    _, detector = convert(record, tensors)
    assert detector.model["window"] == [32, 48]
    assert detector.model["context"] == 0.8  # the classifier saw the inner part of each object's picture
    input = parse_config(InputConfig, detector.input, file="record")
    assert (input.size, input.mean) == ((192, 192), (0.5, 0.5, 0.4))
    assert detector.provenance == {"classifier": {"metrics": {"top1": 0.9}}}


def test_what_cannot_slide_is_refused():
    record, tensors, _ = classifier(("background",))
    with pytest.raises(UsageError, match="found one that only knows 'background'"):
        convert(record, tensors)
    other = record.model_copy(update={"task": "segmentation"})
    with pytest.raises(UsageError, match=r"expected a classifier .* found a model for segmentation"):
        convert(other, tensors)
    record, tensors, _ = classifier(("cat", "dog"))
    del tensors["head.fc.bias"]
    with pytest.raises(WeightsError, match=r"1 missing \(head\.fc\.bias\)"):
        convert(record, tensors)


def test_a_drawn_object_is_found_where_it_is():
    """A classifier by hand: red means disc. The window with most red wins."""
    record, tensors, _ = classifier(
        ("background", "disc"), options={"stem": 1, "widths": [1], "padded": False}
    )
    converted, detector = convert(record, tensors)
    network = rebuilt(detector, converted)
    image = torch.zeros(1, 3, 96, 96)
    image[:, 0, 32:64, 64:96] = 4.0
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_running_stats()
                layer.weight.fill_(1.0)
        for name in ("stem.0", "stages.0.shrink.0"):
            network.backbone.get_submodule(name).weight[:, 0, 1, 1] = 1.0
        network.scores.weight[0] = 8.0
        network.scores.bias[1] = 16.0
    info = ImageInfo("a", 96, 96, 96, 96)
    with torch.inference_mode():
        raw = network(Batch(image, [info]))
    (found,) = network.decode(raw, [info], {"confidence": 0.9, "iou": 0.5, "max_detections": 1})
    assert found.labels.tolist() == [0]
    np.testing.assert_allclose(found.boxes[0], [64, 32, 96, 64], atol=8)
