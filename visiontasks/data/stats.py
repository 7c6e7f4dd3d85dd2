"""How much of what a data set has: pictures, their sizes, classes, and what its task says of the labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.data.opening import OpenedData
from visiontasks.data.pictures import look
from visiontasks.data_tools import LabelCounts, Statistics
from visiontasks.plots import plot_data_set
from visiontasks.types import Source

QUANTILES: Final = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
TOGETHER: Final = 20  # classes in the table of those that are on one picture


@dataclass(frozen=True, slots=True, eq=False)
class SplitStatistics:
    """The figures of N pictures with K classes.

    total: N.
    sizes: (n, 2) int64 height and width of the pictures that can be read, upright.
    pictures, labels: (K,) int64, pictures that show a class; its boxes, or pixels.
    together: (K', K') int64, pictures that show both classes, for the K' classes on most pictures.
    most: (K',) int64, these classes.
    task: what the task says of the labels.
    """

    total: int
    classes: ClassMap
    sizes: NDArray[np.int64]
    pictures: NDArray[np.int64]
    labels: NDArray[np.int64]
    most: NDArray[np.int64]
    together: NDArray[np.int64]
    task: Statistics

    @property
    def unreadable(self) -> int:
        return self.total - len(self.sizes)


def measure(data: OpenedData, splits: Collection[str] = ()) -> dict[str, SplitStatistics]:
    """{split: its statistics}. splits: which; empty = all. Headers of pictures are read, and all masks.

    Raises: the error of the first split that can't be opened; DataError for a mask that can't be read.
    """
    wanted = splits or data.ledgers
    for split, error in data.failed.items():
        if split in wanted:
            raise error
    return {split: _measure(data, source) for split, source in data.sources.items() if split in wanted}


def _measure(data: OpenedData, source: Source[Any]) -> SplitStatistics:
    tools = data.task.data
    sizes = look(source.root, source.files, quick=True, max_pixels=data.config.max_pixels).sizes
    counts, k = tools.count(source), len(source.classes)
    pictures = np.bincount(counts.label, minlength=k)
    most = np.sort(np.argsort(-pictures, kind="stable")[:TOGETHER])
    return SplitStatistics(
        total=len(source),
        classes=source.classes,
        sizes=sizes[sizes.min(axis=1) > 0],
        pictures=pictures,
        labels=np.bincount(counts.label, weights=counts.count, minlength=k).astype(np.int64),
        most=most,
        together=_together(counts, most, len(source)),
        task=tools.statistics(source, data.size),
    )


def _together(counts: LabelCounts, most: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Pictures that show both classes: (K', K'); on the diagonal, those that show one."""
    shows = np.zeros((total, len(most)), dtype=np.float32)  # exact up to 2^24 pictures
    column = np.searchsorted(most, counts.label)
    known = np.append(most, -1)[column] == counts.label
    shows[counts.picture[known], column[known]] = 1
    return (shows.T @ shows).astype(np.int64)


def quantiles(values: NDArray[Any]) -> dict[str, float]:
    """Some quantiles by name; empty where there are no values."""
    if not len(values):
        return {}
    found = np.quantile(values, list(QUANTILES.values()))
    return dict(zip(QUANTILES, found.round(4).tolist(), strict=True))


def aspect_ratios(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Width / height: (n,). sizes: (n, 2)."""
    return sizes[:, 1] / sizes[:, 0]


def to_json(data: OpenedData, measured: Mapping[str, SplitStatistics]) -> dict[str, Any]:
    """What stats.json holds."""
    counted = data.task.data.counted
    frame = {"task": data.task.name, "format": data.config.format, "root": data.config.root}
    return {**frame, "splits": {split: _split_json(one, counted) for split, one in measured.items()}}


def _split_json(one: SplitStatistics, counted: str) -> dict[str, Any]:
    sides = {"height": one.sizes[:, 0], "width": one.sizes[:, 1], "aspect ratio": aspect_ratios(one.sizes)}
    names = [one.classes.names[index] for index in one.most.tolist()]
    return {
        "pictures": one.total,
        "unreadable": one.unreadable,
        **({} if counted == "pictures" else {counted: int(one.labels.sum())}),
        "sizes": {name: quantiles(values) for name, values in sides.items()},
        "classes": class_rows(one, counted),
        "together": {"classes": names, "pictures": one.together.tolist()},
        "tables": one.task.tables,
        "distributions": {title: quantiles(values) for title, values in one.task.distributions.items()},
        "suggestions": one.task.suggestions,
    }


def class_rows(one: SplitStatistics, counted: str) -> list[dict[str, Any]]:
    """A row a class: its name, the pictures that show it, and what labels are counted in."""
    columns = (one.classes.names, one.pictures.tolist(), one.labels.tolist())
    return [
        {"class": name, "pictures": pictures, counted: labels}  # of classification these are one
        for name, pictures, labels in zip(*columns, strict=True)
    ]


def plot(measured: Mapping[str, SplitStatistics], counted: str) -> bytes:
    """The statistics as one PNG; which classes occur together is shown of the first split."""
    distributions: dict[str, dict[str, NDArray[Any]]] = {}
    for split, one in measured.items():
        height, width = one.sizes.T  # (n,) each
        sizes = {"width (px)": width, "height (px)": height, "width / height": aspect_ratios(one.sizes)}
        for title, values in {**sizes, **one.task.distributions}.items():
            distributions.setdefault(title, {})[split] = values
    first = next(iter(measured.values()))
    return plot_data_set(
        {
            split: dict(zip(one.classes.names, one.labels.tolist(), strict=True))
            for split, one in measured.items()
        },
        distributions,
        ([first.classes.names[index] for index in first.most.tolist()], first.together),
        counted=counted,
    )
