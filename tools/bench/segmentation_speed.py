"""Speed of segmentation: against segmentation-models-pytorch's Unet, and the metric against one np.bincount.

The same backbone and size in one run, interleaved, medians. Theirs is a plain fp32 loop. Ours is what
`visiontasks train` and `segment` do: bf16 where the CPU has it, channels_last; normalising, the loss and the
decoding of the mask are counted on both sides.

python tools/bench/segmentation_speed.py [--size 352 480] [--model up=transpose convolutions=1]
python tools/bench/segmentation_speed.py --table        every network: parameters, MACs, ms an image
"""

import argparse
import statistics
import time
from functools import partial

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F

from visiontasks.classes import ClassMap
from visiontasks.config import IMAGENET_MEAN, IMAGENET_STD
from visiontasks.engine.device import choose_device, environment, keep_freed_memory
from visiontasks.ops.layers import layer_table
from visiontasks.segmentation.metrics.confusion import confusion_counts
from visiontasks.segmentation.model_config import (
    FCNConfig,
    LossConfig,
    NaiveConfig,
    SegNetConfig,
    UNetConfig,
    UPerNetConfig,
)
from visiontasks.segmentation.models import build_model
from visiontasks.types import Batch, ImageInfo

NUM_CLASSES = 11
NETWORKS = {
    "naive": NaiveConfig(),
    "FCN-32s, resnet18": FCNConfig(stride=32),
    "FCN-16s, resnet18": FCNConfig(stride=16),
    "FCN-8s, resnet18": FCNConfig(stride=8),
    "SegNet, vgg16_bn": SegNetConfig(),
    "SegNet, vgg11_bn": SegNetConfig(backbone="vgg11_bn"),
    "U-Net bilinear, resnet18": UNetConfig(),
    "U-Net transpose, resnet18": UNetConfig(up="transpose"),
    "U-Net bilinear, vgg11_bn": UNetConfig(backbone="vgg11_bn"),
    "U-Net unpool, vgg11_bn": UNetConfig(backbone="vgg11_bn", up="unpool"),
    "UPerNet, resnet18": UPerNetConfig(),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--model", nargs="*", default=[], help="further settings of our U-Net")
    parser.add_argument("--size", type=int, nargs=2, default=(352, 480))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--table", action="store_true", help="our networks beside each other, not theirs")
    options = parser.parse_args()
    keep_freed_memory()
    device = choose_device("cpu")
    print(environment(device))
    compare_networks(device, tuple(options.size), options.rounds) if options.table else compare(
        device, options
    )


def compare(device, options):
    images = torch.randint(0, 256, (options.batch, 3, *options.size), dtype=torch.uint8)
    targets = torch.randint(0, NUM_CLASSES, (options.batch, *options.size), dtype=torch.uint8)
    model = UNetConfig.model_validate(
        {"backbone": options.backbone, **dict(pair.split("=") for pair in options.model)}
    )
    steps = {
        "training": (
            their_training(options.backbone, images, targets),
            our_training(model, device, images, targets),
            options.batch,
        ),
        "inference": (
            their_inference(options.backbone, images[:1]),
            our_inference(model, device, images[:1]),
            1,
        ),
    }
    for title, (theirs, ours, num_images) in steps.items():
        report(title, interleaved({"smp": theirs, "ours": ours}, options.rounds), num_images)
    truth, predicted = masks(1024, 2048, 19)
    counting = {
        "bincount": lambda: np.bincount(truth.ravel()),
        "ours": lambda: confusion_counts(truth, predicted, 19, "pair"),
    }
    times = interleaved(counting, 3 * options.rounds)
    print(
        f"metric: 2048x1024, 19 classes: np.bincount {1000 * times['bincount']:.2f} ms, "
        f"confusion matrix {1000 * times['ours']:.2f} ms, ratio {times['ours'] / times['bincount']:.2f}"
    )


def compare_networks(device, size, rounds):
    images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    print("network                          parameters      MACs   ms an image")
    for title, model in NETWORKS.items():
        network = build_ours(model, device).eval()
        wrap = partial(Batch, infos=infos_of(images))
        table = layer_table(network, size, wrap)
        step = our_inference(model, device, images)
        seconds = interleaved({title: step}, rounds)[title]
        print(
            f"{title:<30} {table.parameters / 1e6:9.2f} M {table.macs / 1e9:7.1f} G {1000 * seconds:10.0f}",
            flush=True,
        )


def interleaved(steps, rounds):
    """Median seconds of each step; the first two of each are not counted: they compile kernels."""
    times = {name: [] for name in steps}
    for number in range(rounds + 2):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if number >= 2:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def report(title, times, num_images):
    rates = {name: num_images / seconds for name, seconds in times.items()}
    shown = ", ".join(
        f"{name} {1000 / rate:.0f} ms an image ({rate:.2f} img/s)" for name, rate in rates.items()
    )
    print(f"{title}: {shown}; ratio {rates['ours'] / rates['smp']:.2f}", flush=True)


def normalised(images):
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images / 255 - mean) / std


def their_training(backbone, images, targets):
    network = smp.Unet(backbone, encoder_weights=None, classes=NUM_CLASSES).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    targets = targets.long()

    def step():
        optimizer.zero_grad()
        F.cross_entropy(network(normalised(images)), targets, ignore_index=255).backward()
        optimizer.step()

    return step


def their_inference(backbone, images):
    network = smp.Unet(backbone, encoder_weights=None, classes=NUM_CLASSES).eval()

    @torch.inference_mode()
    def step():
        network(normalised(images)).argmax(1)

    return step


def build_ours(model, device):
    classes = ClassMap(tuple(f"class {i}" for i in range(NUM_CLASSES)))
    return device.place(build_model(model, classes, LossConfig(), None))


def infos_of(images):
    height, width = images.shape[-2:]
    return [ImageInfo(i, height, width, height, width) for i in range(len(images))]


def our_training(model, device, images, targets):
    network = build_ours(model, device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step():
        optimizer.zero_grad()
        batch = device.load(Batch(images, infos_of(images), targets), IMAGENET_MEAN, IMAGENET_STD)
        with device.autocast():
            raw = network(batch)
        sum(network.loss(raw, batch).values()).backward()
        optimizer.step()

    return step


def our_inference(model, device, images):
    network = build_ours(model, device).eval()

    @torch.inference_mode()
    def step():
        batch = device.load(Batch(images, infos_of(images)), IMAGENET_MEAN, IMAGENET_STD)
        with device.autocast():
            raw = network(batch)
        network.decode(raw, batch.infos, {})

    return step


def masks(height, width, num_classes):
    """A pair of masks like those of streets: regions of one class, mostly agreeing, some of it ignored."""
    rng = np.random.default_rng(0)
    regions = rng.integers(0, num_classes, (height // 64, width // 64), dtype=np.uint8)
    truth = regions.repeat(64, axis=0).repeat(64, axis=1)
    predicted = np.roll(truth, 9, axis=1)
    truth[:40] = 255
    return truth, predicted


if __name__ == "__main__":
    main()
