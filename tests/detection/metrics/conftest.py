import json

import pytest

from visiontasks.detection.metrics import coco


@pytest.fixture
def few_resamples(monkeypatch):
    """Intervals are not what the test is about."""
    monkeypatch.setattr(coco, "RESAMPLES", 2)


@pytest.fixture
def write(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write_file
