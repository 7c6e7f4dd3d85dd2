"""The shortcut from the backbone's last level to the scores of regions, and where it begins."""

import torch
import torchvision

from visiontasks.classes import ClassMap
from visiontasks.detection.convert import carry
from visiontasks.detection.models.region_head import RegionHead
from visiontasks.detection.region_sections import HeadConfig
from visiontasks.io.weights import ModelRecord

NAMES = ("cat", "dog", "eel")
RECORD = ModelRecord(task="classification", model={}, input={}, classes=NAMES)


def head_of(shortcut):
    torch.manual_seed(0)
    return RegionHead(4, (8,), 3, HeadConfig(widths=(8,), pooled=2, shortcut=shortcut), (6, 32)).eval()


def test_the_scores_of_a_region_are_those_of_its_mean():
    plain, head = head_of(False), head_of(True)
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
