"""Transfer, with receipts: from scratch, feature extraction and fine-tuning at equal minutes.

VISIONTASKS_DATA=/path/to/data python tools/bench/transfer.py OUT [--minutes 5] [--weights tiny-imagenet]

CIFAR-10 with 50 pictures a class, BCCD and CamVid, one backbone for all. The recipes were fixed before
the first run and no test split chose anything: there is no validation, the last weights of the last epoch are
what is measured. Feature extraction trains all but the backbone; fine-tuning trains all, the backbone ten
times more slowly. A run's seed sets its weights, its order, its augmentation and, of CIFAR-10, its pictures.

Equal minutes: two epochs of each start on each data set say what an epoch takes (the second one's seconds,
reading and saving included), and as many whole epochs as fit the minutes best make the run's schedule, which
so ends on time. What training took in the end is printed beside it: where other work shares the machine it
differs, so let nothing else run.

A finished run is a line of OUT/results.jsonl and is not repeated; one that was interrupted begins anew.
Spread: the standard deviation over the seeds, n - 1 in its denominator.
"""

import argparse
import json
import statistics
from pathlib import Path

from visiontasks import api

STARTS = ("scratch", "feature_extraction", "fine_tune")
BACKBONE_LR = {"scratch": 1.0, "feature_extraction": 1.0, "fine_tune": 0.1}
DETECTION = "configs/detection/bccd.yaml"
SEGMENTATION = "configs/segmentation/camvid.yaml"
TITLES = {
    "cifar10": "CIFAR-10, 50 pictures a class",
    "bccd": "BCCD, 205 pictures",
    "camvid": "CamVid, 367 pictures",
}
METRICS = {"cifar10": ("top1",), "bccd": ("AP", "AP50"), "camvid": ("mIoU",)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, each run")
    parser.add_argument("--weights", default="tiny-imagenet", help="the backbone to start from: name or file")
    parser.add_argument("--data", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    for seed in options.seeds:  # outermost: a table with n = 1 is there first
        for data in options.data:
            for start in STARTS:
                measure(data, start, seed, options)
    print(table(finished(options), options))


def measure(data, start, seed, options):
    """Train and measure one run, unless its line is there."""
    key = {"data": data, "start": start, "seed": seed}
    if any(key.items() <= line.items() for line in finished(options)):
        return
    epochs = max(1, round(60 * options.minutes / seconds_an_epoch(data, start, options)))
    run = train(options.out / f"{data}-{start}-{seed}", data, start, seed, epochs, options.weights)
    numbers = api.evaluate(run / "weights" / "last.safetensors", "test")
    line = {
        **key,
        "weights": options.weights,
        "budget": options.minutes,
        "epochs": epochs,
        "minutes": round(sum(row["seconds"] for row in rows_of(run)) / 60, 2),
        **{name: numbers[name] for name in METRICS[data]},
    }
    with open(options.out / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def seconds_an_epoch(data, start, options):
    """Of the second of two epochs, which are trained for this alone, once."""
    run = options.out / f"{data}-{start}-timed"
    if len(rows_of(run)) < 2:
        train(run, data, start, 0, 2, options.weights)
    return max(rows_of(run)[-1]["seconds"], 0.1)  # as fine as the log is


def train(run, data, start, seed, epochs, weights):
    recipe, settings = recipe_of(data, start)
    settings |= {
        "model.weights": None if start == "scratch" else weights,
        "seed": seed,
        "data.seed": seed,
        "train.epochs": epochs,
        "train.schedule.warmup": min(2.0, epochs / 5),
    }
    return api.train(recipe, settings, out=run, overwrite=True)


def recipe_of(data, start):
    """A config file, and what is set in it to have this start."""
    if data == "cifar10":
        return f"configs/classification/small_data_{start}.yaml", {}
    settings = {
        "data.train": "train",
        "train.transfer": start,
        "train.optimizer.backbone_lr": BACKBONE_LR[start],
        "train.ema": 0.0,
        "train.resolutions": [],
    }
    if data == "bccd":
        return DETECTION, settings
    return SEGMENTATION, {**settings, "data.val": None}


def rows_of(run):
    """What the run's log says of each epoch; none where there is no log."""
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def finished(options):
    """The lines of the runs that were made with these weights and minutes."""
    path = options.out / "results.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if (line["weights"], line["budget"]) == (options.weights, options.minutes)]


def table(lines, options):
    rows = ["| data | start | n | epochs | minutes | on test |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for data in options.data:
        for start in STARTS:
            runs = [line for line in lines if (line["data"], line["start"]) == (data, start)]
            runs = [line for line in runs if line["seed"] in options.seeds]
            column = {name: [run[name] for run in runs] for name in ("epochs", "minutes", *METRICS[data])}
            numbers = ", ".join(f"{name} {mean_and_spread(column[name])}" for name in METRICS[data])
            epochs, minutes = statistics.fmean(column["epochs"]), statistics.fmean(column["minutes"])
            cells = [
                TITLES[data],
                start.replace("_", " "),
                len(runs),
                f"{epochs:.0f}",
                f"{minutes:.1f}",
                numbers,
            ]
            rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def mean_and_spread(values):
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
