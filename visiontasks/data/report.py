"""The report of `visiontasks data check`, for a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from visiontasks.data.check import CheckReport, SplitRow
from visiontasks.data.class_tables import ClassRow
from visiontasks.data_tools import Finding
from visiontasks.errors import one_line

MOST_CLASSES: Final = 30  # rows of the table of classes; the middle of a longer one is left out
MOST_LISTED: Final = 3  # findings of a kind
MOST_REFUSALS: Final = 20  # errors that a refused training lists
_COLOURS: Final = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def print_report(report: CheckReport, console: Console) -> None:
    """All of a report but the findings beyond the first few of each kind, which its JSON has."""
    console.print(Text(f"{report.root}: {report.task}, format {report.data_format}", style="bold"))
    if report.quick:
        console.print(
            Text("quick: labels and headers only; no picture was decoded, no copies were looked for")
        )
    if report.splits:
        console.print(_splits(report))
    if report.classes:
        console.print(_classes(report.classes, list(report.splits)))
    wraps = console.is_terminal  # elsewhere a finding is a line, for grep
    for part in _findings(report.findings, wraps):
        console.print(part, soft_wrap=not wraps)
    console.print(Text(verdict(report)))


def verdict(report: CheckReport) -> str:
    """The last line: `2 errors, 1 warning, 0 notes`.

    >>> verdict(CheckReport("", "", "", "", False, "boxes", {}, (), ()))
    'nothing to report'
    """
    if not report.findings:
        return "nothing to report"
    return ", ".join(f"{n:,} {severity}{'s' * (n != 1)}" for severity, n in report.counts.items())


def grouped(findings: Sequence[Finding]) -> dict[tuple[str, str, str], list[Finding]]:
    """{(severity, kind, split): findings}, in their order."""
    groups: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.severity, finding.kind, finding.split].append(finding)
    return groups


def refusals(findings: Sequence[Finding]) -> list[str]:
    """One line an error, as the faults of a file are told; those beyond the first `MOST_REFUSALS` counted."""
    errors = [finding for finding in findings if finding.severity == "error"]
    lines = []
    for error in errors[:MOST_REFUSALS]:
        told = ": ".join(part for part in (where(error) or error.split, error.message) if part)
        lines.append(f"{told}; {error.remedy}" if error.remedy else told)
    return lines + [f"and {len(errors) - MOST_REFUSALS:,} more"] * (len(errors) > MOST_REFUSALS)


def warnings_in_brief(findings: Sequence[Finding]) -> list[str]:
    """One line a kind of warning: `train: picture-blank, 3 (first: a.png)`."""
    lines = []
    for (severity, kind, split), found in grouped(findings).items():
        if severity == "warning":
            first = where(found[0]) or found[0].message
            lines.append(f"{split}: " * bool(split) + f"{kind}, {len(found):,} (first: {first})")
    return lines


def where(finding: Finding) -> str:
    """What a finding is about: file, record and, where that is another file, the picture; empty for a split.

    >>> where(Finding(severity="note", kind="", message="", file="a.json", record="row 3", picture="b.png"))
    'a.json, row 3 (b.png)'
    """
    place = ", ".join(part for part in (finding.file, finding.record) if part)
    if not place or finding.picture in ("", finding.file):
        return place or finding.picture
    return f"{place} ({finding.picture})"


def _splits(report: CheckReport) -> Table:
    labels = [report.counted] * (report.counted != "pictures")
    table = _table("split", "pictures", "unusable", *labels, "size (height x width)")
    for split, row in report.splits.items():
        count = ["not counted" if row.labels is None else f"{row.labels:,}"] * len(labels)
        table.add_row(split, f"{row.pictures:,}", f"{row.unusable:,}", *count, _sizes(row))
    return table


def _sizes(row: SplitRow) -> str:
    if not row.sizes:
        return "unknown"
    (height, width, n), *others = row.sizes
    if not others:
        return f"{height} x {width}"
    least, most = (extreme(row.sizes, key=lambda size: size[0] * size[1]) for extreme in (min, max))
    share = n / sum(size[2] for size in row.sizes)
    spread = f"{least[0]} x {least[1]} to {most[0]} x {most[1]}"
    return f"{spread}, {len(row.sizes):,} different" + f"; {share:.0%} {height} x {width}" * (share > 0.1)


def _classes(rows: Sequence[ClassRow], splits: Sequence[str]) -> Table:
    has_ids = any(row.file_ids for row in rows)
    table = _table("", "class", *(["id"] * has_ids), *splits)
    for place, row in enumerate(rows):
        hidden = len(rows) - MOST_CLASSES
        if hidden > 0 and MOST_CLASSES // 2 <= place < MOST_CLASSES // 2 + hidden:
            if place == MOST_CLASSES // 2:
                table.add_row("...", f"{hidden:,} more", *([""] * has_ids), *([""] * len(splits)))
            continue
        ids = [str(next(iter(row.file_ids.values()), ""))] * has_ids
        counts = ["" if (n := row.counts.get(split)) is None else f"{n:,}" for split in splits]
        table.add_row(str(place), Text(one_line(row.name)), *ids, *counts)
    return table


def _table(*columns: str) -> Table:
    """The second column onwards holds numbers, but for names and sizes."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        is_text = column in ("split", "class") or column.startswith("size")
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    return table


def _findings(findings: Sequence[Finding], wraps: bool) -> Iterator[RenderableType]:
    for (severity, kind, split), found in grouped(findings).items():
        head = Text.assemble((severity, _COLOURS[severity]), " ", (kind, "bold"))
        head.append(f" in {split}" * bool(split) + f": {len(found):,}" * (len(found) > 1))
        lines: list[RenderableType] = [head]
        for finding in found[:MOST_LISTED]:
            place = where(finding)
            lines.append(_indented(f"{place}: {finding.message}" if place else finding.message, wraps))
        if len(found) > MOST_LISTED:
            lines.append(_indented(f"and {len(found) - MOST_LISTED:,} more", wraps, "dim"))
        remedies = list(dict.fromkeys(finding.remedy for finding in found if finding.remedy))
        if remedies:
            lines.append(_indented(f"-> {remedies[0]}", wraps, "dim"))
        yield Group(*lines, "")


def _indented(text: str, wraps: bool, style: str = "") -> RenderableType:
    line = one_line(text)
    return Padding(Text(line, style=style), (0, 0, 0, 2), expand=False) if wraps else Text(f"  {line}", style)
