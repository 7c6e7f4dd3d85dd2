"""Pictures and masks on disk for the tests of data sets."""

import io

import numpy as np
import PIL.Image

from visiontasks.io.images import encode_mask
from visiontasks.ledger import Ledger
from visiontasks.segmentation.config import DataConfig
from visiontasks.segmentation.datasets import open_source

HEIGHT, WIDTH = 6, 8


def add_picture(path, size=(HEIGHT, WIDTH), shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (size[1], size[0]), (shade, 20, 30)).save(path)


def add_mask(path, values, dtype=np.uint8):
    """A grey mask; values: (H, W), or one for all pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(full(values).astype(dtype)).save(path)


def add_palette_mask(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_mask(full(values).astype(np.uint8)))


def add_colour_mask(path, colours):
    """colours: (H, W, 3), or one for all pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.broadcast_to(np.asarray(colours, np.uint8), (HEIGHT, WIDTH, 3))
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def full(values):
    values = np.asarray(values)
    return np.full((HEIGHT, WIDTH), values) if values.ndim == 0 else values


def stripes(*values):
    """Columns of these values, in turn."""
    return np.resize(values, (1, WIDTH)).repeat(HEIGHT, axis=0)


def jpeg_bytes(values):
    buffer = io.BytesIO()
    PIL.Image.fromarray(full(values).astype(np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def config_of(root, **values):
    return DataConfig.model_validate({"root": str(root), "train": "train", **values})


def opened(root, split="train", *, strict=False, **values):
    return open_source(config_of(root, **values), split, Ledger(strict))


def ids_of(source):
    return [source.files[i] for i in range(len(source))]
