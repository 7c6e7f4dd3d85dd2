import pytest

from visiontasks.detection.metrics import coco


@pytest.fixture
def few_resamples(monkeypatch):
    """Intervals are not what the test is about."""
    monkeypatch.setattr(coco, "RESAMPLES", 2)
