"""How many objects of a data set the region proposals of Fast R-CNN cover, and what they cost.

VISIONTASKS_DATA=... python tools/bench/proposals.py configs/detection/bccd_fast_rcnn.yaml --split train
"""

import argparse
import statistics
import time
from pathlib import Path

import cv2
import numpy as np

from visiontasks import api
from visiontasks.detection.config import RegionsConfig
from visiontasks.detection.metrics.proposals import average_recall
from visiontasks.detection.proposals import propose
from visiontasks.ledger import Ledger


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--split", default="train", choices=["train", "val", "test"])
    parser.add_argument("--pictures", type=int, default=100)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    task, config = api.load_config(options.config, {})
    source = task.open_source(config.data, options.split, Ledger(), None)
    regions = config.input.proposals or RegionsConfig()
    proposals, truths, times = [], [], []
    for index in range(min(options.pictures, len(source))):
        sample = source[index]
        began = time.process_time()
        proposals.append(propose(sample.image, regions).astype(np.float64))
        times.append(time.process_time() - began)
        truths.append(sample.target)
    print(f"{len(proposals)} pictures of {options.split}, {sum(map(len, truths))} boxes")
    count, cost = statistics.mean(map(len, proposals)), 1000 * statistics.median(times)
    print(f"{count:.0f} proposals a picture, {cost:.0f} ms of one core")
    for name, value in average_recall(proposals, truths, (100, 300, regions.limit)).items():
        print(f"{name:<14} {value:.3f}")


if __name__ == "__main__":
    main()
