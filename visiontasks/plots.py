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
SPLIT_COLORS = {"train": "#0072B2", "val": "#E69F00", "test": "#009E73"}  # Okabe & Ito: colour-blind safe
BINS = 40  # of a histogram
DECADES = 2.0  # that positive values span, from which their axis is logarithmic
COLUMNS = 3  # plots a row


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
        counts = np.concatenate([counts, np.asarray(table["unpredicted"])[:, None]], axis=1)  # (K, K + 1)
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


def plot_robustness(numbers: Mapping[int, Mapping[str, float]], metric: str, title: str) -> bytes:
    """A metric over the strength of an attack as a PNG, with its 95% intervals where there are some.

    Args:
        numbers: {epsilon in 1/255: {name: number}}; `metric` and, if known, `metric@low` and `metric@high`.
        metric: which of the numbers is drawn.
        title: of the figure.
    """
    figure = _figure(6, 4.5)
    axes = figure.subplots()
    epsilons = list(numbers)
    values = [row.get(metric, math.nan) for row in numbers.values()]
    axes.plot(epsilons, values, marker="o")
    low, high = (
        [row.get(f"{metric}{end}", math.nan) for row in numbers.values()] for end in ("@low", "@high")
    )
    axes.fill_between(epsilons, low, high, alpha=0.2, linewidth=0)
    for epsilon, value in zip(epsilons, values, strict=True):
        if not math.isnan(value):
            axes.annotate(
                f"{value:.3f}", (epsilon, value), (4, 5), textcoords="offset points", fontsize="small"
            )
    axes.set_xlabel("epsilon, in 1/255 of the range")
    axes.set_ylabel(metric)
    axes.set_ylim(0, 1.05)
    axes.set_title(title, parse_math=False, fontsize="medium")
    axes.grid(alpha=0.3)
    return _png(figure)


def plot_data_set(
    classes: Mapping[str, Mapping[str, float]],
    distributions: Mapping[str, Mapping[str, Any]],
    together: tuple[Sequence[str], Any],
    *,
    counted: str,
) -> bytes:
    """What a data set has, as a PNG: its classes, histograms, and which classes occur together.

    Args:
        classes: {split: {class: how many}}.
        distributions: {title with its unit: {split: (n,) values}}; each split's bins sum to 1.
        together: K names and (K, K) pictures that show both; of one class alone it is left out.
        counted: what the classes are counted in.
    """
    names = list(dict.fromkeys(name for counts in classes.values() for name in counts))
    pairs = len(together[0]) > 1 and np.count_nonzero(together[1]) > len(together[0])
    rows = math.ceil((len(distributions) + bool(pairs)) / COLUMNS)
    bars = min(3 + 0.25 * len(names), 12) if len(names) <= NAMES else 4
    figure = _figure(15, bars + 3.6 * rows)
    grid = figure.add_gridspec(1 + rows, COLUMNS, height_ratios=[bars, *[3.6] * rows])
    _plot_classes(figure.add_subplot(grid[0, :]), classes, names, counted)
    panels = [
        figure.add_subplot(grid[1 + place // COLUMNS, place % COLUMNS]) for place in range(rows * COLUMNS)
    ]
    for axes, (title, values) in zip(panels, distributions.items(), strict=False):
        _histogram(axes, title, values)
    if pairs:
        _plot_together(panels[len(distributions)], *together)
    for axes in panels[len(distributions) + bool(pairs) :]:
        axes.set_axis_off()
    return _png(figure)


def _plot_classes(
    axes: Axes, classes: Mapping[str, Mapping[str, float]], names: Sequence[str], counted: str
) -> None:
    """Bars by name; of more classes than have room for a name, all by rank."""
    if len(names) > NAMES:
        for split, counts in classes.items():
            ranked = sorted(counts.values(), reverse=True)
            axes.plot(range(1, len(ranked) + 1), ranked, color=SPLIT_COLORS[split], label=split)
        axes.set_xlabel(f"{len(names)} classes, the most frequent first")
        axes.set_ylabel(counted)
        axes.set_ylim(bottom=0)
    else:
        thickness = 0.8 / len(classes)
        for number, (split, counts) in enumerate(classes.items()):
            places = np.arange(len(names)) - 0.4 + thickness * (number + 0.5)
            values = [counts.get(name, 0) for name in names]
            axes.barh(places, values, thickness, color=SPLIT_COLORS[split], label=split)
        axes.set_yticks(range(len(names)), [_short(name) for name in names])
        axes.invert_yaxis()
        axes.set_xlabel(counted)
        for text in axes.get_yticklabels():
            text.set_parse_math(False)
        values = [value for counts in classes.values() for value in counts.values() if value > 0]
        if values and max(values) > 10**DECADES * min(values):
            axes.set_xscale("log")
            axes.set_xlabel(f"{counted}, log scale")
            axes.set_xlim(left=min(values) / 2)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _histogram(axes: Axes, title: str, values: Mapping[str, Any]) -> None:
    """Outlines of one histogram a split over common bins, each in shares of its own values."""
    known = {split: np.asarray(v, dtype=np.float64) for split, v in values.items() if len(v)}
    everything = np.concatenate([*known.values(), np.empty(0)])
    axes.set_xlabel(title)
    axes.set_ylabel("share")
    axes.grid(alpha=0.3)
    if not len(everything):
        return
    least, largest = float(np.min(everything)), float(np.max(everything))
    if least == largest:
        half = 0.02 * max(1.0, abs(least))
        bins = np.array([least - half, least + half])
        axes.set_xlim(least - 10 * half, least + 10 * half)
    elif least > 0 and largest > 10**DECADES * least:
        bins = np.geomspace(least, largest, BINS + 1)
        axes.set_xscale("log")
        axes.set_xlabel(f"{title}, log scale")
    elif largest - least < BINS and np.array_equal(everything, everything.round()):
        bins = np.arange(least - 0.5, largest + 1)  # a bin a whole number
    else:
        bins = np.linspace(least, largest, BINS + 1)
    for number, (split, numbers) in enumerate(known.items()):
        shares = np.histogram(numbers, bins)[0] / len(numbers)
        width = 3 - number  # so that none hides another
        axes.stairs(shares, bins, color=SPLIT_COLORS[split], label=split, linewidth=width)
    axes.legend(fontsize="small")


def _plot_together(axes: Axes, names: Sequence[str], pictures: Any) -> None:
    """How often a picture with the class of the row shows that of the column."""
    counts = np.asarray(pictures, dtype=np.float64)
    own = np.diag(counts)[:, None]  # (K, 1)
    shares = np.divide(counts, own, out=np.full(counts.shape, np.nan), where=own > 0)
    drawn = axes.imshow(shares, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="nearest")
    axes.set_facecolor("lightgrey")  # classes without a picture
    axes.figure.colorbar(drawn, ax=axes, label="share of the row's pictures")
    shown = [_short(name) for name in names]
    _name_ticks(axes, shown, shown)
    axes.set_title("classes on one picture", fontsize="medium")


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
