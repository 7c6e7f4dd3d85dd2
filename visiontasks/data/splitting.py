"""`visiontasks data split`: which picture goes into which part, as lists; nothing is moved or copied."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from visiontasks.data.dividing import divide
from visiontasks.data.duplicates import join_alike
from visiontasks.data.opening import SPLITS, OpenedData
from visiontasks.data_tools import LabelCounts
from visiontasks.errors import DataError, UsageError
from visiontasks.io.files import write_atomic
from visiontasks.io.location import SHOWN, data_root
from visiontasks.ops.pairs import join_pairs
from visiontasks.types import Source, Task

DATA_FILE: Final = "data.yaml"


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The pictures of all splits of a data set, each once.

    files: N paths below root. classes: K names. counts: how often each occurs on each picture.
    """

    root: Path
    files: Sequence[str]
    classes: tuple[str, ...]
    counts: LabelCounts


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """What was written, and what it is like.

    written: the section that reads the parts, then a list a part.
    pictures: {part: how many}. classes: {name: (S,) how much of it each part has, in what labels are counted
        in}. num_groups: of pictures that stay together. unmatched: pictures without a match.
    """

    written: Sequence[Path]
    pictures: Mapping[str, int]
    classes: Mapping[str, NDArray[np.int64]]
    num_groups: int
    unmatched: int


def split_data(
    data: OpenedData,
    out: Path,
    ratios: Mapping[str, float],
    *,
    group: str | None = None,
    seed: int = 0,
    stratify: bool = True,
    keep_alike: bool = True,
    overwrite: bool = False,
) -> Division:
    """Divide all pictures of a data set anew, and write a list a part, and a DATA.yaml that reads them.

    Args:
        data: opened; its own splits are joined.
        out: a new or empty folder for the lists.
        ratios: {"train", "val" or "test": share}, as `parse_ratios` gives them.
        group: a regular expression; what its first group (else all of it) finds in a picture's path joins
            pictures that must stay together; those without a match are alone.
        seed: another one gives another division.
        stratify: each part has its share of each class.
        keep_alike: pictures that look the same stay together.
        overwrite: replace an earlier division in `out`.

    Raises:
        UsageError: `out` holds other files; a pattern that is none, or finds nothing.
        DataError: the data set has faults; there are fewer groups than parts.
        RunError: the files can't be written.
    """
    _check_free(out, overwrite=overwrite)
    pool = pool_pictures(data)
    matches = _matches(pool.files, group)
    joined = [np.unique([m or f"\0{i}" for i, m in enumerate(matches)], return_inverse=True)[1].ravel()]
    if keep_alike:
        joined.append(join_alike(pool.root, pool.files))
    groups = join_groups(joined)
    none = np.zeros(0, dtype=np.int64)
    counts = pool.counts if stratify else LabelCounts(none, none, none)
    parts = divide(pool.files, groups, counts, list(ratios.values()), seed)
    held = np.zeros((len(pool.classes), len(ratios)), dtype=np.int64)
    np.add.at(held, (pool.counts.label, parts[pool.counts.picture]), pool.counts.count)
    return Division(
        written=_write(data, out, pool.files, {name: parts == part for part, name in enumerate(ratios)}),
        pictures=dict(zip(ratios, np.bincount(parts, minlength=len(ratios)).tolist(), strict=True)),
        classes=dict(zip(pool.classes, held, strict=True)),
        num_groups=int(np.max(groups)) + 1,
        unmatched=0 if group is None else matches.count(None),
    )


def parse_ratios(text: str) -> dict[str, float]:
    """`train=0.8,val=0.1,test=0.1` -> shares by part, in this order.

    Raises: UsageError for other parts, shares that are no numbers above 0, or do not sum to 1.
    """
    ratios: dict[str, float] = {}
    for pair in text.split(","):
        name, _, share = (field.strip() for field in pair.partition("="))
        try:
            ratios[name] = float(share)
        except ValueError:
            ratios[name] = 0.0
        if name not in SPLITS or not 0 < ratios[name] <= 1:
            raise UsageError(
                f"expected --ratios as train=0.8,val=0.1,test=0.1 (of these, each above 0), found '{pair}'"
            )
    if abs(sum(ratios.values()) - 1) > 1e-6:
        raise UsageError(f"expected --ratios that sum to 1, found {sum(ratios.values()):g} ('{text}')")
    return {split: ratios[split] for split in SPLITS if split in ratios}


def pool_pictures(data: OpenedData) -> Pool:
    """The pictures of all splits. Raises: DataError where the data set has faults."""
    for split, ledger in data.ledgers.items():
        if split in data.failed:
            raise data.failed[split]
        if ledger.faults:
            more = f" (and {ledger.num_faults - 1} more)" if ledger.num_faults > 1 else ""
            raise DataError(f"{ledger.faults[0].message}{more}; see visiontasks data check")
    sources = list(data.sources.values())
    classes = tuple(dict.fromkeys(name for source in sources for name in source.classes.names))
    place_of: dict[str, int] = {}
    columns = [_counted(data.task, source, classes, place_of) for source in sources]
    picture, label, count = (np.concatenate(column) for column in zip(*columns, strict=True))
    return Pool(data_root(data.config.root), list(place_of), classes, LabelCounts(picture, label, count))


def _counted(
    task: Task[Any, Any], source: Source[Any], classes: Sequence[str], place_of: dict[str, int]
) -> tuple[NDArray[np.int64], ...]:
    """The columns of a split's counts, in the places of all pictures; new ones are added to `place_of`."""
    counts = task.data.count(source)
    files = list(source.files)
    is_new = np.array([file not in place_of for file in files], dtype=np.bool_)
    place = np.array([place_of.setdefault(file, len(place_of)) for file in files], dtype=np.int64)
    index = np.array([classes.index(name) for name in source.classes.names], dtype=np.int64)
    kept = is_new[counts.picture]
    return place[counts.picture][kept], index[counts.label][kept], counts.count[kept]


def join_groups(partitions: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """(N,) group numbers of things that are held together by any of some partitions, (N,) numbers each."""
    pairs = []
    for groups in partitions:
        _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
        pairs.append(np.column_stack([first[inverse.ravel()], np.arange(len(groups))]))
    return join_pairs(len(partitions[0]), np.concatenate(pairs))


def _matches(files: Sequence[str], group: str | None) -> list[str | None]:
    """What a pattern finds in each path; None = nothing."""
    if group is None:
        return [None] * len(files)
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise UsageError(f"expected a regular expression as --group, found '{group}': {error}") from None
    found = [pattern.search(file) for file in files]
    if not any(found):
        shown = ", ".join(f"'{file}'" for file in files[:SHOWN])
        raise UsageError(f"expected --group '{group}' to match paths of pictures ({shown}), found no match")
    return [(match[min(1, pattern.groups)] or None) if match else None for match in found]


def _check_free(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"expected a folder for the lists, found the file {out}; choose another with -o")
    ours = {DATA_FILE, *(f"{split}.txt" for split in SPLITS)}
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names - ours:
        raise UsageError(
            f"{out} holds other files ({min(names - ours)}); choose an empty or new folder with -o"
        )
    if names and not overwrite:
        raise UsageError(
            f"{out} holds lists; replace them with --overwrite, or choose another folder with -o"
        )


def _write(
    data: OpenedData, out: Path, files: Sequence[str], chosen: Mapping[str, NDArray[np.bool_]]
) -> list[Path]:
    """A list of paths a part, and the section that reads them: the data set's own, with these lists.

    chosen: {part: (N,) the files that it has}.
    """
    broken = next((file for file in files if "\n" in file or file.endswith("\r")), None)
    if broken is not None:
        raise DataError(
            f"expected names that fit into a line of a list, found {broken!r}; rename the picture"
        )
    out = Path(os.path.abspath(out))
    lists = [out / f"{split}.txt" for split in chosen]
    for split in set(SPLITS) - set(chosen):
        (out / f"{split}.txt").unlink(missing_ok=True)
    for path, has in zip(lists, chosen.values(), strict=True):
        write_atomic(path, "".join(f"{file}\n" for file in sorted(compress(files, has.tolist()))))
    joined = "+".join(dict.fromkeys(getattr(data.config, split) for split in data.sources))
    values = {
        **data.config.model_dump(mode="json", exclude_defaults=True, exclude={*SPLITS, "holdout"}),
        "format": data.config.format,
        "root": os.path.abspath(data_root(data.config.root)),
        "lists": str(out / "{split}.txt"),
        **{split: joined if split in chosen else None for split in SPLITS},
    }
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_atomic(
        out / DATA_FILE, f"# {data.task.name}; the pictures stay where they are, lists say which\n{text}"
    )
    return [out / DATA_FILE, *lists]
