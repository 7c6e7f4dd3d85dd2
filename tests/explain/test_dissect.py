"""Network dissection: a unit that is a concept by construction, and a computation with whole arrays."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visiontasks.classes import ClassMap
from visiontasks.errors import DataError
from visiontasks.explain.dissect import (
    OUTLINE,
    Sampled,
    WithMask,
    active_pixels,
    concept_records,
    detectors,
    dissect,
    draw_concepts,
    is_active,
    network_mask,
    unit_table,
)
from visiontasks.explain.features import receptive_field
from visiontasks.types import Batch, Example, ImageInfo, Sample

SIZE = (24, 32)
CONCEPTS = ClassMap(("wall", "red", "green"))


class Wrapped(nn.Module):
    """Takes a batch, as networks do."""

    def __init__(self, *body):
        super().__init__()
        self.backbone = nn.Sequential(*body)

    def forward(self, batch):
        return self.backbone(batch.images)


def pictures(count, seed=0):
    """Grey pictures with a red and a green square, and their masks; a few pixels have no label."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, 3, *SIZE), np.float32)
    masks = np.zeros((count, *SIZE), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        image += rng.uniform(-0.1, 0.1, image.shape)
        for label in (1, 2):
            y, x = rng.integers(0, 18), rng.integers(0, 26)
            image[:, y : y + 6, x : x + 6] = 0
            image[label - 1, y : y + 6, x : x + 6] = 1
            mask[y : y + 6, x : x + 6] = label
        mask[0, :3] = 255
    return torch.from_numpy(images), masks


def passes(images, masks, step):
    def one_pass():
        for start in range(0, len(images), step):
            part = images[start : start + step]
            infos = [ImageInfo(start + i, *SIZE, *SIZE) for i in range(len(part))]
            yield Batch(part, infos), list(masks[start : start + step])

    return one_pass


def test_a_unit_that_is_a_concept_has_an_iou_of_1():
    network = Wrapped(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU()).eval()
    with torch.no_grad():
        network.backbone[0].weight[:] = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [0, 0, -9]]).view(
            3, 3, 1, 1
        )
    images, masks = pictures(12)
    masks[masks == 255] = 0
    share = float((masks == 1).mean())
    assert (masks == 1).sum() != (masks == 2).sum()
    images[:, 2][torch.from_numpy(masks == 0)] += 3  # walls are blue, so that units 0 and 1 are silent there
    found = dissect(network, "1", passes(images, masks, 5), CONCEPTS, share=share)
    assert found.iou[0, 1] == 1 and found.iou[1, 2] == 1  # of unit 1 more has its largest value
    best, iou = found.best
    assert best.tolist()[:2] == [1, 2] and iou[0] == 1
    assert detectors(found)["red"] == [0] and detectors(found)["green"] == [1]
    assert found.measured[0] == pytest.approx(share) and found.reachable[0, 1] == 1
    red = concept_records(found)[1]
    assert (red["concept"], red["unit"], red["iou"], red["detectors"]) == ("red", 0, 1.0, [0])
    header, rows = unit_table(found)
    assert rows[0][: header.index("threshold")] == [0, "red", 1.0] and len(rows[0]) == len(header) == 8


def whole_arrays(features, masks, share):
    """Everything in memory, one unit and one concept after the other; an implementation of its own."""
    fine = F.interpolate(torch.from_numpy(features), SIZE, mode="bilinear", align_corners=False).numpy()
    iou = np.empty((features.shape[1], 3))
    limits = []
    for unit in range(features.shape[1]):
        values = np.sort(features[:, unit].ravel())
        limits.append(values[len(values) - 1 - int(share * len(values))])
        on = (fine[:, unit] > limits[-1]) & (masks != 255)
        for concept in range(3):
            there = masks == concept
            iou[unit, concept] = (on & there).sum() / (on | there).sum()
    return np.array(limits), iou


@pytest.mark.parametrize("step", [1, 4, 30])
@pytest.mark.parametrize("share", [0.005, 0.05, 0.3])
def test_two_passes_equal_whole_arrays(monkeypatch, step, share):
    monkeypatch.setattr("visiontasks.explain.dissect.CHUNK", 2 * SIZE[0] * SIZE[1])  # two units at a time
    torch.manual_seed(0)
    network = Wrapped(
        nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(5, 7, 3, padding=1)
    ).eval()
    images, masks = pictures(23)
    with torch.no_grad():
        features = network.backbone(images).numpy()
    limits, iou = whole_arrays(features, masks, share)
    found = dissect(network, "2", passes(images, masks, step), CONCEPTS, share=share)
    np.testing.assert_allclose(found.thresholds, limits, rtol=1e-5)
    np.testing.assert_allclose(found.iou, iou, atol=1e-3)  # a pixel at the threshold may fall to either side
    np.testing.assert_allclose(found.measured, share, atol=1 / features[:, 0].size + 1e-3)
    assert (found.iou <= found.reachable).all()
    assert found.reachable[3, 1] == pytest.approx(
        min(found.active[3], found.present[1]) / max(found.active[3], found.present[1])
    )
    peaks = features.max(axis=(2, 3))
    np.testing.assert_array_equal(found.strongest.pictures, np.argsort(-peaks, axis=0)[:4].T)


def test_a_sample_is_uniform_and_its_error_is_as_documented():
    values, share, units = 200_000, 0.05, 4
    torch.manual_seed(0)
    data = torch.randn(200_000, units)
    data[:100_000] += 1  # the first half is larger: what comes first must not count more
    sample = Sampled(seed=3, values=values)
    for part in data.split(7_000):
        sample.add(part)
    count = values // units
    assert sample.kept.shape == (count, units)
    above = (data > torch.from_numpy(sample.thresholds(share))).double().mean(dim=0)
    error = np.sqrt(share * (1 - share) / count)
    assert ((above - share).abs() < 4 * error).all() and ((above - share).abs() > 0).any()
    small = Sampled(values=10**7)
    for part in data[:5000].split(999):
        small.add(part)
    exact = np.sort(data[:5000].numpy(), axis=0)[-1 - 250]
    np.testing.assert_array_equal(small.thresholds(share), exact)


def test_a_unit_that_is_nearly_always_0_is_active_where_it_is_not():
    features = torch.zeros(1, 4, 4)
    features[0, 1, 1] = 1.0
    sample = Sampled()
    sample.add(features.view(1, -1).T)
    limits = torch.from_numpy(sample.thresholds(0.3))
    counts = active_pixels(features, limits, np.full((4, 4), 2, np.uint8), (4, 4))
    assert limits.tolist() == [0] and counts[0, 2] == 1 and counts.sum() == 1


def test_padding_counts_neither_for_thresholds_nor_for_concepts():
    network = Wrapped(nn.Conv2d(3, 1, 1, bias=False)).eval()
    nn.init.ones_(network.backbone[0].weight)
    images = torch.zeros(2, 3, 6, 8)
    images[:, :, 1:5, 2:6] = -torch.arange(1.0, 33).view(2, 1, 4, 4)  # below the 0 of padding
    infos = [ImageInfo(n, 4, 4, 4, 4, pad_left=2, pad_top=1) for n in range(2)]
    mask = np.full((4, 4), 1, np.uint8)
    mask[0, 0] = 0
    masks = [network_mask(mask, info, (6, 8)) for info in infos]
    field = receptive_field(network, "0", (6, 8))
    found = dissect(network, "0", lambda: [(Batch(images, infos), masks)], CONCEPTS, share=0.25, field=field)
    assert found.thresholds[0] == -27  # 8 of 32 values are larger: -3 to -24
    assert found.present.tolist() == [2, 30, 0] and found.active[0] == 8 == found.both[0].sum()
    assert np.isnan(found.iou[0, 2]) or found.iou[0, 2] == 0


def test_a_network_that_pads_its_picture_is_compared_where_it_looked():
    """6 x 8 px are padded to 8 x 8: of the 2 x 2 positions the lower ones begin at row 4."""
    features = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    active = is_active(features, torch.tensor([0.5]), (6, 8), (4.0, 4.0))[0]
    assert active.shape == (6, 8) and active.all(dim=1).tolist() == [False] * 4 + [True] * 2


def test_units_of_a_network_without_padding_stand_in_the_middle():
    """Two positions 4 px apart on 16 px: one half of the middle 8 each, and the edges go on."""
    active = is_active(torch.tensor([[[0.0], [1.0]]]), torch.tensor([0.5]), (16, 4), (4.0, 4.0))[0]
    assert active.all(dim=1).tolist() == [False] * 8 + [True] * 8


def test_masks_without_a_label_are_refused():
    network = Wrapped(nn.Conv2d(3, 1, 1)).eval()
    batch = Batch(torch.zeros(1, 3, 4, 4), [ImageInfo(0, 4, 4, 4, 4)])
    with pytest.raises(DataError, match="labelled pixels"):
        dissect(network, "0", lambda: [(batch, [np.full((4, 4), 255, np.uint8)])], CONCEPTS)


def test_a_mask_goes_the_way_of_its_picture():
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8)
    placed = network_mask(mask, ImageInfo(0, 6, 8, 6, 8, pad_left=2, pad_top=1), (8, 11))
    assert np.array_equal(placed[1:7, 2:10], mask) and (placed == 255).sum() == 88 - 48
    cropped = network_mask(mask, ImageInfo(0, 6, 8, 6, 8, pad_left=-2, pad_top=-1), (4, 4))
    assert np.array_equal(cropped, mask[1:5, 2:6])
    doubled = network_mask(mask, ImageInfo(0, 6, 8, 12, 16), (12, 16))
    assert np.array_equal(doubled, mask.repeat(2, axis=0).repeat(2, axis=1))


def test_the_transform_hands_over_the_mask():
    info = ImageInfo("a", 6, 8, 6, 8, pad_left=1)

    def transform(sample, rng, fetch):
        assert sample.target is None
        return Example(torch.zeros(3, 6, 10, dtype=torch.uint8), None, info)

    mask = np.ones((6, 8), np.uint8)
    example = WithMask(transform)(Sample(np.zeros((6, 8, 3), np.uint8), mask, "a"), None, None)
    assert example.truth.shape == (6, 10) and (example.truth[:, 1:9] == 1).all() and example.target is None


def test_the_sheet_shows_where_units_are_active():
    network = Wrapped(nn.Conv2d(3, 2, 1, bias=False)).eval()
    with torch.no_grad():
        network.backbone[0].weight[:] = torch.tensor([[1.0, -1, -1], [-1, 1, -1]]).view(2, 3, 1, 1)
    images, masks = pictures(5)
    found = dissect(network, "0", passes(images, masks, 5), CONCEPTS, share=0.04)
    looked = []

    def look(place):
        looked.append(place)
        with torch.no_grad():
            return np.full((*SIZE, 3), 200, np.uint8), network.backbone(images[place][None])[0]

    sheet = draw_concepts(found, look)
    assert sorted(looked) == sorted(set(looked)) and len(looked) <= 5  # each picture once
    bright, dim = (sheet == 200).all(2).sum(), (sheet == 100).all(2).sum()
    assert (sheet == OUTLINE).all(2).any() and 0.01 < bright / (bright + dim) < 0.15


def test_no_pictures():
    with pytest.raises(DataError, match="at least one picture"):
        dissect(Wrapped(nn.Conv2d(3, 2, 1)), "0", lambda: [], CONCEPTS)
