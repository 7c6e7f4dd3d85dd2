"""Pictures to make data sets of: no two alike unless they are meant to be."""

import cv2
import numpy as np

from visiontasks.io.images import encode


def texture(seed, height=72, width=96):
    """(height, width, 3) uint8: coloured clouds."""
    clouds = np.random.default_rng(seed).uniform(0, 255, (9, 12, 3)).astype(np.float32)
    return np.clip(cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(
        np.uint8
    )


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(image, path.suffix, **options))


def save_folders(root, counts):
    """A folder a split, and in it one a class. counts: {split: {class: pictures}}."""
    seed = 0
    for split, classes in counts.items():
        for name, count in classes.items():
            for i in range(count):
                save(root / split / name / f"{name}_{split}_{i}.png", texture(seed))
                seed += 1
    return root
