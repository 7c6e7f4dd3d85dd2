"""Findings about pictures that occur several times, above all in several splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visiontasks.data.duplicates import alike_pairs, same_pairs
from visiontasks.data.pictures import Looks, join_looks
from visiontasks.data.sequences import shared_sequences
from visiontasks.data_tools import Finding, LabelCounts
from visiontasks.types import Source

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Pictures:
    """The pictures of all splits in one list. labels: {class name: count} of each; None = not counted."""

    files: Sequence[str]
    splits: Sequence[str]
    labels: Sequence[Mapping[str, int]] | None

    @classmethod
    def of(cls, sources: Mapping[str, Source[Any]], counts: Mapping[str, LabelCounts]) -> _Pictures:
        labels: list[dict[str, int]] = []
        for split, source in sources.items():
            if split in counts:
                table: list[dict[str, int]] = [{} for _ in range(len(source))]
                found, names = counts[split], source.classes.names
                for picture, label, count in zip(
                    found.picture.tolist(), found.label.tolist(), found.count.tolist(), strict=True
                ):
                    table[picture][names[label]] = count
                labels += table
        files = [file for source in sources.values() for file in source.files]
        splits = [split for split, source in sources.items() for _ in range(len(source))]
        return cls(files, splits, labels if len(labels) == len(files) else None)

    def where(self, place: int) -> str:
        return f"{self.files[place]} ({self.splits[place]})"


def copy_findings(
    sources: Mapping[str, Source[Any]],
    looks: Mapping[str, Looks],
    counts: Mapping[str, LabelCounts],
    counted: str,
) -> Iterator[Finding]:
    """Copies of pictures, pictures that look the same, and videos whose frames lie in several splits.

    Of two pictures `split` and `picture` are the second, `other` is the first.

    looks: {split: full looks at all its pictures}; empty: only the names of files are compared.
    counted: what labels are counted in; only of "pictures" must those that look the same have the same.
    """
    pictures = _Pictures.of(sources, counts)
    if not looks:
        yield from _pairs(pictures, _listed_twice(pictures.files), "same")
        return
    seen = join_looks([looks[split] for split in sources])
    same, alike = same_pairs(seen), alike_pairs(seen)
    yield from _pairs(pictures, same, "same")
    yield from _pairs(pictures, alike, "alike")
    yield from _other_labels(pictures, np.concatenate([same, alike]) if counted == "pictures" else same)
    for prefix, frames in shared_sequences(pictures.files, pictures.splits, seen.thumbnails):
        splits = [pictures.splits[place] for place in frames.tolist()]
        shares = ", ".join(f"{splits.count(split)} in {split}" for split in dict.fromkeys(splits))
        yield Finding(
            severity="warning",
            kind="sequence-across-splits",
            message=f"expected the frames of one video in one split, found those of '{prefix}...': {shares}",
            remedy="divide the data by videos: visiontasks data split --group",
            split=splits[0],
            picture=pictures.files[frames[0]],
            other=next(
                (split, pictures.files[place])
                for split, place in zip(splits, frames.tolist(), strict=True)
                if split != splits[0]
            ),
        )


def _listed_twice(files: Sequence[str]) -> Ints:
    """(M, 2) places at which a path is listed: the first, and each further one."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(file, place), place) for place, file in enumerate(files)]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], dtype=np.int64).reshape(-1, 2)


def _pairs(pictures: _Pictures, pairs: Ints, how: str) -> Iterator[Finding]:
    """One finding for a picture that repeats others of its split, one where it repeats some of another."""
    what = {"same": "a copy of", "alike": "one that looks the same as"}[how]
    splits = np.array(pictures.splits)
    is_across = splits[pairs[:, 0]] != splits[pairs[:, 1]]
    _, kept = np.unique(np.column_stack([pairs[:, 1], is_across]), axis=0, return_index=True)
    for (first, second), across in zip(pairs[kept].tolist(), is_across[kept].tolist(), strict=True):
        yield Finding(
            severity="warning" if across or how == "same" else "note",
            kind=f"pictures-{how}{'-across-splits' * across}",
            message=f"expected each picture once, found {what} {pictures.where(first)}",
            remedy="keep it in one split: measured on the other it is known already"
            if across
            else "take one out, unless it shall count twice",
            split=pictures.splits[second],
            file=pictures.files[second],
            picture=pictures.files[second],
            other=(pictures.splits[first], pictures.files[first]),
        )


def _other_labels(pictures: _Pictures, pairs: Ints) -> Iterator[Finding]:
    if pictures.labels is None:
        return
    for first, second in pairs.tolist():
        a, b = pictures.labels[first], pictures.labels[second]
        if a != b:
            yield Finding(
                severity="warning",
                kind="same-picture-other-label",
                message=f"expected the labels of {pictures.where(first)}, {_listed(a)}, as it is the same "
                f"picture, found {_listed(b)}",
                remedy="one of the two is wrong: mend it",
                split=pictures.splits[second],
                file=pictures.files[second],
                picture=pictures.files[second],
                other=(pictures.splits[first], pictures.files[first]),
            )


def _listed(labels: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{count:,} {name}" if count > 1 else name for name, count in labels.items()) or "nothing"
    )
