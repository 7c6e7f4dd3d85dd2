"""Searching a picture: one dense pass a level, against the same windows cut out and batched; interleaved.

python tools/bench/sliding_window.py [--size 480 640] [--window 60] [--batch 256] [--precision fp32]
"""

import argparse
import statistics
import time

import torch

from visiontasks.classes import ClassMap
from visiontasks.detection.config import LossConfig, SlidingWindowConfig
from visiontasks.detection.models import build_model
from visiontasks.detection.models.sliding_window import pyramid
from visiontasks.engine.device import Device, environment, keep_freed_memory
from visiontasks.types import Batch, ImageInfo


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--window", type=int, default=60)
    parser.add_argument("--widths", type=int, nargs="+", default=(32, 64, 128), help="of the backbone")
    parser.add_argument("--scales", type=float, nargs="+", default=(1.0, 0.5))
    parser.add_argument("--batch", type=int, default=256, help="windows that are cut out at a time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    keep_freed_memory()
    device = Device(torch.device("cpu"), options.precision)
    print(environment(device))
    network, image = build(device, options), picture(options)
    times, scores = {"dense": [], "cropped": []}, {}
    for number in range(options.rounds + 1):
        for name, search in (("dense", dense), ("cropped", cropped)):
            began = time.perf_counter()
            with torch.inference_mode(), device.autocast():
                scores[name] = search(network, image, options.batch)
            if number:  # the first compiles kernels
                times[name].append(time.perf_counter() - began)
    difference = (scores["dense"] - scores["cropped"]).abs().max()
    spread = scores["dense"].std(dim=0).mean()
    print(f"{len(scores['dense'])} windows of {options.window} px, stride {network.stride}")
    print(f"largest difference of a score {difference:.1e}, standard deviation of scores {spread:.1e}")
    medians = {name: 1000 * statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name:<8} {medians[name]:8.1f} ms  ({1000 * min(values):.1f} to {1000 * max(values):.1f})")
    print(f"ratio {medians['cropped'] / medians['dense']:.1f}")


def build(device, options):
    torch.manual_seed(0)
    section = SlidingWindowConfig(
        backbone="small",
        options={"stem": 16, "widths": options.widths, "padded": False},
        window=(options.window, options.window),
        scales=options.scales,
        overhang=0.0,
    )
    return device.place(build_model(section, ClassMap(("a", "b", "c")), LossConfig(), None)).eval()


def picture(options):
    return torch.randn(1, 3, *options.size).contiguous(memory_format=torch.channels_last)


def dense(network, image, batch):
    """Scores (N, K + 1) of all windows, as the network searches."""
    height, width = image.shape[2:]
    return network(Batch(image, [ImageInfo("a", height, width, height, width)])).logits[0]


def cropped(network, image, batch):
    """The same scores: each window cut out of its level, `batch` of them at a time."""
    side, stride = network.config.window[0], network.stride
    scores = []
    for level in pyramid(image, network.factors, (side, side), stride, 0.0):
        windows = level.images[0].unfold(1, side, stride).unfold(2, side, stride)  # (3, rows, columns, h, w)
        windows = windows.permute(1, 2, 0, 3, 4).flatten(0, 1)  # (N, 3, h, w)
        scores += [network.score(part)[0][:, 0] for part in windows.split(batch)]
    return torch.cat(scores)


if __name__ == "__main__":
    main()
