"""What explanations cost: Grad-CAM against a forward and backward pass (of all weights), top patches
against plain inference.

python tools/bench/explain_speed.py tiny-imagenet --data configs/classification/cifar10.yaml

Both of a classifier; with VISIONTASKS_DATA set. The two of a pair take turns; medians over the rounds.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from visiontasks import api
from visiontasks.engine.log import Report
from visiontasks.engine.signals import stop_signals
from visiontasks.explain.grad_cam import find_layer, fitting_layer, grad_cam
from visiontasks.explain.target import ask
from visiontasks.explain.top_patches import Numbered, Unlabelled
from visiontasks.explaining.pictures import pictures_of
from visiontasks.explaining.units import top_patches
from visiontasks.ledger import Ledger
from visiontasks.types import Aim


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="name or file of a classifier")
    parser.add_argument("--data", type=Path, help="DATA.yaml or config, of top patches; default: none")
    parser.add_argument("--split", default="test", choices=["train", "val", "test"])
    parser.add_argument("--layer", default="layer3", help="of top patches")
    parser.add_argument("--rounds", type=int, default=25, help="of Grad-CAM")
    parser.add_argument("--passes", type=int, default=3, help="over the data, of each")
    options = parser.parse_args()
    model = api.load(options.model)
    compare("forward and backward", "Grad-CAM", *maps_of(model), options.rounds)
    if options.data is not None:
        compare("inference", "top patches", *passes_over(model, options), options.passes)


def maps_of(model):
    """A forward and backward pass for one picture's best class, and its Grad-CAM."""
    opened = model.opened
    batch = opened.batch_of(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8), 0)
    subject = ask(opened.task, opened.network, batch, Aim(), opened.setting.options, model.classes)
    name, layer = find_layer(opened.network, fitting_layer(opened.network))

    def both_ways():
        with torch.enable_grad():
            subject.score(batch.images).sum().backward()

    def explained():
        grad_cam(subject.score, opened.network, layer, batch.images, name=name)

    return both_ways, explained


def passes_over(model, options):
    """The network over a data set, and the top patches of all units of a layer."""
    opened = model.opened
    data = api.data_section(model, options.data, {})

    def plain():
        source = Numbered(opened.task.open_source(data, options.split, Ledger(), None))
        transform = Unlabelled(opened.transform)
        with stop_signals() as stop, torch.inference_mode(), opened.setting.device.autocast():
            quiet, how = Report(speaks=False), {"batch_size": None, "workers": None}
            for batch, _ in pictures_of(model, source, "", stop, quiet, transform=transform, **how):
                opened.network(opened.setting.device.load(batch, opened.setting.mean, opened.setting.std))

    return plain, lambda: top_patches(model, options.layer, split=options.split, data=options.data)


def compare(first_name, second_name, first, second, rounds):
    seconds = {first_name: [], second_name: []}
    first(), second()
    for _ in range(rounds):
        for name, work in ((first_name, first), (second_name, second)):
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    times = ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in medians.items())
    print(f"{times}: {medians[second_name] / medians[first_name]:.2f} times, {rounds} rounds")


if __name__ == "__main__":
    main()
