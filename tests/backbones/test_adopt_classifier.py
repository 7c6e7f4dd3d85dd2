"""`torchvision:NAME` to classify with and to start from, random weights in place of the download."""

import pytest
import torch
import torchvision
from PIL import Image

from visiontasks import api
from visiontasks.backbones.official import distinct
from visiontasks.classes import ClassMap
from visiontasks.config_files import parse_config, section_model
from visiontasks.engine import model_files
from visiontasks.errors import UsageError
from visiontasks.io.weights import resolve_weights
from visiontasks.tasks import TASKS, load_task, official_networks


@pytest.fixture
def fake_download(tmp_path, monkeypatch):
    """Saves the state dict of a torchvision network where the download would lie."""

    def prepare(name, drop="nothing"):
        network = torchvision.models.get_model(
            name, weights=None, **({"init_weights": True} if name == "googlenet" else {})
        )
        path = tmp_path / "downloaded.pth"
        state = {key: tensor for key, tensor in network.state_dict().items() if drop not in key}
        torch.save(state, path)
        monkeypatch.setattr(model_files, "download", lambda url, *, sha_prefix: path)
        return network.eval()

    return prepare


def test_an_official_classifier_gives_torchvisions_probabilities(fake_download, tmp_path):
    torch.manual_seed(0)
    network = fake_download("resnet18")
    pixels = torch.randint(0, 256, (224, 224, 3), dtype=torch.uint8)
    model = api.load("torchvision:resnet18", device="cpu", precision="fp32")
    # a picture that the rule leaves alone: 256 px on the shorter side, the centre cut out
    canvas = torch.zeros(256, 256, 3, dtype=torch.uint8)
    canvas[16:240, 16:240] = pixels
    ours = model(Image.fromarray(canvas.numpy()))
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    with torch.inference_mode():
        theirs = torch.softmax(network(preset(Image.fromarray(canvas.numpy()))[None]), dim=1)[0]
    assert torch.allclose(torch.from_numpy(ours.probabilities), theirs, atol=1e-5)
    assert len(model.classes) == 1000
    assert model.classes.names[:2] == ("tench", "goldfish")


def test_names_that_imagenet_uses_twice_are_told_apart():
    assert distinct(["crane", "dog", "crane"]) == ("crane", "dog", "crane (2)")


@pytest.mark.parametrize(
    ("task", "name", "verb"),
    [
        ("classify", "torchvision:fasterrcnn_resnet50_fpn", "detect"),
        ("segment", "torchvision:resnet18", "classify"),
        ("detect", "torchvision:lraspp_mobilenet_v3_large", "segment"),
    ],
)
def test_a_network_of_another_task_is_refused_before_it_is_downloaded(task, name, verb, monkeypatch):
    monkeypatch.setattr(model_files, "download", None)
    with pytest.raises(UsageError, match=f"to {task}, found one to {verb} .{name}.; use visiontasks {verb}"):
        api.load(name, task=task)


def test_a_network_that_torchvision_lacks_is_refused():
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        api.load("torchvision:resnet81", task="classify")


@pytest.mark.parametrize(("name", "model"), [("detection", "faster_rcnn"), ("segmentation", "unet")])
def test_other_tasks_start_from_its_backbone(name, model, fake_download):
    published = fake_download("resnet18", drop="num_batches_tracked").state_dict()  # as older files
    task, classes = load_task(name), ClassMap(("a", "b"))
    section = parse_config(
        section_model(task.config, "model"), {"name": model, "backbone": "resnet18"}, file=""
    )
    network = task.build_model(section, classes, None, None)
    input = parse_config(section_model(task.config, "input"), {}, file="")
    said = model_files.initialise(network, "torchvision:resnet18", task, classes, input)
    ours = {key.removeprefix("backbone."): t for key, t in network.state_dict().items() if "backbone." in key}
    assert f"{len(ours)} tensors matched" in said and "the head starts anew" in said
    assert all(torch.equal(tensor, published[key]) for key, tensor in ours.items())


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "ssd300_vgg16"])
def test_a_network_that_is_none_of_ours_is_refused(name):
    with pytest.raises(UsageError, match=f"unknown torchvision model '{name}'"):
        api.load(f"torchvision:{name}")


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_its_own_small_one(task):
    found = resolve_weights("coco", task)
    record, _ = official_networks()[found.model](found)
    assert record.task == task
    assert len(record.classes) == {"classification": 1000, "detection": 80, "segmentation": 21}[task]
