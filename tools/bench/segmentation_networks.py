"""Every segmentation network at equal time: mIoU on CamVid after the same few minutes of training each.

VISIONTASKS_DATA=/path/to/data python tools/bench/segmentation_networks.py OUT [--minutes 2.5] [--height 180]

Pictures are shrunk to 180 x 240 so that a few minutes are several epochs; masks are measured at the full
360 x 480. Two epochs on a fifth of the pictures say how many epochs fit; all else is alike: AdamW, cosine,
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
NUM_PICTURES = 367  # to train on
PART = 0.8  # of them that the timed epochs leave out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=2.5, help="of training, each network")
    parser.add_argument("--height", type=int, default=180, help="of the pictures that are trained on, pixels")
    options = parser.parse_args()
    print("| network | epochs | minutes | val mIoU | test mIoU |\n| --- | ---: | ---: | ---: | ---: |")
    for title, model in NETWORKS.items():
        print(train(title, model, options), flush=True)


def train(title, model, options):
    """Train one network; its row of the table."""
    run = options.out / "".join(c if c.isalnum() else "-" for c in title)
    if not (run / "weights" / "best.safetensors").exists():
        timed = api.train(
            RECIPE, settings(model, options, epochs=2, part=True), out=f"{run}-timed", overwrite=True
        )
        epochs = max(1, round(60 * options.minutes * rates_of(timed)[-1] / NUM_PICTURES))
        api.train(RECIPE, settings(model, options, epochs=epochs), out=run, overwrite=True)
    rates = rates_of(run)
    minutes = sum(NUM_PICTURES / rate for rate in rates) / 60
    miou = {
        split: api.evaluate(run / "weights" / "last.safetensors", split)["mIoU"] for split in ("val", "test")
    }
    return f"| {title} | {len(rates)} | {minutes:.1f} | {miou['val']:.3f} | {miou['test']:.3f} |"


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


def rates_of(run):
    """Training pictures a second, an epoch; reading them counts, validation does not."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["images_per_second"] for line in lines]


if __name__ == "__main__":
    main()
