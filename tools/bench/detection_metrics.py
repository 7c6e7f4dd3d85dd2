"""Load and evaluate COCO's files: ours against pycocotools, in turns, each run in a process of its own.

python tools/bench/detection_metrics.py [--pictures 5000 --boxes 36715 --detections 500000] [--digits 2]

The files come from a seeded generator: 80 classes, boxes on the pictures, 30% of the detections near a true
box, with scores that fall with their distance. Prints wall and processor seconds of reading both files and
computing the twelve numbers, from the start of the program's imports; the peak memory; the largest difference
of the numbers; and the time of 1000 bootstrap resamples.
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

CLASSES = 80
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

OURS = """
import sys, time
wall, cpu = time.perf_counter(), time.process_time()
from pathlib import Path
from visiontasks.detection.metrics import compare
from visiontasks.detection.metrics.coco import coco_numbers
evaluator = compare(Path(sys.argv[1]), Path(sys.argv[2]), {})
numbers = coco_numbers(evaluator.matched(), max_detections=100)
stats = list(numbers.values())
"""
THEIRS = """
import contextlib, io, sys, time
wall, cpu = time.perf_counter(), time.process_time()
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO(sys.argv[1])
    evaluation = COCOeval(truth, truth.loadRes(sys.argv[2]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
stats = evaluation.stats.tolist()
"""
INTERVALS = """
import sys, time
from pathlib import Path
from visiontasks.detection.metrics import compare
evaluator = compare(Path(sys.argv[1]), Path(sys.argv[2]), {})
evaluator.matched()
wall, cpu = time.perf_counter(), time.process_time()
numbers = evaluator.compute()
stats = [numbers["AP"], numbers["AP@low"], numbers["AP@high"]]
"""
REPORT = """
import json, resource
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, peak / 1e9, stats]))
"""


def write_files(folder, pictures, boxes, detections, digits):
    """gt.json and dt.json; the same for the same arguments."""
    rng = np.random.default_rng(0)
    width, height = rng.choice([640, 480, 500], pictures), rng.choice([480, 640, 375], pictures)
    ids = rng.permutation(10 * pictures)[:pictures]
    picture, label = np.sort(rng.integers(0, pictures, boxes)), draw_labels(rng, boxes)
    side, shape = np.exp(rng.uniform(np.log(8), np.log(350), boxes)), np.exp(rng.normal(0, 0.4, boxes))
    size = np.stack([side * shape, side / shape], axis=1)
    size = np.minimum(size, np.stack([width[picture], height[picture]], axis=1) - 2)
    room = np.stack([width[picture], height[picture]], axis=1) - size
    true = np.round(np.concatenate([rng.uniform(0, 1, (boxes, 2)) * room, size], axis=1), 2)
    area, crowd = np.round(size.prod(axis=1) * rng.uniform(0.4, 1, boxes), 4), rng.random(boxes) < 0.012
    truth = {
        "info": {},
        "images": [
            {"id": i, "file_name": f"{i:012d}.jpg", "width": w, "height": h}
            for i, w, h in zip(ids.tolist(), width.tolist(), height.tolist(), strict=True)
        ],
        "categories": [{"id": category_id(k), "name": f"class {k}"} for k in range(CLASSES)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": category_id(k), "bbox": box, "area": a, "iscrowd": int(c)}
            for n, (i, k, box, a, c) in enumerate(
                zip(*(x.tolist() for x in (ids[picture], label, true, area, crowd)), strict=True), start=1
            )
        ],
    }
    near = detections * 3 // 10
    source, noise = rng.integers(0, boxes, near), np.abs(rng.normal(0, 0.12, near))
    found = true[source] + rng.normal(0, 1, (near, 4)) * noise[:, None] * np.tile(true[source, 2:], 2)
    far = np.concatenate(
        [rng.uniform(0, 350, (detections - near, 2)), np.exp(rng.uniform(2, 5.5, (detections - near, 2)))],
        axis=1,
    )
    found = np.maximum(np.concatenate([found, far]), [0, 0, 1, 1])
    score = np.concatenate(
        [0.9 - noise * 1.5 + rng.normal(0, 0.15, near), rng.exponential(0.08, detections - near)]
    ).clip(0.001, 0.999)
    where = np.concatenate([picture[source], rng.integers(0, pictures, detections - near)])
    which = np.where(rng.random(near) < 0.9, label[source], draw_labels(rng, near))
    which = np.concatenate([which, draw_labels(rng, detections - near)])
    order = np.argsort(where, kind="stable")
    columns = (ids[where], which, found.round(digits), score.round(digits + 1))
    results = [
        {"image_id": i, "category_id": category_id(k), "bbox": box, "score": s}
        for i, k, box, s in zip(*(column[order].tolist() for column in columns), strict=True)
    ]
    (folder / "gt.json").write_text(json.dumps(truth))
    (folder / "dt.json").write_text(json.dumps(results))


def draw_labels(rng, count):
    """Few classes are frequent, as in COCO."""
    return np.minimum(rng.geometric(0.06, count) - 1, CLASSES - 1)


def category_id(label):
    """Sparse, as COCO's."""
    return label + 1 + label // 8


def run(code, folder):
    command = [sys.executable, "-c", code + REPORT, folder / "gt.json", folder / "dt.json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--boxes", type=int, default=36_715)
    parser.add_argument("--detections", type=int, default=500_000)
    parser.add_argument("--digits", type=int, default=2, help="decimals of a detection's box")
    parser.add_argument(
        "--rounds", type=int, default=3, help="runs of ours; pycocotools has one in each third"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = (options.pictures, options.boxes, options.detections, options.digits)
        # a process of its own: the memory of this one would count as the first peak of those it starts
        writer = multiprocessing.get_context("spawn").Process(target=write_files, args=(folder, *sizes))
        writer.start()
        writer.join()
        megabytes = (folder / "dt.json").stat().st_size / 1e6
        print(
            f"{options.pictures} pictures, {options.boxes} boxes, {options.detections} detections, "
            f"{megabytes:.0f} MB of results"
        )
        ours, theirs = [], []
        for number in range(options.rounds):
            ours.append(run(OURS, folder))
            if number % 3 == 0:
                theirs.append(run(THEIRS, folder))
        for program, runs in (("ours", ours), ("pycocotools", theirs)):
            wall, cpu, peak = (statistics.median(one[column] for one in runs) for column in range(3))
            print(
                f"{program:12} {wall:7.2f} s wall, {cpu:7.2f} s processor, {peak:5.2f} GB peak "
                f"(median of {len(runs)})"
            )
        times = [statistics.median(one[column] for one in theirs) for column in range(2)]
        times = [their / statistics.median(one[i] for one in ours) for i, their in enumerate(times)]
        print(f"{times[0]:.1f} times as fast by the clock, {times[1]:.1f} times by processor seconds")
        difference = max(abs(a - b) for a, b in zip(ours[0][3], theirs[0][3], strict=True))
        print(f"largest difference of {len(NAMES)} numbers: {difference:.1e}; AP {ours[0][3][0]:.4f}")
        wall, cpu, peak, (mean, low, high) = run(INTERVALS, folder)
        print(
            f"all numbers with intervals (1000 resamples), once matched: {wall:.1f} s wall, {cpu:.1f} s "
            f"processor, {peak:.2f} GB peak; AP {mean:.4f} ({low:.4f} to {high:.4f})"
        )


if __name__ == "__main__":
    main()
