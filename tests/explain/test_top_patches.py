"""Top patches: one pass equals brute force, and a patch is what its unit sees."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from visiontasks import backbones
from visiontasks.backbones import build_backbone
from visiontasks.classes import ClassMap
from visiontasks.drawing import DARK
from visiontasks.errors import DataError, UsageError
from visiontasks.explain.features import features_at, receptive_field
from visiontasks.explain.top_patches import (
    Numbered,
    Place,
    cut,
    draw_sheets,
    find_top,
    patch_records,
    patch_window,
)
from visiontasks.ledger import Ledger
from visiontasks.types import Batch, ImageInfo, Sample

SIZE = (16, 20)


class Wrapped(nn.Module):
    """Takes a batch, as networks do."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, batch):
        return self.body(batch.images)


def info(number, size=SIZE):
    return ImageInfo(number, *size, *size)


def batches(images, step):
    for start in range(0, len(images), step):
        part = images[start : start + step]
        yield Batch(part, [info(start + i, tuple(part.shape[2:])) for i in range(len(part))])


def small_network(seed=0):
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(5, 7, 3)
    )
    return Wrapped(body).eval()


@pytest.mark.parametrize("step", [1, 4, 30])
@pytest.mark.parametrize("layer", ["body.0", "body.1", "body.3", "body"])
def test_one_pass_equals_brute_force(layer, step):
    network = small_network()
    images = torch.randn(23, 3, *SIZE)
    images[11] = images[3]  # a tie: the earlier one comes first
    top = find_top(network, layer, batches(images, step), 6)
    with torch.no_grad():
        stages = [images]
        for stage in (network.body[0], nn.ReLU(), network.body[2], network.body[3]):
            stages.append(stage(stages[-1]))
    maps = stages[{"body.0": 1, "body.1": 2, "body.3": 4, "body": 4}[layer]].numpy()
    peaks = maps.max(axis=(2, 3))  # (N, U)
    for unit in range(maps.shape[1]):
        order = np.argsort(-peaks[:, unit], kind="stable")[:6]
        np.testing.assert_allclose(top.scores[unit], peaks[order, unit], rtol=1e-5)
        for rank, picture in enumerate(top.pictures[unit]):
            row, column = top.positions[unit, rank]
            assert maps[picture, unit, row, column] == pytest.approx(top.scores[unit, rank], rel=1e-5)
        assert len(set(top.pictures[unit])) == 6
    assert set(top.infos) == set(top.pictures.ravel().tolist())


def test_fewer_pictures_than_asked_for_and_none():
    top = find_top(small_network(), "body.3", batches(torch.randn(2, 3, *SIZE), 2), 4)
    assert (top.pictures[:, 2:] == -1).all() and (top.scores[:, 2:] == -np.inf).all()
    assert (np.sort(top.pictures[:, :2], axis=1) == [0, 1]).all()
    with pytest.raises(DataError, match="at least one picture"):
        find_top(small_network(), "body.3", iter([]), 4)


def test_units_without_positions():
    network = Wrapped(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))).eval()
    images = torch.randn(9, 3, *SIZE)
    top = find_top(network, "body.2", batches(images, 4), 2)
    with torch.no_grad():
        expected = network.body(images).T.topk(2).indices
    assert np.array_equal(top.pictures, expected.numpy()) and not top.positions.any()
    field = receptive_field(network, "body.2", SIZE)
    assert patch_window(field, (0, 0), info(0)) == (0, 0, 20, 16)  # the whole picture


def seen_rows_and_columns(network, layer, position, size):
    """Which pixels reach an output, by NaN: it passes through every operation, whatever the weights.

    An implementation of its own: no geometry in it. Returns (first row, end, first column, end).
    """
    ends = []
    for axis in (0, 1):
        hits = []
        for at in range(size[axis]):
            images = torch.zeros(1, 3, *size)
            images.select(2 + axis, at).fill_(float("nan"))
            output = features_at(network, layer, Batch(images, [info(0, size)]))
            if output[0, 0, position[0], position[1]].isnan():
                hits.append(at)
        assert hits == list(range(hits[0], hits[-1] + 1))
        ends += [hits[0], hits[-1] + 1]
    return ends


CASES = {
    "even kernels, dilation": nn.Sequential(
        nn.Conv2d(3, 2, 4, stride=2, padding=1), nn.Conv2d(2, 2, 3, dilation=2, padding=2), nn.AvgPool2d(2)
    ),
    "different axes": nn.Sequential(nn.Conv2d(3, 2, (1, 5), padding=(0, 2)), nn.MaxPool2d((3, 2), (2, 1))),
    "unsymmetric padding": nn.Sequential(nn.ZeroPad2d((0, 3, 2, 0)), nn.Conv2d(3, 2, 4, stride=3)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_window_is_what_reaches_the_unit(case):
    network, size = Wrapped(CASES[case]).eval(), (24, 26)
    field = receptive_field(network, "body", size)
    with torch.no_grad():
        height, width = features_at(network, "body", next(batches(torch.zeros(1, 3, *size), 1))).shape[2:]
        for position in {(0, 0), (height // 2, width // 2), (height - 1, width - 1)}:
            left, top, right, bottom = patch_window(field, position, info(0, size))
            seen = seen_rows_and_columns(network, "body", position, size)
            cut_off = [max(0, top), min(bottom, size[0]), max(0, left), min(right, size[1])]
            assert cut_off == seen, (case, position)


@pytest.mark.parametrize(
    ("name", "layer", "size", "position"),
    [
        ("resnet18", "body.layer1", (70, 64), (8, 7)),
        ("alexnet", "body.features.3", (80, 72), (4, 5)),
        ("vgg11", "body.features.8", (40, 40), (5, 5)),
        ("small", "body.stages.1", (40, 36), (5, 4)),
    ],
)
def test_the_window_in_real_backbones(name, layer, size, position):
    network = Wrapped(backbones.build_backbone(name)).eval()
    left, top, right, bottom = patch_window(receptive_field(network, layer, size), position, info(0, size))
    with torch.no_grad():
        seen = seen_rows_and_columns(network, layer, position, size)
    assert [max(0, top), min(bottom, size[0]), max(0, left), min(right, size[1])] == seen


def test_the_window_in_original_pixels():
    """A picture of 60x100 that was shrunk to 30x50 and put 5 pixels down and 3 right."""
    field = receptive_field(small_network(), "body.0", (40, 56))
    assert (field.receptive_field, field.field_start, field.cumulative_stride) == ((3, 3), (-1, -1), (2, 2))
    placed = ImageInfo(0, 60, 100, 30, 50, pad_left=3, pad_top=5)
    assert patch_window(field, (8, 10), placed) == (32, 20, 38, 26)  # network pixels 19..22 and 15..18


def test_positions_in_padding_do_not_count():
    network = Wrapped(nn.Sequential(nn.Conv2d(3, 1, 1, bias=False))).eval()
    nn.init.ones_(network.body[0].weight)
    images = torch.zeros(2, 3, 6, 8)
    images[:, :, 1:5, 2:6] = torch.tensor([-1.0, -2.0]).view(2, 1, 1, 1)  # below the 0 of padding
    images[1, :, 3, 4] = -0.5
    infos = [ImageInfo(n, 4, 4, 4, 4, pad_left=2, pad_top=1) for n in range(2)]
    field = receptive_field(network, "body.0", (6, 8))
    top = find_top(network, "body.0", [Batch(images, infos)], 2, field)
    assert top.scores.tolist() == [[-1.5, -3.0]] and top.pictures.tolist() == [[1, 0]]
    assert top.positions[0, 0].tolist() == [3, 4]
    assert patch_window(field, top.positions[0, 0], infos[1]) == (2, 2, 3, 3)


def test_a_place_prints_as_the_picture_is_called():
    place = pickle.loads(pickle.dumps(Numbered(Drawn())[3].image_id))
    assert place == 3 and isinstance(place, Place) and str(place) == f"{place}" == "3.png"


def test_a_block_sees_what_its_end_sees_not_its_shortcut():
    network = nn.Module()
    network.backbone = build_backbone("resnet18")
    network.forward = lambda batch: network.backbone(batch.images)
    fields = [
        receptive_field(network.eval(), layer, (64, 64)).receptive_field
        for layer in ("layer3.0", "layer3.0.bn2", "layer3.0.downsample.1")
    ]
    assert fields[0] == fields[1] > fields[2]


class Drawn:
    """Pictures of flat grey, one of which has a vertical edge, dark to bright, at a known place."""

    classes, fingerprint, root = ClassMap(("a",)), "", None
    files = tuple(f"{n}.png" for n in range(12))
    edge, row, column = 7, 9, 13

    def __init__(self):
        self.ledger = Ledger()

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = np.full((*SIZE, 3), 20 * index % 256, dtype=np.uint8)
        if index == self.edge:
            image[:] = 40
            image[self.row - 1 : self.row + 2, self.column :] = 240
        return Sample(image, 0, self.files[index])


def test_an_edge_detector_finds_the_edge():
    network = Wrapped(nn.Sequential(nn.Conv2d(3, 2, 3, padding=1, bias=False))).eval()
    with torch.no_grad():
        network.body[0].weight[:] = torch.tensor([-1.0, 0.0, 1.0]) / 9
        network.body[0].weight[1] *= -1
    source = Numbered(Drawn())
    samples = [source[i] for i in range(len(source))]
    images = torch.stack([torch.from_numpy(s.image).permute(2, 0, 1).float() for s in samples])
    images = nn.functional.pad(images, (4, 4, 4, 4), mode="replicate")  # else zeros make an edge of the rim
    infos = [ImageInfo(s.image_id, *SIZE, *SIZE, pad_left=4, pad_top=4) for s in samples]
    field = receptive_field(network, "body.0", (24, 28))
    batches = [Batch(images[start : start + 5], infos[start : start + 5]) for start in (0, 5, 10)]
    top = find_top(network, "body.0", batches, 2, field)
    assert top.pictures[0, 0] == Drawn.edge
    row, column = top.positions[0, 0] - 4
    assert row == Drawn.row and column in (Drawn.column - 1, Drawn.column)
    left, upper, right, lower = patch_window(field, top.positions[0, 0], top.infos[7])
    patch = cut(samples[7].image, (left, upper, right, lower))
    edge = Drawn.column - left
    assert patch.shape == (3, 3, 3) and (patch[:, :edge] == 40).all() and (patch[:, edge:] == 240).all()
    ((units, sheet),) = draw_sheets(top, field, lambda place: source[place].image, [0])
    assert units == [0] and (sheet == 240).all(2).sum() >= 1000 and (sheet == 40).all(2).sum() >= 1000
    (record,) = patch_records(top, field, source.files, [0])
    assert record["unit"] == 0 and record["patches"][0]["file"] == "7.png"
    assert record["patches"][0]["box"] == [left, upper, right, lower]


def test_what_lies_outside_the_picture_is_dark():
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    patch = cut(image, (-2, 1, 2, 6))
    assert patch.shape == (5, 4, 3)
    assert np.array_equal(patch[:3, 2:], image[1:4, :2])
    assert (patch[:, :2] == DARK).all() and (patch[3:] == DARK).all()


def test_sheets_of_many_units_are_pages():
    top = find_top(small_network(), "body.3", batches(torch.randn(3, 3, *SIZE), 3), 5)
    field = receptive_field(small_network(), "body.3", SIZE)
    reads = []

    def read(place):
        reads.append(place)
        return np.zeros((*SIZE, 3), np.uint8)

    pages = list(draw_sheets(top, field, read, [0, 1, 2] * 30))
    assert [len(units) for units, _ in pages] == [64, 26] and len(reads) == 6  # each picture once a page


def test_faults_are_the_users():
    network, images = small_network(), torch.randn(2, 3, *SIZE)
    with pytest.raises(UsageError, match=r"unknown layer 'body.33'; did you mean 'body.3'"):
        find_top(network, "body.33", batches(images, 2), 1)
    top = find_top(network, "body.3", batches(images, 2), 1)
    field = receptive_field(network, "body.3", SIZE)
    with pytest.raises(UsageError, match="0 to 6, found 7"):
        next(draw_sheets(top, field, lambda place: np.zeros((*SIZE, 3), np.uint8), [7]))
    network.body.append(nn.Identity())
    network.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(UsageError, match="layer that runs on pictures, found 'unused'"):
        find_top(network, "unused", batches(images, 2), 1)
    with pytest.raises(UsageError, match="layer that runs on pictures, found 'unused'"):
        receptive_field(network, "unused", SIZE)
    network.body.append(nn.Flatten(2))
    with pytest.raises(UsageError, match=r"found \(2, 7, 6\) at 'body.5'"):
        find_top(network, "body.5", batches(images, 2), 1)
