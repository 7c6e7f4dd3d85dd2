"""The layer table against published figures, gradients and PyTorch's own counter."""

import json

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from visiontasks.backbones import build_backbone, build_classifier_head, torchvision_names
from visiontasks.errors import DataError
from visiontasks.ops.convolution import Window, receptive_field
from visiontasks.ops.layers import layer_table


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def whole_network(name, num_classes=1000):
    """Backbone and original head, without weights."""
    with torch.device("meta"):
        backbone = build_backbone(name)
        return nn.Sequential(backbone, build_classifier_head(name, backbone, num_classes))


def last_field(network, size):
    return list(layer_table(network, size))[-1].receptive_field


# Published figures


@pytest.mark.parametrize("name", torchvision_names())
def test_macs_are_the_published_ones(name):
    """torchvision states them in units of 1e9 with three digits, measured independently."""
    official = torchvision.models.get_model_weights(name).DEFAULT
    side = official.transforms().crop_size[0]
    table = layer_table(whole_network(name), (side, side))
    assert round(table.macs / 1e9, 3) == official.meta["_ops"]
    assert table.parameters == official.meta["num_params"] == sum(row.parameters for row in table)


def test_resnet_computes_less_than_vgg():
    # 001: "ResNet, 152 layers: less computation in forward pass than VGGNet"
    resnet, vgg = (layer_table(whole_network(name), (224, 224)).macs for name in ("resnet152", "vgg19"))
    assert resnet < 0.6 * vgg


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "alexnet",
            195,
        ),  # with the last pool, as Araujo et al. 2019 count; the fifth convolution alone sees 163
        ("alexnet_lrn", 195),
        ("vgg16", 212),
        ("resnet18", 435),
        ("resnet50", 427),  # 483 in the paper; see below
        ("googlenet", 379),  # 699 with the 5x5 convolutions of the paper; torchvision's are 3x3
        ("small", 52),
    ],
)
def test_receptive_fields(name, expected):
    with torch.device("meta"):
        backbone = build_backbone(name)
    assert last_field(backbone, (256, 224)) == (expected, expected)


def test_resnet50_sees_less_since_its_stride_moved():
    """He et al. 2015 halve in a block's first 1x1 convolution, torchvision in the 3x3 one behind it."""

    def chain(first_block):
        layers = [Window(7, 2), Window(3, 2), *[Window(3)] * 3]
        for blocks in (4, 6, 3):
            layers += [*first_block, *[Window(3)] * (blocks - 1)]
        return receptive_field(layers)

    assert chain([Window(1, 2), Window(3)]) == (483, 32)
    assert chain([Window(3, 2)]) == (427, 32)


def test_alexnets_fifth_convolution():
    with torch.device("meta"):
        rows = {row.name: row for row in layer_table(build_backbone("alexnet"), (224, 224))}
    fifth = rows["features.10"]
    assert (fifth.kind, fifth.output, fifth.receptive_field) == ("Conv2d", (256, 13, 13), (163, 163))
    assert (fifth.kernel, fifth.stride, fifth.padding) == ((3, 3), (1, 1), (1, 1))
    assert (fifth.cumulative_stride, fifth.parameters) == ((16, 16), (3 * 3 * 256 + 1) * 256)
    assert fifth.macs == 13 * 13 * 9 * 256 * 256


# Receptive fields against gradients


class Residual(nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


class Inception(nn.Module):
    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class Resized(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode=self.mode)


def conv(inputs, outputs, kernel, **options):
    return nn.Conv2d(inputs, outputs, kernel, **options)


NETWORKS = {
    "one convolution": lambda: conv(3, 2, (3, 5)),
    "chain": lambda: nn.Sequential(
        conv(3, 2, 3, padding=1), nn.AvgPool2d(2), conv(2, 2, 5, stride=3), conv(2, 2, 3)
    ),
    "uneven strides": lambda: nn.Sequential(
        conv(3, 2, (1, 3), stride=(1, 2)), conv(2, 2, (5, 3), stride=(3, 1))
    ),
    "dilation": lambda: nn.Sequential(
        conv(3, 2, 3, dilation=2), conv(2, 2, 3, stride=2), conv(2, 2, 3, dilation=3)
    ),
    "depthwise": lambda: nn.Sequential(conv(3, 4, 1), conv(4, 4, 7, groups=4, padding="same"), nn.ReLU()),
    "residual": lambda: nn.Sequential(
        conv(3, 2, 3, stride=2, padding=1),
        Residual(
            nn.Sequential(conv(2, 2, 3, stride=2, padding=1), conv(2, 2, 3, padding=1)),
            conv(2, 2, 1, stride=2),
        ),
        conv(2, 2, 3),
    ),
    "inception": lambda: nn.Sequential(
        conv(3, 2, 3, stride=2),
        Inception(
            conv(2, 2, 1),
            nn.Sequential(conv(2, 2, 1), conv(2, 2, 5, padding=2)),
            nn.Sequential(nn.AvgPool2d(3, 1, padding=1), conv(2, 2, 1)),
        ),
        conv(6, 2, 3),
    ),
    "nearest": lambda: nn.Sequential(conv(3, 2, 3, stride=2, padding=1), Resized("nearest"), conv(2, 2, 1)),
    "transposed": lambda: nn.Sequential(conv(3, 2, 3, stride=2, padding=1), nn.ConvTranspose2d(2, 2, 4, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_receptive_field_is_where_the_gradient_is(name):
    """With positive weights, one output has a gradient on its receptive field and nowhere else."""
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    for weight in network.parameters():
        nn.init.uniform_(weight, 0.5, 1)
    images = torch.ones(1, 3, 60, 64, dtype=torch.float64, requires_grad=True)
    output = network(images)
    middle = output.shape[2] // 2, output.shape[3] // 2
    extents = []
    for y, x in [middle, (middle[0] + 1, middle[1] + 1)]:  # the two phases of an upsampling
        (gradient,) = torch.autograd.grad(output[0, :, y, x].sum(), images, retain_graph=True)
        seen = gradient[0].sum(0) != 0
        extents.append((int(seen.any(1).sum()), int(seen.any(0).sum())))
    assert last_field(network.float(), (60, 64)) == max(extents)


def test_bilinear_upsampling_adds_a_neighbour():
    # step 2 after the convolution: 3 + 2; the step halves; another 3x3 adds 2 * 1
    network = nn.Sequential(conv(3, 2, 3, stride=2, padding=1), Resized("bilinear"), conv(2, 2, 3))
    rows = list(layer_table(network, (32, 32)))
    assert [row.receptive_field[0] for row in rows] == [3, 5, 7]
    assert [row.cumulative_stride[0] for row in rows] == [2, 1, 1]


def test_max_pooling_keeps_positions_for_unpooling():
    class Unpooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

        def forward(self, x):
            return self.unpool(*self.pool(x))

    rows = list(layer_table(Unpooled(), (8, 8)))
    assert [(row.name, row.receptive_field, row.cumulative_stride) for row in rows] == [
        ("pool", (2, 2), (2, 2)),
        ("unpool", (2, 2), (1, 1)),
    ]


# What sees the whole picture


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("regnet_y_400mf", "trunk_output.block1.block1-0.f.se.avgpool"),
        ("mobilenet_v3_large", "features.4.block.2.avgpool"),
        ("efficientnet_b0", "features.1.0.block.1.avgpool"),
    ],
)
def test_squeeze_excitation_is_global(name, first):
    with torch.device("meta"):
        table = layer_table(build_backbone(name), (64, 64))
    assert table.global_from == first
    assert table.rows[-1].receptive_field is None
    assert (table.rows[-1].cumulative_stride, table.rows[-1].output[1:]) == ((32, 32), (2, 2))


GLOBAL = {
    "flatten": nn.Flatten(),
    "adaptive pool": nn.AdaptiveAvgPool2d(1),
    "adaptive max pool": nn.AdaptiveMaxPool2d(1),
    "attention": type(
        "Attention", (nn.Module,), {"forward": lambda self, x: x.flatten(2) @ x.flatten(2).mT}
    )(),
    "mean": type("Mean", (nn.Module,), {"forward": lambda self, x: x.mean((2, 3), keepdim=True)})(),
    "amax": type("Most", (nn.Module,), {"forward": lambda self, x: x.amax((2, 3))})(),
}


@pytest.mark.parametrize("kind", GLOBAL)
def test_mixing_all_positions_is_global(kind):
    table = layer_table(nn.Sequential(conv(3, 4, 3), GLOBAL[kind]), (9, 9))
    assert table.rows[0].receptive_field == (3, 3)
    assert table.rows[-1].receptive_field is None
    assert table.receptive_field == (3, 3)


def test_adaptive_pool_to_several_cells_is_not_global():
    # 7 -> 3 cells: the cells are 0-3, 2-5 and 4-7; 3 positions each, 7 / 3 apart
    (row,) = layer_table(nn.AdaptiveAvgPool2d(3), (7, 7))
    assert (row.receptive_field, row.cumulative_stride) == ((3, 3), (7 / 3, 7 / 3))


def test_a_mean_over_channels_is_not_global():
    class ChannelMean(nn.Module):
        def forward(self, x):
            return x * x.mean(1, keepdim=True)

    assert last_field(nn.Sequential(conv(3, 2, 3), ChannelMean()), (9, 9)) == (3, 3)


# Counting


class Mixed(nn.Module):
    """Convolutions of all kinds, a linear layer on positions, attention, and a functional convolution."""

    def __init__(self):
        super().__init__()
        self.first = conv(3, 8, 3, stride=2, padding=1)
        self.grouped = conv(8, 8, (3, 5), groups=4, padding=(1, 2))
        self.transposed = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1)
        self.linear = nn.Linear(6, 8)
        self.weight = nn.Parameter(torch.zeros(2, 8, 1, 1))

    def forward(self, x):
        x = self.transposed(self.grouped(self.first(x)))
        tokens = self.linear(x.permute(0, 2, 3, 1)).flatten(1, 2)[:, None]  # (B, 1, H * W, 8)
        attended = F.scaled_dot_product_attention(tokens, tokens, tokens)
        return F.conv2d(attended.mT.unflatten(3, x.shape[2:])[:, 0], self.weight)


def test_macs_equal_half_of_pytorchs_flops():
    network, images = Mixed(), torch.zeros(1, 3, 10, 12)
    with FlopCounterMode(display=False) as counter:
        network(images)
    table = layer_table(network, (10, 12))
    assert 2 * table.macs == counter.get_total_flops()
    assert sum(row.parameters for row in table) == table.parameters


def test_operations_and_parameters_outside_layers_have_rows():
    rows = list(layer_table(nn.Sequential(conv(3, 3, 1), Mixed()), (10, 12)))
    assert ("1.scaled_dot_product_attention", 0) in [(row.name, row.parameters) for row in rows]
    functional, block = rows[-2:]
    assert (functional.name, functional.kernel, functional.parameters) == ("1.conv2d", (1, 1), 0)
    assert (block.name, block.kind, block.parameters, block.macs) == ("1", "Mixed", 16, 0)


def test_a_concatenation_has_a_row():
    with torch.device("meta"):
        last = layer_table(build_backbone("googlenet"), (64, 64)).rows[-1]
    assert (last.name, last.kind, last.output) == ("inception5b.cat", "cat", (1024, 2, 2))


def test_a_layer_that_runs_twice_is_counted_once():
    shared = conv(3, 3, 3, padding=1)
    table = layer_table(nn.Sequential(shared, nn.ReLU(), shared), (8, 8))
    assert [row.parameters for row in table] == [84, 0, 0]
    assert [row.receptive_field for row in table] == [(3, 3), (3, 3), (5, 5)]
    assert (table.parameters, table.macs) == (84, 2 * 81 * 64)


# The table as a thing


def test_the_network_is_left_as_it_was():
    network = nn.Sequential(conv(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    network[2].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    layer_table(network, (8, 8))
    assert [module.training for module in network.modules()] == [True, True, True, False]
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_picture_that_is_too_small():
    network = build_backbone("small", stem=4, widths=(4, 4))
    with pytest.raises(DataError, match=r"at least 4x4 pixels.*found 3x9"):
        layer_table(network, (3, 9))
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_networks_that_take_something_else_than_a_picture():
    class TakesDict(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = conv(3, 2, 3)

        def forward(self, batch):
            return self.layer(batch["images"] / 255)

    (row,) = layer_table(TakesDict(), (8, 9), wrap=lambda images: {"images": images})
    assert (row.name, row.output) == ("layer", (2, 6, 7))


def test_json():
    network = nn.Sequential(conv(3, 2, 3, bias=False), nn.AdaptiveAvgPool2d(1))
    found = json.loads(json.dumps(layer_table(network, (8, 9)).to_json()))
    assert {key: value for key, value in found.items() if key != "rows"} == {
        "size": [8, 9],
        "parameters": 54,
        "macs": 54 * 42,
        "receptive_field": [3, 3],
        "global_from": "1",
    }
    assert found["rows"][0] == {
        "name": "0",
        "kind": "Conv2d",
        "output": [2, 6, 7],
        "kernel": [3, 3],
        "stride": [1, 1],
        "padding": [0, 0],
        "parameters": 54,
        "receptive_field": [3, 3],
        "cumulative_stride": [1, 1],
        "field_start": [0, 0],
        "macs": 54 * 42,
    }
    assert (found["rows"][1]["receptive_field"], found["rows"][1]["cumulative_stride"]) == ("global", None)
