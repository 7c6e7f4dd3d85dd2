"""torchvision's weights as a start."""

import pytest
import torch
from torchvision.models import get_model

from visiontasks.classes import ClassMap
from visiontasks.errors import UsageError
from visiontasks.io.downloads import torchvision_weights
from visiontasks.segmentation import TASK
from visiontasks.segmentation.model_config import UNetConfig


def test_a_published_classifier_gives_its_backbone_every_tensor():
    published = get_model("resnet18").state_dict()
    tensors, record = TASK.adopt(torchvision_weights("torchvision:resnet18"), published)
    assert record.task == "classification"
    assert len(record.classes) == 1000
    network = TASK.build_model(UNetConfig(backbone="resnet18"), ClassMap(("a", "b")), None, None)
    ours = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("backbone.")}
    assert set(ours) <= set(tensors)
    assert len(ours) > 100
    assert all(ours[name].shape == tensors[name].shape for name in ours)
    assert torch.equal(tensors["backbone.conv1.weight"], published["conv1.weight"])


def test_a_network_that_is_no_backbone_is_refused():
    with pytest.raises(UsageError, match="unknown torchvision backbone 'deeplabv3_resnet50'"):
        TASK.adopt(torchvision_weights("torchvision:deeplabv3_resnet50"), {})
