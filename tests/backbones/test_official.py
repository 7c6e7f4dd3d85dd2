"""Backbone and head against torchvision's whole networks: sizes, names of tensors, logits."""

import pytest
import torch
import torchvision
from torch import nn

from visiontasks.backbones import build_backbone, build_classifier_head
from visiontasks.backbones.official import normalisation, renamed_tensors
from visiontasks.config import IMAGENET_MEAN, IMAGENET_STD

ONE_A_FAMILY = [
    "alexnet",
    "vgg11",
    "googlenet",
    "resnet18",
    "resnet50",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
]


def ours(name, num_classes):
    """Backbone and head in one module, on the meta device: shapes only."""
    with torch.device("meta"):
        backbone = build_backbone(name)
        return nn.ModuleDict(
            {"backbone": backbone, "head": build_classifier_head(name, backbone, num_classes)}
        ).eval()


def theirs(name, num_classes, **options):
    """torchvision's network with random weights of the usual spread, faster than it draws them itself."""
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # RegNets cannot be built on meta
        network = torchvision.models.get_model(name, num_classes=num_classes, **options)
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            spread = (3 / max(tensor[0].numel(), 1)) ** 0.5
            tensor.uniform_(-spread, spread, generator=generator)
            if key.endswith("running_var") or (tensor.dim() == 1 and key.endswith("weight")):
                tensor.uniform_(0.5, 1.5, generator=generator)
        else:
            tensor.zero_()
    return network.eval()


def parameters(name):
    return sum(weight.numel() for weight in ours(name, 1000).parameters())


@pytest.mark.parametrize(
    ("name", "published"),
    [("alexnet", 61.1), ("vgg19", 143.7), ("googlenet", 6.6), ("resnet152", 60.2)],
)
def test_published_parameters(name, published):
    # 001 says "about" 60, 140 and 60 million; its 5 million of GoogLeNet leave the classifier's million out.
    assert round(parameters(name) / 1e6, 1) == published


def test_alexnet_of_2012_has_60_million_parameters():
    # By hand from section 3.5, groups of 2 in layers 2, 4 and 5: 34944 + 307456 + 885120 + 663936 + 442624
    # + 37752832 + 16781312 + 4097000
    assert parameters("alexnet_lrn") == 60_965_224


@pytest.mark.parametrize(
    ("name", "dropouts"),
    [
        ("alexnet", [0.5, 0.5]),
        ("vgg16", [0.5, 0.5]),
        ("googlenet", [0.2]),
        ("efficientnet_b3", [0.3]),
        ("resnet18", [0]),
    ],
)
def test_heads_drop_out_as_published(name, dropouts):
    assert [layer.p for layer in ours(name, 2)["head"].modules() if isinstance(layer, nn.Dropout)] == dropouts


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_same_logits_as_torchvision(name):
    """Every tensor finds its place, the last layer included, and the two compute the same."""
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    reference, network = theirs(name, 5, **options), ours(name, 5)
    network.load_state_dict(renamed_tensors(reference.state_dict()), strict=True, assign=True)
    images = torch.randn(2, 3, 75, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = reference(images), network["head"](network["backbone"](images))
    assert expected.isfinite().all()
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected)


def test_googlenets_official_weights_want_their_own_normalisation():
    """torchvision converts inside (`transform_input`); its file holds two classifiers that we leave out."""
    reference = theirs("googlenet", 5, aux_logits=True, transform_input=True, init_weights=False)
    network = ours("googlenet", 5)
    network.load_state_dict(renamed_tensors(reference.state_dict()), strict=True, assign=True)
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    def normalised(mean, std):
        return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    with torch.inference_mode():
        expected = reference(normalised(IMAGENET_MEAN, IMAGENET_STD))
        found = network["head"](network["backbone"](normalised(*normalisation("googlenet"))))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
