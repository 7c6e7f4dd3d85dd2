"""The classes of a data set: which split names them, how often they occur, and what is odd about that."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.data_tools import Finding, LabelCounts

_RARE: Final = 20  # times as often, and the rarer of two names is taken for a slip of the pen
_LEAST_LETTERS: Final = 5  # of names that may be one by a slip


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class in the splits.

    file_ids: {split that names it: its id in the files}; empty where files write names.
    counts: {split: how often it occurs}; None in a split that does not name it.
    """

    name: str
    file_ids: Mapping[str, int | str]
    counts: Mapping[str, int | None]

    @property
    def total(self) -> int:
        return sum(count or 0 for count in self.counts.values())


def class_table(classes: Mapping[str, ClassMap], counts: Mapping[str, LabelCounts]) -> list[ClassRow]:
    """The classes of all splits, in the order of the first split that names them.

    Args:
        classes: {split: its classes}.
        counts: {split: the classes on its pictures}; a split that is missing was not counted.
    """
    totals: dict[str, NDArray[np.int64]] = {}
    for split, count in counts.items():
        totals[split] = np.zeros(len(classes[split]), dtype=np.int64)
        np.add.at(totals[split], count.label, count.count)
    index = {split: {name: i for i, name in enumerate(found.names)} for split, found in classes.items()}
    rows = []
    for name in dict.fromkeys(name for found in classes.values() for name in found.names):
        naming = [split for split in classes if name in index[split]]
        ids = {split: classes[split].file_ids for split in naming if classes[split].file_ids}
        rows.append(
            ClassRow(
                name,
                {split: found[index[split][name]] for split, found in ids.items()},
                {
                    split: int(n[index[split][name]]) if split in naming else None
                    for split, n in totals.items()
                },
            )
        )
    return rows


def class_findings(
    rows: Sequence[ClassRow], classes: Mapping[str, ClassMap], counted: str, faulty: Collection[str] = ()
) -> Iterator[Finding]:
    """Classes that cannot be learnt, or cannot be measured, and names that may mean one class.

    faulty: splits with labels that could not be read: what is not found there may be among these.
    """
    named = {split: set(found.names) for split, found in classes.items()}
    for row in rows:
        if "train" in named:
            yield from _unlearnt(row, named, counted, faulty)
        if len(set(row.file_ids.values())) > 1:
            ids = ", ".join(f"{ident} in {split}" for split, ident in row.file_ids.items())
            yield Finding(
                severity="note",
                kind="class-ids-differ",
                message=f"class '{row.name}' has the id {ids}",
                remedy="splits are joined by names: right, if the names are",
            )
    yield from _alike(rows)


def _unlearnt(
    row: ClassRow, named: Mapping[str, set[str]], counted: str, faulty: Collection[str]
) -> Iterator[Finding]:
    """A class that training, or another split, has no examples of. An unknown count passes for some."""
    is_known = row.name in named["train"]
    is_learnt = is_known and (row.counts.get("train", 1) != 0 or "train" in faulty)
    if is_known and not is_learnt:
        yield Finding(
            severity="warning",
            kind="class-without-examples",
            message=f"expected {counted} of class '{row.name}' to train on, found none",
            remedy="add some, or take the class out",
            split="train",
        )
    for split in (split for split in named if split != "train"):
        has_some = row.name in named[split] and row.counts.get(split, 1) != 0
        if has_some and not is_learnt:
            amount = f" ({row.counts[split]:,} {counted})" if row.counts.get(split) else ""
            yield Finding(
                severity="warning" if is_known else "error",
                kind="class-only-in-split",
                message=f"expected class '{row.name}' in train, too, found it in {split} alone{amount}",
                remedy=f"rename it with data.classes: {{{row.name}: NEW}}, or move examples to train",
                split=split,
            )
        if is_learnt and not has_some and split not in faulty:
            yield Finding(
                severity="note",
                kind="class-without-examples",
                message=f"no {counted} of class '{row.name}': its numbers there are undefined",
                split=split,
            )


def _alike(rows: Sequence[ClassRow]) -> Iterator[Finding]:
    """Names that differ in case, punctuation or an s; or in one letter, where one of them is rare."""
    same: dict[str, list[ClassRow]] = defaultdict(list)
    close: dict[str, list[ClassRow]] = defaultdict(list)  # without one of its letters: slips meet there
    for row in rows:
        key = re.sub(r"[\W_]+", "", row.name.casefold())
        same[key[:-1] if len(key) > 3 and key.endswith("s") else key].append(row)
        if len(key) >= _LEAST_LETTERS and key.isalpha():
            for form in {key, *(key[:i] + key[i + 1 :] for i in range(len(key)))}:
                close[form].append(row)
    pairs = {(a.name, b.name): (a, b) for group in same.values() for a, b in itertools.combinations(group, 2)}
    for group in close.values():
        for a, b in itertools.combinations(group, 2):
            few, many = sorted((a.total, b.total))
            if many > _RARE * few:
                pairs.setdefault((a.name, b.name), (a, b))
    for a, b in pairs.values():
        few_row, many_row = sorted((a, b), key=lambda row: row.total)
        found = " and ".join(f"'{row.name}'" + f" ({row.total:,})" * bool(row.counts) for row in (a, b))
        yield Finding(
            severity="warning",
            kind="class-names-alike",
            message=f"expected names of different things, found {found}",
            remedy=f"if they are one class, rename it where it is '{few_row.name}': to '{many_row.name}'",
        )
