"""Every segmentation network at equal time: mIoU on CamVid after the same few minutes of training each.

VISIONTASKS_DATA=/path/to/data python tools/bench/segmentation_networks.py OUT [--minutes 3] [--height 180]

Pictures are shrunk to 180 x 240 so that a few minutes are several epochs; masks are measured at the full
360 x 480. One epoch of a fifth of the pictures says how many epochs fit; all else is alike: AdamW, cosine,
plain cross-entropy, mirror images and colour. Runs lie in OUT; one that is finished is not trained again.
"""

import argparse
import json
from pathlib import Path

from visiontasks import api

RECIPE = "configs/segmentation/camvid_unet.yaml"
NETWORKS = {
    "naive (no pooling)": {"name": "naive"},
    "FCN-32s, ResNet-18": {"name": "fcn", "stride": 32},
    "FCN-16s, ResNet-18": {"name": "fcn", "stride": 16},
    "FCN-8s, ResNet-18": {"name": "fcn", "stride": 8},
    "SegNet, VGG-11": {"name": "segnet", "backbone": "vgg11_bn"},
    "U-Net unpool, VGG-11": {"name": "unet", "backbone": "vgg11_bn", "up": "unpool"},
    "U-Net bilinear, VGG-11": {"name": "unet", "backbone": "vgg11_bn", "up": "bilinear"},
    "U-Net transpose, ResNet-18": {"name": "unet", "up": "transpose"},
    "U-Net bilinear, ResNet-18": {"name": "unet", "up": "bilinear"},
    "UPerNet, ResNet-18": {"name": "upernet"},
}
PART = 0.8  # of the training pictures that the timed epoch leaves out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, each network")
    parser.add_argument("--height", type=int, default=180, help="of the pictures that are trained on, pixels")
    options = parser.parse_args()
    print("| network | epochs | minutes | val mIoU | test mIoU |\n| --- | ---: | ---: | ---: | ---: |")
    for title, model in NETWORKS.items():
        print(train(title, model, options), flush=True)


def train(title, model, options):
    """Train one network; its row of the table."""
    name = "".join(c if c.isalnum() else "-" for c in title)
    run = options.out / name
    if not (run / "weights" / "best.safetensors").exists():
        seconds = seconds_of(
            api.train(
                RECIPE, settings(model, options, epochs=1, part=True), out=f"{run}-timed", overwrite=True
            )
        )
        epochs = max(1, round(60 * options.minutes / (seconds / (1 - PART))))
        api.train(RECIPE, settings(model, options, epochs=epochs), out=run, overwrite=True)
    epochs = len(rows_of(run))
    miou = {
        split: api.evaluate(run / "weights" / "last.safetensors", split)["mIoU"] for split in ("val", "test")
    }
    return f"| {title} | {epochs} | {seconds_of(run) / 60:.1f} | {miou['val']:.3f} | {miou['test']:.3f} |"


def settings(model, options, *, epochs, part=False):
    values = {
        "model": model,
        "input": {"size": [options.height, options.height * 4 // 3], "resize": "fit"},
        "augment": {"flip": 0.5, "color_jitter": 0.3},
        "loss": {"cross_entropy": 1.0},
        "train.epochs": epochs,
        "train.evaluate_every": epochs,
        "train.schedule.warmup": min(1.0, epochs / 5),
        "train.ema": 0.0,
    }
    return {**values, "data.val": None, "data.holdout": PART} if part else values


def rows_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def seconds_of(run):
    """Of training alone: the last epoch also validates."""
    rows = rows_of(Path(run))
    return sum(row["seconds"] for row in rows[:-1]) * len(rows) / max(1, len(rows) - 1) or rows[0]["seconds"]


if __name__ == "__main__":
    main()
