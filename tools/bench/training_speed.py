"""Training throughput: bf16 and channels_last against plain fp32 NCHW, the same network, interleaved.

python tools/bench/training_speed.py [--backbone resnet18] [--size 128] [--batch 64]
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from visiontasks.backbones import build_backbone, build_classifier_head
from visiontasks.engine.device import Device, environment, keep_freed_memory


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plain-malloc", action="store_true", help="leave malloc as it is")
    options = parser.parse_args()
    if not options.plain_malloc:
        keep_freed_memory()
    ours = Device(torch.device("cpu"), "bf16")
    print(environment(ours))
    images = torch.randn(options.batch, 3, options.size, options.size)
    labels = torch.randint(0, 10, (options.batch,))
    steps = {
        "fp32 NCHW": make_step(options.backbone, None, images, labels),
        "bf16 channels_last": make_step(options.backbone, ours, images, labels),
    }
    times = {name: [] for name in steps}
    for number in range(options.rounds + 2):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if number >= 2:  # the first two compile kernels
                times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        rates = sorted(options.batch / value for value in values)
        print(f"{name:<20} {options.batch / medians[name]:7.1f} img/s  ({rates[0]:.1f} to {rates[-1]:.1f})")
    print(f"ratio {medians['fp32 NCHW'] / medians['bf16 channels_last']:.2f}")


def make_step(name, device, images, labels):
    """One step of SGD; device None = torch's defaults."""
    torch.manual_seed(0)
    backbone = build_backbone(name)
    network = torch.nn.Sequential(backbone, build_classifier_head(name, backbone, 10)).train()
    if device is not None:
        device.place(network)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    context = device.autocast if device is not None else (lambda: torch.autocast("cpu", enabled=False))

    def step():
        optimizer.zero_grad()
        with context():
            logits = network(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
