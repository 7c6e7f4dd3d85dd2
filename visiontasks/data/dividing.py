"""Divide pictures into parts of given shares: each with its share of every class, no group cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from visiontasks.data_tools import LabelCounts
from visiontasks.errors import DataError
from visiontasks.io.listing import ranks

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_ROUNDING: Final = 1e-9  # by which shares of a count may miss a whole number


def divide(
    paths: Sequence[str], groups: Ints, counts: LabelCounts, ratios: Sequence[float], seed: int
) -> Ints:
    """The part (N,) that each picture belongs to; the same whatever the order in which pictures are listed.

    Groups with several pictures or labels are placed one by one, those with the rarest class first, where the
    parts come nearest to their shares of what they hold (iterative stratification as in Sechidis et al. 2011,
    Algorithm 1, on counts; the number of pictures counts as a class, too). Then each class's single pictures
    are dealt out: as many to a part as its share says, rounded up or down so that the parts' sizes are right.

    Args:
        paths: N distinct paths.
        groups: (N,) numbers; pictures with the same one stay together.
        counts: the classes on each picture; without entries only the number of pictures counts.
        ratios: (S,) shares above 0 that sum to 1.
        seed: another one gives another division.

    Raises: DataError for fewer groups than parts.
    """
    order = np.argsort(ranks(paths, f"split {seed}"))
    table = _Table.of(groups, counts, order)
    if len(table.sizes) < len(ratios):
        raise DataError(
            f"expected at least {len(ratios)} groups of pictures for {len(ratios)} parts, "
            f"found {len(table.sizes)}; ask for fewer parts, or for smaller groups"
        )
    shares = np.array(ratios, dtype=np.float64)
    part = np.full(len(table.sizes), -1, dtype=np.int64)
    held = _place_lumps(table, shares, part)
    _deal_singles(table, shares, held, part)
    _fill_empty(table.sizes, part, len(ratios))
    return part[table.group]


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Groups, numbered in a random order, and what they hold.

    group: (N,) the group of each picture. sizes: (G,) pictures.
    holder, label, count: (E,) how often a group has a class; by group, then class. starts: (G + 1,).
    num_classes: K.
    """

    group: Ints
    sizes: Ints
    holder: Ints
    label: Ints
    count: Ints
    starts: Ints
    num_classes: int

    @classmethod
    def of(cls, groups: Ints, counts: LabelCounts, order: Ints) -> Self:
        """order: (N,) the pictures in a random order, which groups are numbered by."""
        _, first, inverse = np.unique(groups[order], return_index=True, return_inverse=True)
        group = np.empty(len(order), dtype=np.int64)
        group[order] = np.argsort(np.argsort(first))[inverse.ravel()]
        num_classes = int(np.max(counts.label, initial=-1)) + 1
        key, inverse = np.unique(group[counts.picture] * num_classes + counts.label, return_inverse=True)
        count = np.zeros(len(key), dtype=np.int64)
        np.add.at(count, inverse.ravel(), counts.count)
        holder = key // max(num_classes, 1)
        return cls(
            group=group,
            sizes=np.bincount(group).astype(np.int64),
            holder=holder,
            label=key % max(num_classes, 1),
            count=count,
            starts=np.searchsorted(holder, np.arange(len(first) + 1)).astype(np.int64),
            num_classes=num_classes,
        )

    def totals(self) -> Floats:
        """(K + 1,) how often each class occurs; last, the number of pictures."""
        labels = np.bincount(self.label, weights=self.count, minlength=self.num_classes)
        return np.append(labels, self.sizes.sum())

    def is_lump(self) -> NDArray[np.bool_]:
        """(G,) groups that are more than one picture with one label, or none."""
        held = np.bincount(self.holder, weights=self.count, minlength=len(self.sizes))
        return (self.sizes > 1) | (held > 1)

    def entries(self, group: int) -> slice:
        return slice(int(self.starts[group]), int(self.starts[group + 1]))


def _place_lumps(table: _Table, shares: Floats, part: Ints) -> Floats:
    """Place the groups that are no single pictures, each where the parts then differ least from their shares.

    They differ by chi-square: a class's sum over parts of (held - expected)^2 / expected, over its total.

    Args:
        shares: (S,), which sum to 1.
        part: (G,), filled.

    Returns: (S, K + 1) how much of each class a part holds; last, its pictures.
    """
    weight = 1 / np.maximum(table.totals(), 1) ** 2
    held = np.zeros((len(shares), table.num_classes + 1))
    is_lump = table.is_lump()
    waiting = np.bincount(table.label[is_lump[table.holder]], minlength=table.num_classes)  # (K,) lumps
    by_class = np.lexsort((table.holder, -table.count, table.label))  # (E,)
    ends = np.cumsum(np.bincount(table.label, minlength=table.num_classes))

    def place(group: int) -> None:
        entries = table.entries(group)
        columns = np.append(table.label[entries], table.num_classes)
        more = np.append(table.count[entries], table.sizes[group])
        growth = (2 * held[:, columns] + more) @ (more * weight[columns]) / shares  # (S,)
        best = int(np.argmin(growth))
        held[best, columns] += more
        waiting[columns[:-1]] -= 1
        part[group] = best

    while np.any(waiting > 0):
        rarest = int(np.argmin(np.where(waiting > 0, waiting, np.iinfo(np.int64).max)))
        of_class = table.holder[by_class[ends[rarest - 1] if rarest else 0 : ends[rarest]]]
        for group in of_class.tolist():
            if is_lump[group] and part[group] < 0:
                place(group)
    unlabelled = np.flatnonzero(is_lump & (part < 0))
    for group in unlabelled[np.argsort(-table.sizes[unlabelled], kind="stable")].tolist():
        place(group)
    return held


def _deal_singles(table: _Table, shares: Floats, held: Floats, part: Ints) -> None:
    """Deal out the pictures that are alone and have one label or none. held: (S, K + 1), filled, too."""
    singles = np.flatnonzero(part < 0)
    label = np.full(len(table.sizes), table.num_classes, dtype=np.int64)
    label[table.holder] = table.label
    counts = np.bincount(label[singles], minlength=table.num_classes + 1)
    by_class = np.split(singles[np.argsort(label[singles], kind="stable")], np.cumsum(counts)[:-1])
    carry, home = np.zeros(len(shares)), int(np.argmax(shares))
    totals = table.totals()
    for column, groups in enumerate(by_class):
        if not len(groups):
            continue
        wanted = np.maximum(shares * totals[column] - held[:, column], 0)
        wanted = (wanted / wanted.sum() if wanted.any() else shares) * len(groups)
        is_home = held[home, column] > 0 or column == table.num_classes
        dealt = _rounded(wanted, carry, None if is_home else home)
        carry += wanted - dealt
        part[groups] = np.repeat(np.arange(len(shares)), dealt)
        held[:, column] += dealt
        held[:, -1] += dealt * (column < table.num_classes)


def _rounded(wanted: Floats, carry: Floats, home: int | None) -> Ints:
    """Whole numbers (S,), each the next above or below, with the same sum.

    wanted: (S,) with a whole sum. carry: (S,) what earlier classes owe each part.
    home: the part that must not be left without; None = there is none.
    """
    dealt: Ints = np.floor(wanted + _ROUNDING).astype(np.int64)
    fraction = wanted - dealt
    owed = np.where(fraction > _ROUNDING, np.round(fraction + carry, 9), -np.inf)
    if home is not None and not dealt[home]:
        owed[home] = np.inf
    dealt[np.argsort(-owed, kind="stable")[: round(float(fraction.sum()))]] += 1
    return dealt


def _fill_empty(sizes: Ints, part: Ints, num_parts: int) -> None:
    """Give a part without any the smallest group of the part that has most groups."""
    for empty in range(num_parts):
        if np.any(part == empty):
            continue
        donor = int(np.argmax(np.bincount(part, minlength=num_parts)))
        groups = np.flatnonzero(part == donor)
        part[groups[np.argmin(sizes[groups])]] = empty
