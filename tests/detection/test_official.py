"""`torchvision:NAME` for detection: with torchvision's parameters copied in, its detections.

Random parameters serve, once their outputs are brought to the spread of trained ones: else no box scores
above the threshold, and layers amplify rounding.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision

from visiontasks.classes import ClassMap
from visiontasks.config_files import parse_config, section_model
from visiontasks.data.scenes import draw_picture
from visiontasks.detection.config import DetectionConfig, InputConfig
from visiontasks.detection.models import build_model
from visiontasks.detection.official import DETECTORS, adopt
from visiontasks.detection.transforms import build_transform, collate
from visiontasks.engine.device import Device
from visiontasks.io.downloads import torchvision_weights
from visiontasks.io.weights import check_tensors
from visiontasks.types import Sample

SIZE = (150, 220)  # no multiple of 32: padded; the coarsest level's cells are 53 px apart instead of 64
PROPOSALS = 100  # so that the test is quick; torchvision's own count is 1000
OPTIONS = {"confidence": 0.05, "iou": 0.5, "max_detections": 100}


def picture():
    drawn = draw_picture(np.random.default_rng(0), SIZE, [0, 1, 2, 3, 4, 5], radii=(0.1, 0.3))
    return drawn.image


@torch.no_grad()
def spread(layer, deviation, run):
    """Scale a layer so that its outputs have mean 0 and a deviation."""
    seen = []
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.flatten()))
    run()
    hook.remove()
    outputs = torch.cat(seen)
    layer.weight.mul_(deviation / outputs.std())
    layer.bias.fill_(-outputs.mean() * deviation / outputs.std())


def reference(name, num_classes):
    torch.manual_seed(0)
    network = torchvision.models.get_model(
        name,
        weights=None,
        weights_backbone=None,
        num_classes=num_classes,
        min_size=SIZE[0],
        max_size=SIZE[1],
        rpn_pre_nms_top_n_test=PROPOSALS,
        rpn_post_nms_top_n_test=PROPOSALS,
    )
    image = torch.from_numpy(picture()).permute(2, 0, 1) / 255
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in norms:
        layer.momentum = 1.0  # one pass sets the statistics
    network.eval()
    rpn, head = network.rpn.head, network.roi_heads.box_predictor
    with torch.no_grad():
        network.backbone.train()(network.transform([image, image.flip(2)])[0].tensors)
        network.backbone.eval()
        for layer, deviation in ((rpn.cls_logits, 2.0), (rpn.bbox_pred, 0.2)):
            spread(layer, deviation, lambda: network([image]))
        network.roi_heads.box_head.train()
        network([image])
        network.roi_heads.box_head.eval()
        for layer, deviation in ((head.cls_score, 2.0), (head.bbox_pred, 0.5)):
            spread(layer, deviation, lambda: network([image]))
        (found,) = network([image])
    return network, {key: value.numpy() for key, value in found.items()}


def download(name, categories):
    return SimpleNamespace(
        model=name, url="https://example.org/x.pth", weights=SimpleNamespace(meta={"categories": categories})
    )


def adopted(name, tensors, categories, **changes):
    record, convert = adopt(download(name, categories))
    tensors = convert(tensors)
    section = {**record.model, **changes}
    section["proposals"] = {**section["proposals"], "before_nms": PROPOSALS, "after_nms": PROPOSALS}
    config = parse_config(section_model(DetectionConfig, "model"), section, file=name)
    network = build_model(config, ClassMap(record.classes, record.file_ids), None, None)
    check_tensors(network.state_dict(), tensors, strict=True, file=name)
    network.load_state_dict(tensors)
    return network.eval(), record


@pytest.mark.parametrize("name", DETECTORS)
def test_detections_are_torchvisions(name):
    network, expected = reference(name, num_classes=7)
    changes = {"batch_norm": {"eps": 1e-5}}  # of networks without official weights
    ours, record = adopted(name, network.state_dict(), ["__background__", *"abcdef"], **changes)
    input = InputConfig.model_validate({**record.input, "size": SIZE})
    transform = build_transform(input, None, ClassMap(record.classes), None)
    batch = collate([transform(Sample(picture(), None, "a"), np.random.default_rng(0), None)])
    (image,) = batch.images[:, :, : SIZE[0], : SIZE[1]] / 255
    same_rounding = replace(batch, images=network.transform([image])[0].tensors)
    assert same_rounding.images.shape == batch.images.shape == (1, 3, 160, 224)
    assert_same_detections(detect(ours, same_rounding), expected, pixels=1e-3, score=1e-4)
    # our normalisation and order of channels round otherwise, which random layers amplify
    as_run = Device(torch.device("cpu"), "fp32").load(batch, input.mean, input.std)
    assert_same_detections(detect(ours, as_run), expected, pixels=0.05, score=2e-3)


def detect(network, batch):
    with torch.inference_mode():
        (found,) = network.decode(network(batch), batch.infos, OPTIONS)
    return found


def assert_same_detections(found, expected, pixels, score):
    assert len(found) == len(expected["scores"]) >= 50
    assert found.scores.std() > 0.05
    # equal scores may change places: every expected box is looked for among those of its class
    distance = np.abs(expected["boxes"][:, None] - found.boxes[None]).max(axis=2)
    distance[expected["labels"][:, None] - 1 != found.labels[None]] = np.inf
    nearest = distance.argmin(axis=1)
    assert sorted(nearest) == list(range(len(found)))
    assert distance.min(axis=1).max() < pixels
    np.testing.assert_allclose(found.scores[nearest], expected["scores"], rtol=0, atol=score)


def test_classes_and_ids_are_cocos():
    weights = torchvision_weights("torchvision:fasterrcnn_resnet50_fpn").weights
    with torch.device("meta"):
        network = torchvision.models.get_model("fasterrcnn_resnet50_fpn", weights=None, weights_backbone=None)
    tensors = {key: torch.zeros(tensor.shape) for key, tensor in network.state_dict().items()}
    rows = tensors["roi_heads.box_predictor.cls_score.bias"]
    rows.copy_(torch.arange(91))
    tensors["roi_heads.box_predictor.bbox_pred.bias"].copy_(torch.arange(4 * 91))
    record, convert = adopt(download("fasterrcnn_resnet50_fpn", weights.meta["categories"]))
    converted = convert(tensors)
    assert len(record.classes) == 80
    assert record.classes[:2] == ("person", "bicycle")
    assert "N/A" not in record.classes
    assert (record.file_ids[0], record.file_ids[-1]) == (1, 90)
    assert converted["head.classes.bias"].tolist() == [*record.file_ids, 0]  # the background comes last
    assert converted["head.deltas.bias"].reshape(80, 4)[:, 0].tolist() == [4 * i for i in record.file_ids]
    assert record.model["batch_norm"] == {"frozen": True, "eps": 0.0}


def test_files_of_older_versions_and_of_frozen_batch_norm_are_read():
    """Those have fewer numbers in their names, and no counters of batches."""
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    network = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=3)
    old = {}
    for key, tensor in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        for part in ("inner_blocks.0", "inner_blocks.1", "layer_blocks.0", "layer_blocks.1"):
            key = key.replace(f"{part}.0.", f"{part}.")
        old[key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")] = tensor
    assert "rpn.head.conv.weight" in old
    assert "backbone.fpn.inner_blocks.1.weight" in old
    ours, _ = adopted(name, old, ["__background__", "a", "b"])
    assert torch.equal(ours.pyramid.project[1][0].weight, network.backbone.fpn.inner_blocks[1][0].weight)
    assert torch.equal(ours.rpn.convolutions[0][0].weight, network.rpn.head.conv[0][0].weight)
