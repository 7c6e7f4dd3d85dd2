"""How many pictures a second the input pipeline delivers alone, against what training consumes.

VISIONTASKS_DATA=... python tools/bench/input_pipeline.py configs/classification/cifar10.yaml
"""

import argparse
import statistics
import time
from pathlib import Path

from visiontasks import api
from visiontasks.engine.device import choose_device, keep_freed_memory, num_cores
from visiontasks.engine.fit import TrainStep
from visiontasks.engine.loader import Batches, Pictures, build_loader, checked
from visiontasks.engine.model_files import setting_of
from visiontasks.engine.optim import build_optimizer
from visiontasks.ledger import Ledger


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--batches", type=int, default=20)
    options = parser.parse_args()
    keep_freed_memory()
    task, config = api.load_config(options.config, {})
    source = task.open_source(config.data, "train", Ledger(), None)
    transform = task.build_transform(config.input, config.augment, source.classes, None)
    pictures = Pictures(source, lambda _: transform, config.seed, replace=True)
    for workers in range(num_cores() + 1):
        batches = Batches(len(source), config.train.batch_size, config.seed)
        loader = build_loader(pictures, batches, task.collate, workers=workers, pin_memory=False)
        loaded = checked(loader, source)
        batch = next(loaded).batches[0]  # starts the workers
        began, images = time.perf_counter(), 0
        for _ in range(min(options.batches, len(batches) - 1)):
            images += next(loaded).images
        print(f"pipeline alone, {workers} workers: {images / (time.perf_counter() - began):7.0f} img/s")
    device = choose_device()
    network = device.place(task.build_model(config.model, source.classes, config.loss, source)).train()
    setting = setting_of(task, config.input, device, {})
    step, optimizer, times = TrainStep(network, setting), build_optimizer(network, config.train.optimizer), []
    for _ in range(8):
        began = time.perf_counter()
        optimizer.zero_grad()
        sum(step(device.load(batch, setting.mean, setting.std)).values()).backward()
        optimizer.step()
        times.append(time.perf_counter() - began)
    print(f"training alone, {device}: {len(batch.infos) / statistics.median(times[2:]):7.0f} img/s")


if __name__ == "__main__":
    main()
