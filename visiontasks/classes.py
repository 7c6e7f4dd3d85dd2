"""The contract on class names: a class is its name; indices are derived, never typed by hand."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.errors import DataError, UsageError, unknown_name

BACKGROUND: Final = "background"  # the class of what shows no object

RENAME = "rename it with data.classes: {old: new} (to evaluate: --map-class old=new)"  # in messages
MOST_NAMES = 20  # that a message lists
MAX_CLASSES_IN_MASK = 255  # 255 itself means "ignore" in masks


def class_name(text: str) -> str:
    """A name as classes are compared by: macOS writes é as two characters in file names, others as one."""
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True, slots=True)
class ClassMap:
    """An ordered list of class names, with the ids that a file uses for them.

    names: K distinct, non-empty names; the index of a name is its place.
    file_ids: what the data set's own files write for each class (COCO's 1..90, a mask's grey values);
        K entries, or empty where files write names.
    """

    names: tuple[str, ...]
    file_ids: tuple[int | str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("expected at least one class, found none; name them")
        for name in self.names:
            if not name or name != name.strip():
                raise DataError(f"expected class names without outer spaces, found {name!r}; rename it")
        twice = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if twice:
            raise DataError(f"expected distinct class names, found twice: {', '.join(twice)}; rename one")
        if self.file_ids and len(self.file_ids) != len(self.names):
            raise DataError(f"expected {len(self.names)} file ids, one a class, found {len(self.file_ids)}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str, *, where: str = "") -> int:
        """The index of a class. Raises: DataError naming the nearest class, and `where` the name stands."""
        try:
            return self.names.index(name)
        except ValueError:
            fault = unknown_name("class", name, self.names)
            raise DataError(f"{where}: {fault}" if where else fault) from None

    def names_beyond(self, other: ClassMap) -> list[str]:
        """The names that another list does not have, in order."""
        known = set(other.names)
        return [name for name in self.names if name not in known]

    def renamed(self, mapping: Mapping[str, str]) -> ClassMap:
        """The same classes under the names that the user gave (`--map-class old=new`).

        Raises: DataError when an old name does not exist, or when two classes end up with one name.
        """
        for old in mapping:
            self.index(old, where="data.classes or --map-class")
        return ClassMap(tuple(mapping.get(name, name) for name in self.names), self.file_ids)


def join_classes(ours: ClassMap, theirs: ClassMap, *, ours_name: str, theirs_name: str) -> NDArray[np.int64]:
    """Match two lists of classes by name.

    Args:
        ours: the list that indices are wanted in (a model's).
        theirs: the list that indices come from (a data set's); any order, the same names.
        ours_name, theirs_name: what the lists belong to, for the message.

    Returns:
        (K,) int64: entry i is the index in `ours` of class i of `theirs`.

    Raises:
        DataError: the names differ; the message is the diff.
    """
    diff = difference(ours, theirs, ours_name=ours_name, theirs_name=theirs_name)
    if diff:
        old, new = [*theirs.names_beyond(ours), "OLD"][0], [*ours.names_beyond(theirs), "NEW"][0]
        raise DataError(
            f"expected the same class names in {ours_name} and {theirs_name}; {diff}; "
            f"map them with --map-class {old}={new}"
        )
    index = {name: place for place, name in enumerate(ours.names)}
    return np.array([index[name] for name in theirs.names], dtype=np.int64)


def difference(ours: ClassMap, theirs: ClassMap, *, ours_name: str, theirs_name: str) -> str:
    """The names that only one list has, as `join_classes` shows them; empty where there are none."""
    sides = ((ours_name, ours.names_beyond(theirs)), (theirs_name, theirs.names_beyond(ours)))
    return "; ".join(
        f"only in {name}: {', '.join(names[:MOST_NAMES])}"
        + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")
        for name, names in sides
        if names
    )


def parse_class_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """`["old=new", ...]` -> `{"old": "new"}`. Raises: UsageError for a pair without a name on both sides."""
    mapping: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not equals or not old.strip() or not new.strip():
            raise UsageError(f"expected --map-class old=new, found '{pair}'")
        mapping[old.strip()] = new.strip()
    return mapping
