"""Training throughput: our Faster R-CNN against torchvision's, on the same pictures, interleaved.

python tools/bench/detection_training.py [--backbone resnet18] [--size 416] [--batch 4] [--rounds 5]

torchvision's FasterRCNN with its defaults (fp32, a pyramid of 256 channels from stride 4, 2000 proposals and
512 regions a picture) against: ours by default on the same backbone and pyramid, in fp32 and in bf16 where
the CPU multiplies it; and the network of configs/detection/bccd_faster_rcnn.yaml. A step is forward, loss,
backward and an update by SGD. Pictures: BCCD from $VISIONTASKS_DATA, else drawn shapes.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from visiontasks.api import load_config
from visiontasks.classes import ClassMap
from visiontasks.data.shapes import draw_shapes
from visiontasks.detection import TASK
from visiontasks.detection.config import AugmentConfig, DataConfig, FasterRcnnConfig, InputConfig, LossConfig
from visiontasks.engine.device import Device, choose_device, environment, keep_freed_memory
from visiontasks.errors import DataError
from visiontasks.ledger import Ledger

CLASSES = tuple("abcdef")  # as many as the drawn shapes have; BCCD's three fit in
LR = 1e-3
RECIPE = Path(__file__).parents[2] / "configs" / "detection" / "bccd_faster_rcnn.yaml"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backbone", default="resnet18", help="a ResNet; torchvision builds pyramids on those"
    )
    parser.add_argument("--size", type=int, default=416, help="longer side of the pictures")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    keep_freed_memory()
    print(environment(choose_device("cpu")), f"nice {os.nice(0)}")
    with tempfile.TemporaryDirectory() as folder:
        batches = read_batches(Path(folder), options)
    steps = build_steps(options.backbone)
    walls, cores = measure(steps, batches, options.rounds)
    slowest = statistics.median(walls["torchvision fp32"])
    print(f"{len(batches[0].infos)} pictures of {tuple(batches[0].images.shape[2:])} a step")
    for name in steps:
        median, core = statistics.median(walls[name]), statistics.median(cores[name])
        rates = sorted(options.batch / wall for wall in walls[name])
        print(
            f"{name:<18} {options.batch / median:6.2f} img/s ({rates[0]:.2f} to {rates[-1]:.2f}), "
            f"{1000 * core / options.batch:5.0f} ms of CPU a picture, {slowest / median:.2f} x torchvision"
        )


def read_batches(folder, options):
    """Some batches as the engine loads them: real pictures, augmented by mirrors alone."""
    data = DataConfig(root="bccd", format="voc", train="train")
    try:
        source = TASK.open_source(data, "train", Ledger(), None)
    except DataError:
        draw_shapes(folder / "shapes", "detection", 60, 0, size=(480, 640))
        data = DataConfig(root=str(folder / "shapes"), format="coco", train="annotations/train.json")
        source = TASK.open_source(data, "train", Ledger(), None)
    input = InputConfig(size=(options.size, options.size))
    transform = TASK.build_transform(input, AugmentConfig(), source.classes, None)
    rng = np.random.default_rng(0)
    examples = (transform(source[i], rng, None) for i in itertools.count())
    device = Device(torch.device("cpu"), "fp32")
    return [
        device.load(TASK.collate(list(itertools.islice(examples, options.batch))), input.mean, input.std)
        for _ in range(4)
    ]


def build_steps(backbone):
    """What is compared: {name: step(batch)}."""
    device = choose_device("cpu")
    fp32 = Device(device.device, "fp32")
    same = FasterRcnnConfig(backbone=backbone)
    _, recipe = load_config(RECIPE, {})
    return {
        "torchvision fp32": their_step(backbone),
        "ours fp32": our_step(same, fp32),
        f"ours {device.precision}": our_step(same, device),
        f"recipe {device.precision}": our_step(recipe.model, device),
    }


def our_step(config, device):
    torch.manual_seed(0)
    network = TASK.build_model(config, ClassMap(CLASSES), LossConfig(), None)
    device.place(network).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9)

    def step(batch):
        optimizer.zero_grad()
        with device.autocast():
            raw = network(batch)
        sum(network.loss(raw, batch).values()).backward()
        optimizer.step()

    return step


def their_step(backbone):
    """torchvision scales and normalises by itself: told to leave both alone."""
    torch.manual_seed(0)
    pyramid = resnet_fpn_backbone(
        backbone_name=backbone, weights=None, norm_layer=torch.nn.BatchNorm2d, trainable_layers=5
    )
    network = FasterRCNN(
        pyramid,
        num_classes=len(CLASSES) + 1,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        _skip_resize=True,
    ).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9)

    def step(batch):
        optimizer.zero_grad()
        images = [
            image[:, : info.resized_height, : info.resized_width].contiguous()
            for image, info in zip(batch.images, batch.infos, strict=True)
        ]
        targets = [{"boxes": target.boxes, "labels": target.labels + 1} for target in batch.targets]
        sum(network(images, targets).values()).backward()
        optimizer.step()

    return step


def measure(steps, batches, rounds):
    """Seconds of each step, and seconds of CPU time of all threads, which other programs disturb less."""
    walls, cores = {name: [] for name in steps}, {name: [] for name in steps}
    for number in range(rounds + 2):
        for name, step in steps.items():
            wall, core = time.perf_counter(), time.process_time()
            step(batches[number % len(batches)])
            if number >= 2:  # the first two compile kernels
                walls[name].append(time.perf_counter() - wall)
                cores[name].append(time.process_time() - core)
    return walls, cores


if __name__ == "__main__":
    main()
