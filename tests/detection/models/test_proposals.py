"""Proposals, losses and decoding, each against torchvision's on the same numbers, and by hand."""

from dataclasses import replace

import pytest
import torch
import torchvision
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from visiontasks.detection.config import LossConfig
from visiontasks.detection.models.box_deltas import decode_boxes, encode_boxes
from visiontasks.detection.models.detecting import detect_in_regions
from visiontasks.detection.models.frames import clip_to_frames, pack_by_picture, picture_frames
from visiontasks.detection.models.losses import giou, proposal_losses, region_losses
from visiontasks.detection.models.region_head import NamedRegions, RegionHead
from visiontasks.detection.models.rpn import propose
from visiontasks.detection.models.sampling import Matches, Samples, match, pack_truth, sample
from visiontasks.detection.region_sections import HeadConfig, SamplingConfig
from visiontasks.detection.types import BoxTarget
from visiontasks.types import ImageInfo

CPU = torch.device("cpu")


def random_boxes(*shape):
    corner = torch.rand(*shape, 2) * 100
    return torch.cat([corner, corner + torch.rand(*shape, 2) * 50 + 4], dim=-1)


def their_rpn(before, after, min_score=0.0, samples=10**6):
    return RegionProposalNetwork(
        AnchorGenerator(((32,),), ((1.0,),)),
        RPNHead(1, 1),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=samples,
        positive_fraction=1.0,
        pre_nms_top_n={"training": before, "testing": before},
        post_nms_top_n={"training": after, "testing": after},
        nms_thresh=0.7,
        score_thresh=min_score,
    ).eval()


@pytest.mark.parametrize(("before", "after", "min_score"), [(20, 15, 0.0), (1000, 60, 0.0), (50, 50, 0.6)])
def test_proposals_are_torchvisions(before, after, min_score):
    counts, sizes = [120, 30, 8], [(120, 140), (100, 90)]
    anchors = [random_boxes(n) for n in counts]
    scores = [torch.randn(2, n) for n in counts]
    deltas = [torch.randn(2, n, 4) * 0.2 for n in counts]
    boxes = torch.cat([decode_boxes(d, a) for d, a in zip(deltas, anchors, strict=True)], dim=1)
    rpn = their_rpn(before, after, min_score)
    expected, _ = rpn.filter_proposals(boxes, torch.cat(scores, dim=1), sizes, counts)
    frames = torch.tensor([[0.0, 0, width, height] for height, width in sizes])
    found, valid = propose(
        scores, deltas, anchors, frames, before=before, after=after, iou=0.7, min_score=min_score
    )
    assert found.shape == (2, after, 4)
    for picture in range(2):
        assert valid[picture].sum() == len(expected[picture]) > 5
        torch.testing.assert_close(found[picture][valid[picture]], expected[picture], rtol=0, atol=1e-4)
        assert not found[picture][~valid[picture]].any()


def test_losses_of_proposals_are_torchvisions():
    """With all anchors drawn; one picture has no object."""
    anchors = random_boxes(90)
    truth_boxes = [anchors[:4] + torch.rand(4, 4) * 3, torch.zeros(0, 4)]
    targets = [BoxTarget(boxes, torch.zeros(len(boxes), dtype=torch.long)) for boxes in truth_boxes]
    scores, deltas = torch.randn(2, 90), torch.randn(2, 90, 4)
    rpn = their_rpn(10, 10)
    labels, matched = rpn.assign_targets_to_anchors(
        [anchors] * 2, [{"boxes": boxes} for boxes in truth_boxes]
    )
    wanted = rpn.box_coder.encode(matched, [anchors] * 2)
    # torchvision divides by the anchors of the batch, we by each picture's: picture by picture they agree
    expected = torch.stack(
        [
            torch.stack(rpn.compute_loss(scores[i, :, None], deltas[i], [labels[i]], [wanted[i]]))
            for i in range(2)
        ]
    ).mean(dim=0)
    config = SamplingConfig(positive_iou=0.7, negative_iou=(0, 0.3), samples=90, positive_share=1)
    truth = pack_truth(targets)
    matches = match(anchors, truth, config, torch.ones(2, 90, dtype=torch.bool), keep_best=True)
    drawn = sample(matches.kind, config)
    found = proposal_losses(scores, deltas, anchors, matches, drawn, truth, LossConfig())
    torch.testing.assert_close(torch.stack(list(found.values())), expected)
    assert list(found) == ["objectness", "proposal_boxes"]


def drawn_regions(targets, num_classes):
    truth = pack_truth(targets)
    regions = random_boxes(2, 30)
    valid = torch.ones(2, 30, dtype=torch.bool)
    config = HeadConfig(sampling=SamplingConfig(samples=20, positive_share=0.5))
    head = RegionHead(4, (8,), num_classes, config).train()
    return head.choose(regions, valid, truth)


def test_losses_of_regions_are_torchvisions():
    targets = [
        BoxTarget(random_boxes(3), torch.tensor([0, 2, 1])),
        BoxTarget(random_boxes(1), torch.tensor([2])),
    ]
    regions, valid, samples = drawn_regions(targets, 3)
    assert samples.used.all()
    assert samples.positive.any(dim=1).all()
    logits, deltas = torch.randn(2, 20, 4), torch.randn(2, 20, 3, 4)
    weights = (10.0, 10.0, 5.0, 5.0)
    wanted = torch.zeros(2, 20, 4)
    wanted[samples.positive] = encode_boxes(
        samples.boxes[samples.positive], regions[samples.positive], weights
    )
    # there the background is class 0, with box outputs of its own
    expected = fastrcnn_loss(
        logits.roll(1, dims=2).flatten(0, 1),
        torch.nn.functional.pad(deltas, (0, 0, 1, 0)).flatten(2).flatten(0, 1),
        [(samples.labels.flatten() + 1) % 4],
        [wanted.flatten(0, 1)],
    )
    named = NamedRegions(regions, valid, logits, deltas, samples)
    found = region_losses(named, weights, LossConfig())
    torch.testing.assert_close(torch.stack(list(found.values())), torch.stack(expected))
    doubled = region_losses(named, weights, LossConfig(classification=2, boxes=0))
    torch.testing.assert_close(doubled["classification"], 2 * expected[0])
    assert doubled["boxes"] == 0


def test_perfect_edges_cost_nothing_by_either_measure():
    targets = [BoxTarget(random_boxes(3), torch.tensor([0, 1, 1]))] * 2
    regions, valid, samples = drawn_regions(targets, 2)
    weights = (10.0, 10.0, 5.0, 5.0)
    boxes = torch.where(samples.positive[..., None], samples.boxes, regions + 5)  # the latter do not count
    deltas = encode_boxes(boxes, regions, weights)[:, :, None].expand(-1, -1, 2, -1)
    for measure in ("smooth_l1", "giou"):
        config = LossConfig(box_loss=measure)
        named = NamedRegions(regions, valid, torch.zeros(2, 20, 3), deltas, samples)
        assert region_losses(named, weights, config)["boxes"] < 1e-5
        worse = replace(named, deltas=deltas + 1)
        assert region_losses(worse, weights, config)["boxes"] > 0.01


def test_giou_is_torchvisions():
    boxes, others = random_boxes(100), random_boxes(100)
    expected = torch.diagonal(torchvision.ops.generalized_box_iou(boxes, others))
    torch.testing.assert_close(giou(boxes, others), expected)


def test_what_is_not_drawn_does_not_count():
    scores, deltas, anchors = torch.randn(1, 4), torch.randn(1, 4, 4), random_boxes(4)
    truth = pack_truth([BoxTarget(random_boxes(1), torch.tensor([0]))])
    matches = Matches(torch.tensor([[1, 0, 0, 0]]), torch.zeros(1, 4, dtype=torch.long))
    drawn = Samples(
        torch.tensor([[0, 1, 2]]), torch.tensor([[True, True, False]]), torch.tensor([[True, False, False]])
    )
    before = proposal_losses(scores, deltas, anchors, matches, drawn, truth, LossConfig())
    scores[0, 2:], deltas[0, 1:] = 9, 9
    assert proposal_losses(scores, deltas, anchors, matches, drawn, truth, LossConfig()) == before


def test_boxes_go_back_to_original_pixels():
    """A picture of 100x400 px, halved and put at (10, 20) of the network's input."""
    info = ImageInfo("a", 100, 400, 50, 200, pad_left=10, pad_top=20)
    regions = torch.tensor([[[60.0, 30, 110, 60], [-50, 0, 500, 500], [0, 0, 5, 5]]])
    logits = torch.tensor([[[9.0, 0, 0], [0, 8, 0], [9, 0, 0]]])
    options = {"confidence": 0.5, "iou": 0.5, "max_detections": 10}
    valid = torch.ones(1, 3, dtype=torch.bool)
    named = NamedRegions(regions, valid, logits, torch.zeros(1, 3, 2, 4), None)
    (found,) = detect_in_regions(named, [info], (1,) * 4, options)
    assert found.boxes.tolist() == [[100, 20, 200, 80], [0, 0, 400, 100]]  # the third is beside the picture
    assert found.labels.tolist() == [0, 1]
    assert found.boxes.dtype == found.scores.dtype == "float64"
    assert found.scores.tolist() == sorted(found.scores, reverse=True)


def test_each_option_of_the_operating_point_counts():
    """Two boxes of one class that overlap by 0.8, one of another class in the same place."""
    infos = [ImageInfo("a", 100, 100, 100, 100), ImageInfo("b", 100, 100, 100, 100)]
    regions = torch.tensor([[[0.0, 0, 100, 100], [0, 0, 100, 80], [0, 0, 100, 100]]]).repeat(2, 1, 1)
    logits = torch.tensor([[[3.0, 0, 0], [2, 0, 0], [0, 1, 0]]]).repeat(2, 1, 1)
    valid = torch.tensor([[True, True, True], [False, False, False]])

    def found(**options):
        options = {"confidence": 0.4, "iou": 0.7, "max_detections": 10, **options}
        named = NamedRegions(regions, valid, logits, torch.zeros(2, 3, 2, 4), None)
        detections = detect_in_regions(named, infos, (1,) * 4, options)
        assert len(detections[1]) == 0
        assert detections[1].boxes.shape == (0, 4)
        return detections[0].labels.tolist()

    assert found() == [0, 1]
    assert found(iou=0.9) == [0, 0, 1]
    assert found(confidence=0.7) == [0]
    assert found(iou=0.9, max_detections=2) == [0, 0]
    assert found(confidence=1.0) == []


def test_frames_and_packing():
    infos = [ImageInfo("a", 9, 9, 40, 50, pad_left=3, pad_top=2), ImageInfo("b", 9, 9, 20, 20)]
    frames = picture_frames(infos, CPU)
    assert frames.tolist() == [[3, 2, 53, 42], [0, 0, 20, 20]]
    boxes = torch.tensor([[-5.0, 5, 100, 100]]).expand(2, 1, 4)
    assert clip_to_frames(boxes, frames[:, None]).tolist() == [[[3, 5, 53, 42]], [[0, 5, 20, 20]]]
    rows = torch.arange(20.0).view(5, 4)
    packed, filled = pack_by_picture(rows, torch.tensor([2, 0, 2, 2, 0]), pictures=3, most=2)
    assert torch.equal(packed[0], rows[[1, 4]])
    assert torch.equal(packed[2], rows[[0, 2]])
    assert filled.tolist() == [[True, True], [False, False], [True, True]]
