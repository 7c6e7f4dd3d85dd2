"""Regions are looked at where they are on the copies, and mixed by their size."""

import pytest
import torch

from tests.detection.models.test_faster_rcnn import OPTIONS, drawn_batch, small_model
from visiontasks.detection.models.region_head import NamedRegions
from visiontasks.detection.models.second_look import look_again
from visiontasks.detection.region_sections import SecondLookConfig
from visiontasks.errors import ConfigError

REGIONS = torch.tensor([[[8.0, 16, 40, 32], [64, 0, 128, 64], [0, 0, 128, 96]]])


def mean_colors(images, regions):
    """(B, R, 3): the mean over each region, whose edges lie between pixels."""
    rounded = regions.round().int()
    return torch.stack(
        [
            torch.stack([image[:, y:y2, x:x2].mean(dim=(1, 2)) for x, y, x2, y2 in boxes.tolist()])
            for image, boxes in zip(images, rounded, strict=True)
        ]
    )


def first_look(images, logits=None):
    logits = mean_colors(images, REGIONS) if logits is None else logits
    return NamedRegions(REGIONS, torch.ones(1, 3, dtype=torch.bool), logits, torch.zeros(1, 3, 2, 4), None)


def test_without_copies_nothing_is_computed():
    images = torch.rand(1, 3, 96, 128)
    named = first_look(images)
    assert look_again(None, images, named, SecondLookConfig(), 1) is named.logits


@pytest.mark.parametrize("config", [{"mirror": True}, {"shrink": 0.5, "sizes": (1, 2)}])
def test_a_region_is_the_same_part_of_each_copy(config):
    images = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.avg_pool2d(images, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    named = first_look(images)
    found = look_again(mean_colors, images, named, SecondLookConfig(**config), 1)
    torch.testing.assert_close(found, named.logits, atol=0.05 if "shrink" in config else 1e-6, rtol=0)


def test_the_larger_a_region_the_more_the_shrunk_copy_counts():
    images = torch.zeros(1, 3, 96, 128)
    seen = []

    def name(small, regions):
        seen.append((tuple(small.shape), regions))
        return torch.ones(1, 3, 3)

    named = first_look(images, torch.zeros(1, 3, 3))
    config = SecondLookConfig(shrink=0.4, sizes=(48, 80))
    found = look_again(name, images, named, config, 40)
    assert found[0, :, 0].tolist() == [0, 0.5, 1]  # sides of 22.6, 64 and 110.9 px
    ((shape, regions),) = seen
    assert shape == (1, 3, 40, 51)  # 38 x 51 px, but no side below 40
    assert regions[0, 1].tolist() == pytest.approx([25.5, 0, 51, 64 * 40 / 96])


def test_sizes_in_the_wrong_order_are_refused():
    with pytest.raises((ConfigError, ValueError), match=r"the second larger \(not 80, 80\)"):
        SecondLookConfig(sizes=(80, 80))


def test_a_network_predicts_with_it_and_learns_without():
    batch = drawn_batch(2)
    models = [small_model(), small_model(second_look={"mirror": True, "shrink": 0.5, "sizes": [8, 64]})]
    models[1].load_state_dict(models[0].state_dict())
    found = [model.eval()(batch) for model in models]
    assert torch.equal(found[0].named.regions, found[1].named.regions)
    assert not torch.equal(found[0].named.logits, found[1].named.logits)
    assert len(models[1].decode(found[1], batch.infos, OPTIONS)) == 2
    losses = []
    for model in models:
        torch.manual_seed(0)
        losses.append(sum(model.train().loss(model(batch), batch).values()).item())
    assert losses[0] == losses[1]
