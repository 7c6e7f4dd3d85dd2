"""What was skipped, dropped or repaired, and what is wrong: counted and listed, never silent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

from visiontasks.errors import DataError

Action = Literal["skipped", "dropped", "repaired"]

MOST_FAULTS: Final = 1000  # that a ledger keeps; the others are counted


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One deviation from the input: `skipped` a picture, `dropped` a record of one, `repaired` a value."""

    action: Action
    reason: str
    file: str
    record: str = ""

    def __str__(self) -> str:
        where = f"{self.file}, {self.record}" if self.record else self.file
        return f"{self.action} {where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Fault:
    """A record that cannot be used, and why: the message of the error that it is where none are collected."""

    message: str
    file: str
    record: str = ""


@dataclass(slots=True)
class Ledger:
    """Collects entries. With `strict`, the first entry is raised as a `DataError` instead of being recorded.

    `entries` keeps the order of arrival and holds each entry once, however many epochs meet it.
    With `collects`, faults are kept too, instead of being raised: the first `MOST_FAULTS` of `num_faults`.
    `losses`: (records that were dropped as unusable, of how many, what they are), one a list that was read.
    """

    strict: bool = False
    collects: bool = False
    entries: dict[Entry, None] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    num_faults: int = 0
    losses: list[tuple[int, int, str]] = field(default_factory=list)

    def add(self, action: Action, file: object, reason: str, record: object = "") -> None:
        """Record one deviation. Raises: DataError when strict."""
        entry = Entry(action, reason, str(file), str(record))
        if self.strict:
            raise DataError(f"{entry} (--strict: nothing may be skipped or repaired)")
        self.entries[entry] = None

    def fault(self, error: DataError, file: object, record: object = "") -> None:
        """A record that cannot be used: `error` is raised; or kept, and the reader goes on without it.

        Raises: `error`, unless the ledger collects faults.
        """
        if not self.collects:
            raise error
        self.num_faults += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(str(error), str(file), str(record)))

    def extend(self, entries: list[Entry]) -> None:
        """Take over entries that another process collected."""
        self.entries.update(dict.fromkeys(entries))

    def lose(self, count: int, total: int, what: str) -> None:
        """Note how many records of a list are unusable, for `check_skips`; each is added by itself, too."""
        if count:
            self.losses.append((count, total, what))

    def lost_beyond(self, max_skip: float) -> list[str]:
        """A line for each list of whose records more than that fraction are unusable."""
        return [
            f"expected at most {max_skip:.1%} of {total:,} {what} to be unusable, found {count:,}"
            for count, total, what in self.losses
            if count > max_skip * total
        ]

    def drain(self) -> list[Entry]:
        """Hand out all entries and forget them (a loader's worker sends them to the main process)."""
        entries = list(self.entries)
        self.entries.clear()
        return entries

    def count(self, action: Action) -> int:
        return sum(entry.action == action for entry in self.entries)

    def summary(self) -> list[str]:
        """One line a kind of deviation: how many, why, and the first example."""
        counts = Counter((entry.action, entry.reason) for entry in self.entries)
        first = {(entry.action, entry.reason): entry for entry in reversed(self.entries)}
        return [
            f"{action} {n}: {reason} (first: {first[action, reason].file}"
            + (f", {first[action, reason].record})" if first[action, reason].record else ")")
            for (action, reason), n in counts.most_common()
        ]

    def check_skips(self, total: int, max_skip: float) -> None:
        """Stop when more than a fraction of the pictures, or of the records of a list, could not be used.

        Args:
            total: number of pictures in the data set.
            max_skip: largest tolerated fraction, in [0, 1].

        Raises:
            DataError: more were skipped, naming the first, or dropped.
        """
        for fault in self.lost_beyond(max_skip):
            raise DataError(
                f"{fault}; mend or remove them (see data check), or raise --max-skip (train.max_skip in a "
                "config)"
            )
        skipped = [entry for entry in self.entries if entry.action == "skipped"]
        if len(skipped) > max_skip * total:
            raise DataError(
                f"expected at most {max_skip:.1%} of {total} pictures to be unusable, found {len(skipped)} "
                f"(first: {skipped[0].file}: {skipped[0].reason}); mend or remove them, or raise --max-skip "
                "(train.max_skip in a config)"
            )
