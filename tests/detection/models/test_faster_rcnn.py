"""Faster R-CNN as a whole: learns, copes with empty pictures, validates without luck, fits any backbone."""

import numpy as np
import pytest
import torch

from visiontasks.backbones import BACKBONES, build_backbone
from visiontasks.classes import ClassMap
from visiontasks.data.scenes import draw_picture
from visiontasks.detection.config import DetectionConfig, FasterRcnnConfig, LossConfig
from visiontasks.detection.models import MODELS, build_model
from visiontasks.detection.models.fpn import FeaturePyramid
from visiontasks.detection.region_sections import PyramidConfig
from visiontasks.detection.types import BoxTarget
from visiontasks.errors import ConfigError
from visiontasks.types import Batch, ImageInfo

CLASSES = ClassMap(("circle", "square", "triangle", "star", "ring", "cross"))
OPTIONS = {"confidence": 0.3, "iou": 0.5, "max_detections": 20}
SMALL = {
    "backbone": "small",
    "options": {"stem": 8, "widths": [16, 32, 32]},
    "pyramid": {"channels": 24, "extra": 1, "norm": "group"},
    "proposals": {"after_nms": 30, "after_nms_train": 40, "sampling": {"samples": 64, "positive_share": 0.5}},
    "head": {"pooled": 5, "points": 1, "canonical": 64, "widths": [48], "sampling": {"samples": 24}},
}


def small_model(**changes):
    torch.manual_seed(0)
    config = FasterRcnnConfig.model_validate({**SMALL, **changes})
    return build_model(config, CLASSES, LossConfig(), None)


def drawn_batch(count=4, size=(64, 64)):
    """Pictures with one to three shapes, as the engine hands them over."""
    images, targets = [], []
    for i in range(count):
        picture = draw_picture(np.random.default_rng(i), size, [i % 2, 2][: 1 + i % 2], radii=(0.2, 0.3))
        boxes = torch.tensor([shape.box for shape in picture.shapes])
        boxes[:, 2:] += boxes[:, :2]
        targets.append(BoxTarget(boxes, torch.tensor([shape.label for shape in picture.shapes])))
        images.append(torch.from_numpy(picture.image).permute(2, 0, 1).float() / 127.5 - 1)
    infos = [ImageInfo(i, *size, *size) for i in range(count)]
    return Batch(torch.stack(images).contiguous(memory_format=torch.channels_last), infos, targets)


def nothing():
    return BoxTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))


def train(model, batch, steps, lr=3e-3):
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=lr)
    totals = []
    for _ in range(steps):
        optimizer.zero_grad()
        total = sum(model.loss(model(batch), batch).values())
        total.backward()
        optimizer.step()
        totals.append(total.item())
    return totals


def test_learns_four_pictures_by_heart():
    """And finds in a padded, enlarged canvas what it finds without."""
    model, batch = small_model(), drawn_batch()
    totals = train(model, batch, 100)
    assert np.mean(totals[-5:]) < 0.25 * np.mean(totals[:5])
    model.eval()
    with torch.inference_mode():
        found = model.decode(model(batch), batch.infos, OPTIONS)
        canvas = torch.zeros(4, 3, 96, 128)
        canvas[:, :, :64, :64] = batch.images
        padded = model.decode(model(Batch(canvas, batch.infos)), batch.infos, OPTIONS)
    for detections, elsewhere, target in zip(found, padded, batch.targets, strict=True):
        assert sorted(detections.labels.tolist()) == sorted(target.labels.tolist())
        assert sorted(elsewhere.labels.tolist()) == sorted(target.labels.tolist())
        for box, label in zip(target.boxes.numpy(), target.labels.tolist(), strict=True):
            for one in (detections, elsewhere):
                assert np.abs(one.boxes[one.labels == label] - box).max() < 5


@pytest.mark.parametrize("empty", [[0], [0, 1, 2, 3]])
@pytest.mark.parametrize("training", [True, False])
def test_pictures_without_objects_train_and_validate(empty, training):
    model, batch = small_model().train(training), drawn_batch()
    for i in empty:
        batch.targets[i] = nothing()
    losses = model.loss(model(batch), batch)
    assert all(value.isfinite() for value in losses.values())
    if len(empty) == 4:
        assert losses["boxes"] == losses["proposal_boxes"] == 0
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()


def test_a_batch_of_one_picture():
    model, batch = small_model(), drawn_batch(1)
    assert all(np.isfinite(train(model, batch, 2)))
    assert len(model.eval().decode(model(batch), batch.infos, OPTIONS)) == 1


def test_terms_are_means_over_pictures():
    """Two pictures together cost what they cost alone, on average; nothing random is left in validation."""
    model, batch = small_model().eval(), drawn_batch(2)
    together = model.loss(model(batch), batch)
    alone = [model.loss(model(batch.part(slice(i, i + 1))), batch.part(slice(i, i + 1))) for i in range(2)]
    for name, value in together.items():
        mean = (alone[0][name] + alone[1][name]) / 2
        assert value.item() == pytest.approx(mean.item(), rel=0.2), name  # other anchors are drawn
    assert list(together) == ["objectness", "proposal_boxes", "classification", "boxes"]


def test_validation_is_the_same_every_time_and_leaves_torchs_random_numbers_alone():
    model, batch = small_model().eval(), drawn_batch()
    state = torch.get_rng_state()
    first, second = (model.loss(model(batch), batch) for _ in range(2))
    assert {name: value.item() for name, value in first.items()} == {
        name: value.item() for name, value in second.items()
    }
    assert torch.equal(torch.get_rng_state(), state)


def test_training_repeats_with_its_seed():
    batch, runs = drawn_batch(), []
    for _ in range(2):
        model = small_model()
        torch.manual_seed(3)
        runs.append(train(model, batch, 2))
    assert runs[0] == runs[1]


def test_predictions_of_a_picture_do_not_depend_on_its_neighbours():
    model, batch = small_model().eval(), drawn_batch(3)
    with torch.inference_mode():
        together = model.decode(model(batch), batch.infos, {**OPTIONS, "confidence": 0.0})
        alone = batch.part(slice(1, 2))
        (single,) = model.decode(model(alone), alone.infos, {**OPTIONS, "confidence": 0.0})
    np.testing.assert_allclose(together[1].boxes, single.boxes, atol=1e-3)
    np.testing.assert_allclose(together[1].scores, single.scores, atol=1e-5)


def test_anchors_in_the_padding_are_not_learnt_from():
    model, batch = small_model().train(), drawn_batch(1)
    canvas = torch.zeros(1, 3, 64, 256)
    canvas[..., :64] = batch.images
    padded = Batch(canvas, batch.infos, batch.targets)
    raw = model(padded)
    raw.scores.retain_grad()
    sum(model.loss(raw, padded).values()).backward()
    learnt = raw.anchors[raw.scores.grad[0] != 0]
    assert len(learnt) > 20
    assert ((learnt[:, 0] + learnt[:, 2]) / 2 <= 64).all()


def test_half_precision_loses_no_boxes():
    model, batch = small_model(), drawn_batch()
    with torch.autocast("cpu", torch.bfloat16):
        raw = model(batch)
    assert raw.scores.dtype == raw.named.logits.dtype == raw.named.regions.dtype == torch.float32
    sum(model.loss(raw, batch).values()).backward()


@pytest.mark.parametrize("name", BACKBONES)
def test_a_pyramid_stands_on_any_backbone(name):
    with torch.device("meta"):
        backbone = build_backbone(name).eval()
        pyramid = FeaturePyramid(backbone.channels, backbone.strides, PyramidConfig(channels=8))
        side = max(96, backbone.minimum_size)
        levels = pyramid(backbone(torch.empty(1, 3, side, side + 32)))
    assert len(levels) == len(pyramid.all_strides) >= 2
    assert pyramid.strides[0] >= 4 or len(pyramid.strides) == 1
    for level, stride in zip(levels, pyramid.all_strides, strict=True):
        assert level.shape[:2] == (1, 8)
        assert abs(level.shape[2] - side / stride) <= 1


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "resnet18", "mobilenet_v3_small"])
def test_trains_on_backbones_with_and_without_padding_and_norm(name):
    torch.manual_seed(0)
    config = FasterRcnnConfig.model_validate(
        {**SMALL, "backbone": name, "options": {}, "pyramid": {"channels": 16, "finest": 8}}
    )
    model, batch = build_model(config, CLASSES, None, None), drawn_batch(2, size=(96, 128))
    assert all(np.isfinite(train(model, batch, 1)))


def test_levels_are_chosen_by_stride():
    model = small_model(pyramid={"channels": 8, "finest": 8, "extra": 2})
    assert model.pyramid.strides == (8,)
    assert model.pyramid.all_strides == (8, 16, 32)
    assert small_model(pyramid={"channels": 8, "finest": 64, "extra": 0}).pyramid.strides == (8,)


def test_anchor_sizes_for_another_number_of_levels_are_refused():
    with pytest.raises(ConfigError, match=r"model.anchors.sizes: .* 3 levels \(strides 4, 8, 16\).*found 1"):
        small_model(anchors={"sizes": [[8]]})


def test_frozen_batch_norm_stays_as_it_is():
    model, batch = small_model(batch_norm={"frozen": True, "eps": 0.01}), drawn_batch()
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    train(model, batch, 1)
    changed = {name for name, tensor in model.backbone.state_dict().items() if not tensor.equal(before[name])}
    assert changed == {name for name in before if before[name].ndim == 4}  # the convolutions'
    assert {m.eps for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.01}


def test_every_name_in_the_config_has_a_network():
    union = DetectionConfig.model_fields["model"].annotation
    assert {one.model_fields["name"].default for one in union.__args__} == set(MODELS)
