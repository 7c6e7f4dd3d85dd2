"""The second stage: its shortcut from the backbone's last level, where that begins, and its boxes."""

import torch
import torchvision

from visiontasks.classes import ClassMap
from visiontasks.detection.config import LossConfig
from visiontasks.detection.convert import carry
from visiontasks.detection.models.losses import region_losses
from visiontasks.detection.models.region_head import RegionHead
from visiontasks.detection.models.sampling import pack_truth
from visiontasks.detection.region_sections import HeadConfig
from visiontasks.detection.types import BoxTarget
from visiontasks.io.weights import ModelRecord

NAMES = ("cat", "dog", "eel")
RECORD = ModelRecord(task="classification", model={}, input={}, classes=NAMES)


def head_of(**options):
    torch.manual_seed(0)
    return RegionHead(4, (8,), 3, HeadConfig(widths=(8,), pooled=2, **options), (6, 32)).eval()


def test_the_scores_of_a_region_are_those_of_its_mean():
    plain, head = head_of(), head_of(shortcut=True)
    missing = head.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing == ["shortcut.weight", "shortcut.bias"]
    levels, deepest = [torch.randn(2, 4, 32, 32)], torch.randn(2, 6, 8, 8)
    regions = torch.tensor([[[0.0, 0, 256, 256], [64, 96, 128, 224]]] * 2)
    valid = torch.ones(2, 2, dtype=torch.bool)
    before = plain(levels, regions, valid, None).logits
    assert torch.equal(head(levels, regions, valid, None, deepest).logits, before)  # begins with zeros
    with torch.no_grad():
        head.shortcut.weight.copy_(torch.randn(3, 6))
        head.shortcut.bias.copy_(torch.randn(3))
    added = head(levels, regions, valid, None, deepest).logits - before
    assert torch.equal(added[..., 3], torch.zeros(2, 2))  # nothing for the background
    flat = [region for picture in regions for region in picture]
    index = torch.tensor([0.0, 0, 1, 1])[:, None]
    boxes = torch.cat([index, torch.stack(flat)], dim=1)
    means = torchvision.ops.roi_align(deepest, boxes, (1, 1), 1 / 32, sampling_ratio=4, aligned=True)
    torch.testing.assert_close(added[..., :3].flatten(0, 1), head.shortcut(means.flatten(1)))
    torch.testing.assert_close(means.view(2, 2, 6)[:, 0], deepest.mean(dim=(2, 3)))  # the whole picture


def test_a_classifiers_last_layer_is_carried_over_by_name():
    tensors = {
        "head.fc.weight": torch.arange(18.0).view(3, 6),
        "head.fc.bias": torch.arange(3.0),
        "backbone.x": torch.zeros(1),
    }
    carried = carry(RECORD, tensors, ClassMap(("eel", "cat")))
    assert carried.keys() == {"head.shortcut.weight", "head.shortcut.bias"}
    assert carried["head.shortcut.bias"].tolist() == [2, 0]
    assert torch.equal(carried["head.shortcut.weight"], tensors["head.fc.weight"][[2, 0]])
    assert carry(RECORD, tensors, ClassMap(("eel", "hen"))) == {}
    assert carry(RECORD.model_copy(update={"task": "segmentation"}), tensors, ClassMap(NAMES)) == {}
    assert carry(RECORD, {"head.classifier.weight": torch.zeros(3, 6)}, ClassMap(NAMES)) == {}


def test_a_class_agnostic_head_moves_a_region_in_one_way():
    plain, head = head_of(), head_of(class_agnostic=True)
    head.load_state_dict({k: v for k, v in plain.state_dict().items() if "deltas" not in k}, strict=False)
    with torch.no_grad():
        head.deltas.weight.normal_()
        plain.deltas.weight.copy_(head.deltas.weight.repeat(3, 1))  # the same for each class
    look = [torch.randn(1, 4, 32, 32)], torch.tensor([[[0.0, 0, 96, 64]]]), torch.ones(1, 1, dtype=torch.bool)
    assert head.deltas.out_features == 4
    torch.testing.assert_close(head(*look, None).deltas, plain(*look, None).deltas)


def test_a_class_agnostic_head_learns_from_the_regions_of_all_classes():
    head = head_of(class_agnostic=True).train()
    truth = pack_truth([BoxTarget(torch.tensor([[0.0, 0, 96, 64]]), torch.tensor([2]))])
    regions = torch.tensor([[[10.0, 0, 100, 70]]])
    named = head([torch.randn(1, 4, 32, 32)], regions, torch.ones(1, 1, dtype=torch.bool), truth)
    region_losses(named, head.config.box_weights, LossConfig())["boxes"].backward()
    assert (head.deltas.weight.grad.abs().sum(dim=1) > 0).all()
