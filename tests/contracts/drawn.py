"""A small network of each task and a quick training, for data sets of drawn shapes."""

import yaml

from visiontasks.data.shapes import draw_shapes

BACKBONE = {"backbone": "small", "options": {"stem": 4, "widths": [4, 8, 8]}}
MODELS = {
    "classification": BACKBONE,
    "detection": {**BACKBONE, "pyramid": {"channels": 8}, "head": {"widths": [16]}},
    "segmentation": {**BACKBONE, "widths": [8, 4]},
}
QUICK = {"train.epochs": 1, "train.batch_size": 6, "train.workers": 0, "train.precision": "fp32"}


def draw(root, task, number):
    """Draw so many pictures of shapes into a folder; returns a config of the small network."""
    path = draw_shapes(root, task, number, 0, size=(48, 64)).config
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "model": MODELS[task]}))
    return path
