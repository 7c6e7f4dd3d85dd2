from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from visiontasks.data.shapes import draw_shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> Path:
    """A drawn data set: 60 pictures of 32x32 pixels, 6 classes."""
    root = tmp_path_factory.mktemp("drawn") / "shapes"
    draw_shapes(root, "classification", 60, 0, size=(32, 32))
    return root


@pytest.fixture
def write_config(shapes, tmp_path) -> Callable[..., Path]:
    """Write a small, quick run's config; keyword arguments replace whole sections."""

    def write(**sections: Any) -> Path:
        values: dict[str, Any] = {
            "task": "classification",
            "name": "tiny",
            "data": {"root": str(shapes), "train": "train", "val": "val", "test": "test"},
            "input": {"size": [32, 32], "resize": "stretch"},
            "augment": {"flip": 0.5, "pad_crop": 2, "mixup": 0.2},
            "model": {"backbone": "small", "options": {"stem": 8, "widths": [8, 8]}, "dropout": 0.2},
            "train": {
                "epochs": 3,
                "batch_size": 8,
                "ema": 0.9,
                "workers": 0,
                "precision": "fp32",
                "optimizer": {"name": "sgd", "lr": 0.05, "weight_decay": 5e-4},
                "schedule": {"warmup": 1},
            },
        }
        for name, section in sections.items():
            values[name] = {**values[name], **section} if isinstance(section, dict) else section
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write
