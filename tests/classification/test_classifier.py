"""The classifier: what it averages over when it predicts."""

import pytest
import torch
from torch import nn

from visiontasks.classification.config import ClassificationConfig
from visiontasks.classification.models.classifier import Classifier, views
from visiontasks.types import Batch

IMAGES = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))


class Pixels(nn.Module):
    """A backbone that changes nothing."""

    def forward(self, images):
        return [images]


class Corner(nn.Module):
    """A head that reads the value in the middle, as one logit a channel."""

    def forward(self, levels):
        return levels[-1][:, :, 3, 3]


def classifier(**options):
    return Classifier(Pixels(), Corner(), None, 0.0, **options)


@pytest.mark.parametrize(
    ("mirror", "shift", "count"), [(False, 0, 1), (True, 0, 2), (False, 2, 3), (True, 1, 6)]
)
def test_views_are_pictures_whose_weights_sum_to_one(mirror, shift, count):
    seen = list(views(IMAGES, mirror=mirror, shift=shift))
    assert len(seen) == count
    assert sum(weight for weight, _ in seen) == 1
    assert {images.shape for _, images in seen} == {IMAGES.shape}
    assert torch.equal(seen[0][1], IMAGES)


def test_shifted_views_are_the_picture_moved_diagonally_with_a_reflected_rim():
    (_, _), (_, up), (_, down) = views(IMAGES, mirror=False, shift=2)
    assert torch.equal(up[:, :, :-2, :-2], IMAGES[:, :, 2:, 2:])
    assert torch.equal(down[:, :, 2:, 2:], IMAGES[:, :, :-2, :-2])
    assert torch.equal(up[:, :, -2:, :-2], IMAGES[:, :, [-2, -3], 2:])
    assert torch.equal(down[:, :, 2:, :2], IMAGES[:, :, :-2, [2, 1]])


def test_the_views_are_averaged_in_evaluation_only():
    network, batch = classifier(mirror=True, shift=1), Batch(IMAGES, [], ())
    assert torch.equal(network.train()(batch), IMAGES[:, :, 3, 3])
    mirrored = [(IMAGES[:, :, 3 + d, 3 + d] + IMAGES[:, :, 3 + d, 4 + d]) / 2 for d in (-1, 0, 1)]
    expected = mirrored[0] / 4 + mirrored[1] / 2 + mirrored[2] / 4
    torch.testing.assert_close(network.eval()(batch), expected)


def test_without_views_the_logits_are_the_networks_own():
    assert torch.equal(classifier().eval()(Batch(IMAGES, [], ())), IMAGES[:, :, 3, 3])


def test_a_shift_stays_within_the_picture():
    with pytest.raises(ValueError, match=r"shift below the input's shorter side \(8 pixels\)"):
        ClassificationConfig(data={"root": "."}, input={"size": [8, 9]}, model={"shift": 8})
