"""Reading pictures: microseconds a JPEG, with malloc as it is and with `keep_freed_memory`.

python tools/bench/reading.py
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from visiontasks.data.scenes import CLASSES, draw_picture
from visiontasks.engine.device import keep_freed_memory
from visiontasks.io.images import encode, read_image


def main():
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for height, width in ((32, 32), (480, 640), (1080, 1920)):
            rng = np.random.default_rng(0)
            labels = list(range(len(CLASSES)))
            picture = draw_picture(
                rng, (height, width), labels, (min(height, width) / 12, min(height, width) / 6)
            )
            files[height, width] = Path(folder) / f"{height}.jpg"
            files[height, width].write_bytes(encode(picture.image, ".jpg"))
        for name, prepare in (("malloc as it is", lambda: None), ("keep_freed_memory", keep_freed_memory)):
            prepare()
            for (height, width), file in files.items():
                times = []
                for _ in range(200 if height < 1000 else 40):
                    began = time.perf_counter()
                    read_image(file)
                    times.append(time.perf_counter() - began)
                print(f"{name:<18} {height}x{width}: {1e6 * statistics.median(times):8.0f} us")


if __name__ == "__main__":
    main()
