"""What `visiontasks data check` costs: pictures a second, by headers alone and decoded; and finding copies.

python tools/bench/data_check.py --pictures 5000
"""

import argparse
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from visiontasks.data.check import check
from visiontasks.data.duplicates import alike_pairs
from visiontasks.data.opening import open_data
from visiontasks.data.pictures import SIDE, Looks
from visiontasks.io.images import encode, read_image
from visiontasks.tasks import TASKS, load_task


def draw(root, count, height, width):
    """Clouds with noise on them, as JPEG; two classes, a tenth to validate."""

    def one(i):
        rng = np.random.default_rng(i)
        clouds = cv2.resize(rng.uniform(0, 255, (9, 12, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
        image = np.clip(clouds + rng.normal(0, 12, clouds.shape), 0, 255).astype(np.uint8)
        path = root / ("train" if i % 10 else "val") / ("even" if i % 20 < 10 else "odd") / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(image, ".jpg"))

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, range(count)))


def timed(title, count, work):
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    print(f"{title:<36} {seconds:6.1f} s {count / seconds:9.0f} a second")
    return result


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument(
        "--thumbnails", type=int, default=110_000, help="pictures that copies are found among"
    )
    options = parser.parse_args()
    n = options.pictures
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw(root, n, *options.size)
        data = timed("recognise and open", n, lambda: open_data(root, [load_task(name) for name in TASKS]))
        paths = [root / file for source in data.sources.values() for file in source.files][: max(1, n // 5)]
        timed("the decoder alone, on one core", len(paths), lambda: [read_image(path) for path in paths])
        timed("check --quick", n, lambda: check(data, quick=True))
        found = timed("check", n, lambda: check(data))
        print(f"findings: {found.counts}")
    rng = np.random.default_rng(0)
    count = options.thumbnails
    looks = Looks(
        sizes=np.ones((count, 2), dtype=np.int64),
        turned=np.zeros(count, dtype=np.bool_),
        blank=np.zeros(count, dtype=np.bool_),
        digests=rng.integers(1, 1 << 62, (count, 2), dtype=np.uint64),
        thumbnails=rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8),
        faults={},
    )
    timed(f"find copies among {count:,}", count, lambda: alike_pairs(looks))
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


if __name__ == "__main__":
    main()
