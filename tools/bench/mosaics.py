"""Plain mosaics of Tiny-ImageNet's val pictures, as a COCO data set to measure a detector of its classes on.

VISIONTASKS_DATA=/path/to/data python tools/bench/mosaics.py OUT [--grid 2] [--size 320]
visiontasks evaluate objects200 --data OUT/mosaics.yaml --split val

Every picture once, whole, enlarged (bicubic), GRID x GRID of them beside each other in an order that a seed
draws. The scenes that `objects200` is trained and validated on are harder: parts of pictures at many sizes,
stretched, covered, faded into each other, blurred, noisy.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import yaml

from visiontasks.detection.config import DataConfig
from visiontasks.detection.datasets import open_source
from visiontasks.ledger import Ledger


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--grid", type=int, default=2, help="pictures along a side")
    parser.add_argument("--size", type=int, default=320, help="side of a mosaic, px")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = DataConfig(format="tiny-imagenet", root="tiny-imagenet-200", train="train", val="val")
    source = open_source(data, "val", Ledger(), None)
    order = np.random.default_rng(options.seed).permutation(len(source))
    places = order[: len(order) // options.grid**2 * options.grid**2].reshape(-1, options.grid**2)
    (options.out / "val").mkdir(parents=True)
    images, annotations = [], []
    for number, members in enumerate(places, 1):
        mosaic, boxes = compose([source[int(place)] for place in members], options.grid, options.size)
        cv2.imwrite(str(options.out / "val" / f"{number:05}.png"), mosaic[:, :, ::-1])
        images.append(
            {
                "id": number,
                "file_name": f"{number:05}.png",
                "width": mosaic.shape[1],
                "height": mosaic.shape[0],
            }
        )
        for (x, y, x2, y2), label in boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "iscrowd": 0,
                    "bbox": [x, y, x2 - x, y2 - y],
                    "area": (x2 - x) * (y2 - y),
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(source.classes.names)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (options.out / "val.json").write_text(json.dumps(content))
    section = {"format": "coco", "root": str(options.out.resolve()), "images": "val", "val": "val.json"}
    (options.out / "mosaics.yaml").write_text(yaml.safe_dump(section))
    print(f"{options.out}: {len(images)} mosaics, {len(annotations)} boxes")


def compose(samples, grid, size):
    """The mosaic (H, W, 3) and its [(box xyxy, label)]."""
    side = size // grid
    mosaic = np.zeros((side * grid, side * grid, 3), np.uint8)
    boxes = []
    for place, sample in enumerate(samples):
        top, left = place // grid * side, place % grid * side
        factors = np.array([side / sample.image.shape[1], side / sample.image.shape[0]] * 2)
        mosaic[top : top + side, left : left + side] = cv2.resize(
            sample.image, (side, side), interpolation=cv2.INTER_CUBIC
        )
        moved = sample.target.boxes * factors + np.array([left, top, left, top])
        boxes += zip(moved.tolist(), sample.target.labels.tolist(), strict=True)
    return mosaic, boxes


if __name__ == "__main__":
    main()
