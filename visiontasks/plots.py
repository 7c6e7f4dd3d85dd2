"""Figures of a run as PNG, drawn with matplotlib (imported when the first one is drawn)."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
CURVES = 6  # metrics in one plot, more cannot be told apart
NAMED_CURVES = 10  # classes up to which each precision-recall curve has its own colour
NAMES = 40  # class names along an axis
NUMBERED = 16  # classes up to which the cells of a confusion matrix have numbers in them
NAME_LENGTH = 22  # letters


def plot_curves(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Learning curves as a PNG: losses, the validation metrics with their 95% intervals, the learning rate.

    Args:
        rows: of metrics.jsonl: one an epoch, {name: number or None}; `epoch`, `lr`, `train/loss`, `val/...`.
    """
    figure = _figure(13, 4)
    losses, metrics, rate = figure.subplots(1, 3)
    names = list(dict.fromkeys(name for row in rows for name in row))
    validated = [
        name for name in names if name.startswith("val/") and name.count("/") == 1 and "@" not in name
    ]
    for name in ["train/loss", *(name for name in validated if "loss" in name)]:
        _curve(losses, rows, name)
    for name in [name for name in validated if "loss" not in name][:CURVES]:
        _curve(metrics, rows, name)
    metrics.set_ylim(0, 1)
    _curve(rate, rows, "lr")
    for axes, title in ((losses, "loss"), (metrics, "validation"), (rate, "learning rate")):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.set_xlim(0, 1.05 * max((row["epoch"] for row in rows), default=1))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if len(axes.lines) > 1:
            axes.legend(fontsize="small")
    return _png(figure)


def _curve(axes: Axes, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """One metric over the epochs that have it, with its interval where there is one."""
    points = [row for row in rows if row.get(name) is not None]
    if not points:
        return
    epochs = [row["epoch"] for row in points]
    values = [row[name] for row in points]
    label = name if "loss" in name else name.removeprefix("val/")
    (line,) = axes.plot(epochs, values, marker="." if len(points) < 30 else "", label=label)
    band = [(row.get(f"{name}@low"), row.get(f"{name}@high")) for row in points]
    if all(low is not None and high is not None for low, high in band):
        low, high = zip(*band, strict=True)
        axes.fill_between(epochs, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def plot_confusion(table: Mapping[str, Any]) -> bytes:
    """A confusion matrix as a PNG; the colour of a cell is its share of the row (of the true class).

    Args:
        table: `classes` (K names), `counts` (K x K, rows truth) and, where pictures have no prediction,
            `unpredicted` (K counts).
    """
    names, counts = [_short(name) for name in table["classes"]], np.asarray(table["counts"], dtype=np.int64)
    columns = names
    if any(table.get("unpredicted", ())):
        counts = np.concatenate([counts, np.asarray(table["unpredicted"])[:, None]], axis=1)
        columns = [*names, "(none)"]
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    side = min(4 + 0.35 * len(names), 14)
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    drawn = axes.imshow(shares, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="nearest")
    axes.set_facecolor("lightgrey")  # classes without a picture
    figure.colorbar(drawn, ax=axes, label="share of the true class")
    _name_ticks(axes, columns, names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(names) <= NUMBERED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "black" if shares[row, column] > 0.5 else "white"
            text = str(counts[row, column])
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize="small")
    return _png(figure)


def plot_precision_recall(curves: Mapping[str, Any], overlaps: Mapping[str, Any]) -> bytes:
    """Precision over recall at an overlap of 0.5, and AP over the overlap that counts as found, as a PNG.

    Args:
        curves: `recall` (R values) and `precision50`, {class: R values, None where undefined}.
        overlaps: `iou` and `AP`, a value each (None where undefined).
    """
    figure = _figure(11, 5)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    defined = {name: values for name, values in curves["precision50"].items() if None not in values}
    are_named = len(defined) <= NAMED_CURVES
    for name, values in defined.items():
        style = {"label": _short(name)} if are_named else {"color": "silver", "linewidth": 0.6}
        left.plot(curves["recall"], values, **style)
    if len(defined) > 1:
        mean = np.mean(list(defined.values()), axis=0)
        left.plot(curves["recall"], mean, color="black", linewidth=2, label=f"mean of {len(defined)} classes")
    right.plot(
        overlaps["iou"], [math.nan if value is None else value for value in overlaps["AP"]], marker="."
    )
    for axes, x, y in ((left, "recall", "precision at IoU 0.5"), (right, "IoU that counts as found", "AP")):
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
    if left.lines:
        legend = left.legend(fontsize="small")
        for text in legend.get_texts():
            text.set_parse_math(False)
    return _png(figure)


def _name_ticks(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Class names along both axes; every n-th where there are too many."""
    step = math.ceil(max(len(columns), len(rows)) / NAMES)
    axes.set_xticks(range(0, len(columns), step), columns[::step], rotation=90, fontsize="small")
    axes.set_yticks(range(0, len(rows), step), rows[::step], fontsize="small")
    for text in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        text.set_parse_math(False)  # a class may have dollar signs in its name


def plot_reliability(table: Sequence[Mapping[str, Any]]) -> bytes:
    """A reliability diagram as a PNG: accuracy over confidence, and how many pictures there are of each.

    Args:
        table: a row a bin: `low`, `high`, `count`, `accuracy` (None where empty); no rows = unknown.
    """
    figure = _figure(5, 6)
    accuracy, count = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    lefts, widths = [row["low"] for row in table], [row["high"] - row["low"] for row in table]
    heights = [row["accuracy"] or 0.0 for row in table]
    accuracy.bar(lefts, heights, widths, align="edge", edgecolor="white")
    accuracy.plot([0, 1], [0, 1], linestyle="--", color="grey", label="perfectly calibrated")
    accuracy.set_ylabel("accuracy")
    accuracy.set_ylim(0, 1)
    accuracy.legend(fontsize="small")
    count.bar(lefts, [row["count"] for row in table], widths, align="edge", edgecolor="white")
    count.set_xlabel("confidence")
    count.set_ylabel("pictures")
    count.set_xlim(0, 1)
    return _png(figure)


def _figure(width: float, height: float) -> Figure:
    """A figure of that many inches; not one of pyplot's, which keeps a global list of them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn as an empty box
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _short(name: str) -> str:
    name = "".join(c if c.isprintable() else " " for c in name)
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…"
