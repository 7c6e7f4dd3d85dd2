"""`torchvision:NAME` for segmentation: with torchvision's parameters copied in, its logits."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision

from visiontasks import api
from visiontasks.classes import ClassMap
from visiontasks.config_files import parse_config, section_model
from visiontasks.engine import model_files
from visiontasks.io.weights import check_tensors
from visiontasks.segmentation.config import SegmentationConfig
from visiontasks.segmentation.models import build_model
from visiontasks.segmentation.official import SEGMENTERS, adopt
from visiontasks.types import Batch, ImageInfo

SIZE = (96, 160)  # multiples of the stride: torchvision does not pad


def reference(name, **options):
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, weights_backbone=None, **options).eval()


def download(name, categories):
    weights = SimpleNamespace(
        meta={"categories": categories}, transforms=lambda: SimpleNamespace(resize_size=[520])
    )
    return SimpleNamespace(model=name, url="https://example.org/x.pth", weights=weights)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_logits_are_torchvisions(name):
    network = reference(name, num_classes=3)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # statistics of a trained network are not 0 and 1
            torch.nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2.0)
    record, convert = adopt(download(name, ["__background__", "a", "b"]))
    assert (record.classes, record.file_ids) == (("background", "a", "b"), (0, 1, 2))
    config = parse_config(section_model(SegmentationConfig, "model"), record.model, file=name)
    ours = build_model(config, ClassMap(record.classes), config_loss(), None).eval()
    tensors = convert(network.state_dict())
    check_tensors(ours.state_dict(), tensors, strict=True, file=name)
    ours.load_state_dict(tensors)
    images = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        found = ours(Batch(images, [ImageInfo(i, *SIZE, *SIZE) for i in range(2)]))
        expected = network(images)["out"]
    assert found.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def config_loss():
    return parse_config(section_model(SegmentationConfig, "loss"), {}, file="")


def test_coco_is_the_small_one_of_segmentation(tmp_path, monkeypatch):
    network = reference("lraspp_mobilenet_v3_large")
    old = {name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}
    torch.save(old, tmp_path / "downloaded.pth")
    monkeypatch.setattr(model_files, "download", lambda url, *, sha_prefix: tmp_path / "downloaded.pth")
    model = api.load("coco", task="segment", device="cpu", precision="fp32")
    assert model.classes.names[:3] == ("background", "aeroplane", "bicycle")
    assert (model.opened.input.size, model.opened.input.resize) == ((520, 1040), "shorter")
    mask = model(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)).mask
    assert mask.shape == (50, 70)
    assert mask.max() < 21
