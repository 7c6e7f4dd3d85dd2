import pytest
import torch

from visiontasks.engine import device as module
from visiontasks.engine.device import choose_device
from visiontasks.errors import UsageError
from visiontasks.types import Batch, ImageInfo


def test_cpu_chooses_bf16_only_with_the_instructions(monkeypatch):
    for flags, precision in [({"avx2"}, "fp32"), ({"amx_bf16"}, "bf16"), ({"avx512_bf16"}, "bf16")]:
        monkeypatch.setattr(module, "cpu_flags", lambda flags=flags: frozenset(flags))
        assert choose_device("cpu").precision == precision


@pytest.mark.parametrize(
    ("device", "precision", "words"),
    [
        ("tpu9", "auto", "expected device auto, cpu, cuda"),
        ("cpu:3", "auto", "'cpu:3' does not exist on this machine; it has: cpu (1)"),
        ("cpu", "fp16", "fp16 is not computed on a CPU"),
        ("cpu", "int8", "expected precision auto, fp32, bf16 or fp16, found 'int8'"),
    ],
)
def test_what_the_machine_lacks_is_said_in_one_line(device, precision, words):
    with pytest.raises(UsageError) as caught:
        choose_device(device, precision)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pictures_are_normalised_and_laid_out_channels_last():
    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    infos = [ImageInfo(i, 4, 5, 4, 5) for i in range(2)]
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 1.0)
    batch = choose_device("cpu", "fp32").load(Batch(pixels, infos, torch.eye(2)), mean, std)
    expected = (pixels / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.allclose(batch.images, expected, atol=1e-6)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.targets, torch.eye(2))
