"""Fast R-CNN: learns from given proposals, copes with pictures that have none."""

import numpy as np
import pytest
import torch

from tests.detection.models.test_faster_rcnn import CLASSES, OPTIONS, SMALL, drawn_batch, nothing, train
from visiontasks.detection.config import FastRcnnConfig
from visiontasks.detection.models import build_model
from visiontasks.detection.models.fast_rcnn import pack_proposals
from visiontasks.errors import UsageError
from visiontasks.types import Batch


def small_model():
    torch.manual_seed(0)
    parts = {name: SMALL[name] for name in ("backbone", "options", "pyramid", "head")}
    return build_model(FastRcnnConfig.model_validate({"name": "fast_rcnn", **parts}), CLASSES, None, None)


def with_proposals(batch):
    """Each true box a little off, and some boxes of nothing."""
    proposals = []
    for target in batch.targets:
        corner = torch.rand(20, 2) * 40
        others = torch.cat([corner, corner + 8 + torch.rand(20, 2) * 20], dim=1)
        proposals.append(torch.cat([target.boxes + torch.randn_like(target.boxes) * 2, others]))
    return Batch(batch.images, batch.infos, batch.targets, proposals)


def test_learns_four_pictures_by_heart():
    model, batch = small_model(), with_proposals(drawn_batch())
    totals = train(model, batch, 80)
    assert np.mean(totals[-5:]) < 0.25 * np.mean(totals[:5])
    model.eval()
    with torch.inference_mode():
        raw = model(batch)
        found = model.decode(raw, batch.infos, OPTIONS)
        assert set(model.loss(raw, batch)) == {"classification", "boxes"}
    for detections, target in zip(found, batch.targets, strict=True):
        assert sorted(detections.labels.tolist()) == sorted(target.labels.tolist())


@pytest.mark.parametrize("training", [True, False])
def test_pictures_without_proposals_or_objects(training):
    model, batch = small_model().train(training), with_proposals(drawn_batch())
    batch.proposals[1] = torch.zeros(0, 4)
    batch.targets[2] = nothing()
    assert all(value.isfinite() for value in model.loss(model(batch), batch).values())
    nowhere = Batch(batch.images, batch.infos, [nothing()] * 4, [torch.zeros(0, 4)] * 4)
    raw = model(nowhere)
    losses = model.loss(raw, nowhere)
    assert all(value == 0 for value in losses.values())
    sum(losses.values()).backward()
    assert [len(one) for one in model.decode(raw, nowhere.infos, {**OPTIONS, "confidence": 0.0})] == [0] * 4


def test_proposals_are_cut_at_the_picture_and_empty_ones_dropped():
    batch = drawn_batch(2)
    proposals = [torch.tensor([[-9.0, -9, 30, 99], [70, 0, 90, 10]]), torch.tensor([[1.0, 2, 3, 4]])]
    boxes, there = pack_proposals(Batch(batch.images, batch.infos, (), proposals))
    assert boxes[0, 0].tolist() == [0, 0, 30, 64]
    assert there.tolist() == [[True, False], [True, False]]


def test_a_batch_without_proposals_is_refused():
    with pytest.raises(UsageError, match="expected proposals with the pictures, found none"):
        small_model()(drawn_batch())
