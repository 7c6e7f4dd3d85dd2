"""`visiontasks data check`: what is wrong or suspicious in a data set, in one report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from visiontasks.data.class_tables import ClassRow, class_findings, class_table
from visiontasks.data.copies import copy_findings
from visiontasks.data.opening import OpenedData
from visiontasks.data.pictures import Looks, look
from visiontasks.data_tools import Finding, LabelCounts, Severity
from visiontasks.errors import DataError
from visiontasks.io.listing import evenly_spaced
from visiontasks.ledger import Ledger

MOST_HEADERS: Final = 10_000  # that the quick check before a training reads of a split
_ORDER: Final[tuple[Severity, ...]] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class SplitRow:
    """A split in numbers.

    pictures: listed. looked_at: whose headers were read. unusable: of these. labels: None = not counted.
    sizes: [(height, width, pictures)], the commonest first.
    """

    pictures: int
    looked_at: int
    unusable: int
    labels: int | None
    sizes: Sequence[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found.

    how: what the data was recognised as. counted: what labels are counted in.
    findings: errors first, then warnings, then notes.
    """

    how: str
    task: str
    data_format: str
    root: str
    quick: bool
    counted: str
    splits: Mapping[str, SplitRow]
    classes: Sequence[ClassRow]
    findings: Sequence[Finding]

    @property
    def counts(self) -> dict[Severity, int]:
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in _ORDER}

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "counts": self.counts}


def check(
    data: OpenedData,
    *,
    quick: bool = False,
    most: int | None = None,
    max_skip: float = 0.01,
    advance: Callable[[int], None] | None = None,
) -> CheckReport:
    """Look at all that can be looked at without training.

    Args:
        quick: at labels and at the headers of pictures: nothing is decoded, no copies are found.
        most: pictures of a split that are looked at, evenly spaced; None = all.
        max_skip: largest tolerated share of a split's pictures that can't be used.
        advance: is called, from any thread, with the number of pictures that were looked at since.
    """
    tools = data.task.data
    findings: list[Finding] = []
    looks: dict[str, Looks] = {}
    counts: dict[str, LabelCounts] = {}
    splits: dict[str, SplitRow] = {}
    for split, source in data.sources.items():
        n = len(source)
        files = [source.files[place] for place in evenly_spaced(n, most)]
        looks[split] = look(
            source.root,
            files,
            quick=quick,
            max_pixels=data.config.max_pixels,
            ledger=source.ledger,
            advance=advance,
        )
        findings += picture_findings(split, files, looks[split], max_skip)
        try:
            findings += (
                finding if finding.split else replace(finding, split=split)
                for finding in tools.examine(source, split, data.size, quick)
            )
            if not (quick and tools.counted == "pixels"):  # each mask would be decoded
                counts[split] = tools.count(source)
        except DataError as error:
            findings.append(Finding(severity="error", kind="label-fault", message=str(error), split=split))
        splits[split] = _split_row(n, looks[split], counts.get(split))
    for split, fault in data.failed.items():
        findings.append(Finding(severity="error", kind="unreadable-split", message=str(fault), split=split))
    for split, ledger in data.ledgers.items():
        findings += ledger_findings(split, ledger, max_skip)
    classes = {split: source.classes for split, source in data.sources.items()}
    rows = class_table(classes, counts)
    faulty = {finding.split for finding in findings if finding.kind in ("label-fault", "mask-fault")}
    findings += class_findings(rows, classes, tools.counted, faulty)
    findings += copy_findings(data.sources, {} if quick else looks, counts, tools.counted)
    return CheckReport(
        how=data.how,
        task=data.task.name,
        data_format=data.config.format,
        root=data.config.root,
        quick=quick,
        counted=tools.counted,
        splits=splits,
        classes=rows,
        findings=sorted(findings, key=lambda finding: _ORDER.index(finding.severity)),
    )


def too_many(split: str, message: str) -> Finding:
    """More pictures or labels than training tolerates cannot be used."""
    return Finding(
        severity="error",
        kind="too-many-unusable",
        message=message,
        remedy="mend or remove them, or raise train.max_skip",
        split=split,
    )


def picture_findings(split: str, files: Sequence[str], looks: Looks, max_skip: float) -> Iterator[Finding]:
    """Pictures that can't be read, are turned or show nothing."""
    for place, message in sorted(looks.faults.items()):
        missing = message.endswith("found no such file")
        yield Finding(
            severity="warning",
            kind="picture-missing" if missing else "picture-unreadable",
            message=without_file(message),
            remedy="bring it back, or take its labels out" if missing else "replace it, or take it out",
            split=split,
            file=files[place],
            picture=files[place],
        )
    if len(looks.faults) > max_skip * len(files):
        found = f"{len(files):,} pictures to be unusable, found {len(looks.faults):,}"
        yield too_many(split, f"expected at most {max_skip:.1%} of {found}")
    for place in np.flatnonzero(looks.turned).tolist():
        yield Finding(
            severity="note",
            kind="picture-turned",
            message="stored turned, and read upright, as its EXIF orientation says",
            remedy="labels must be drawn on the upright picture",
            split=split,
            file=files[place],
            picture=files[place],
        )
    for place in np.flatnonzero(looks.blank).tolist():
        yield Finding(
            severity="warning",
            kind="picture-blank",
            message="expected a picture of something, found one colour all over",
            remedy="take it out, unless that is what shall be learnt",
            split=split,
            file=files[place],
            picture=files[place],
        )


def ledger_findings(split: str, ledger: Ledger, max_skip: float) -> Iterator[Finding]:
    """What was met when the split was opened, and which pictures have other contents than their names say."""
    yield from (too_many(split, fault) for fault in ledger.lost_beyond(max_skip))
    for fault in ledger.faults:
        line = re.match(r":(\d+): ", fault.message.removeprefix(fault.file))  # of a file that is no XML
        yield Finding(
            severity="error",
            kind="label-fault",
            message=without_file(fault.message),
            split=split,
            file=fault.file,
            record=fault.record or (f"line {line[1]}" if line else ""),
        )
    if more := ledger.num_faults - len(ledger.faults):
        yield Finding(
            severity="error",
            kind="label-fault",
            message=f"{more:,} more faults, which are not listed",
            remedy="mend those listed, and check again",
            split=split,
        )
    for entry in ledger.entries:
        yield Finding(
            severity="warning",
            kind=entry.action,
            message=entry.reason,
            split=split,
            file=entry.file,
            record=entry.record,
        )


def without_file(message: str) -> str:
    """A reader's message without the place that it begins with, which a finding has beside it.

    >>> without_file("a/b.xml, object 3: expected a name, found none; add it")
    'expected a name, found none; add it'
    """
    _, expected, rest = message.partition(": expected ")
    return f"expected {rest}" if expected else message


def _split_row(pictures: int, looks: Looks, counts: LabelCounts | None) -> SplitRow:
    sizes = Counter(map(tuple, looks.sizes[looks.sizes.any(axis=1)].tolist()))
    return SplitRow(
        pictures=pictures,
        looked_at=len(looks.sizes),
        unusable=len(looks.faults),
        labels=None if counts is None else int(np.sum(counts.count)),
        sizes=[(height, width, n) for (height, width), n in sizes.most_common()],
    )
