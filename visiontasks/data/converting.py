"""A data set in another format: its labels are written anew, its pictures are copied as they are."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from visiontasks.classes import ClassMap
from visiontasks.config_files import parse_config, section_model
from visiontasks.data.opening import OpenedData, open_raw
from visiontasks.data_tools import Written
from visiontasks.errors import DataError, RunError, UsageError, unknown_name
from visiontasks.io.files import replacing_folder, write_atomic, write_json
from visiontasks.io.listing import file_sizes
from visiontasks.ledger import Ledger
from visiontasks.types import Source

MARKER: Final = "converted.json"  # a folder that has it is ours, and may be written anew
CONFIGS: Final = ("data.yaml", "visiontasks.yaml")  # the second where the format has a data.yaml of its own
SHOWN: Final = 20  # faults that a refusal lists
THREADS: Final = 8  # that copy: most of the time goes into waiting for the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What was written. pictures: {split: how many}. ledger: what was dropped on the way, and why."""

    root: Path
    config: Path
    pictures: dict[str, int]
    ledger: Ledger


def convert(
    data: OpenedData,
    out: Path,
    to: str,
    *,
    splits: Collection[str] = (),
    link: bool = False,
    overwrite: bool = False,
) -> Converted:
    """Write a data set into a folder, in another format; a conversion that fails leaves nothing there.

    Args:
        data: opened; it must be without faults.
        out: the folder; made if missing, else it must be empty.
        to: a format of the task's `writers`.
        splits: which ones; empty = all.
        link: hard links in place of copies of the pictures: the same bytes on the disk.
        overwrite: replace a folder that this function made; no other is ever replaced.

    Raises:
        UsageError: unknown format or split, or a folder that is not empty, or the data's own.
        DataError: the data has faults; lists them.
        RunError: the disk is full, or has no hard links.
    """
    task = data.task
    if to not in task.data.writers:
        raise UsageError(unknown_name(f"format to write {task.name} data in", to, task.data.writers))
    for split in splits:
        if split not in data.ledgers:
            raise UsageError(unknown_name("split", split, data.ledgers))
    ledger = Ledger()
    sources = _open_sound(data, splits or data.ledgers, ledger)
    _check_place(out, {source.root for source in sources.values()}, overwrite=overwrite)
    root = Path(os.path.realpath(out))
    with replacing_folder(root) as folder:
        written = task.data.writers[to](folder, sources, ledger)
        _place_pictures(folder, sources, written, os.link if link else shutil.copyfile)
        values = {"format": to, **written.values, **_held_out(data.config, sources), "root": str(root)}
        config = next(name for name in CONFIGS if not (folder / name).exists())
        section = parse_config(section_model(task.config, "data"), values, file=str(root / config))
        write_atomic(folder / config, _to_yaml(section, data))
        ledger.entries = {
            replace(entry, file=entry.file.replace(str(folder), str(root))): None for entry in ledger.entries
        }
        counts = {split: len(source) for split, source in sources.items()}
        facts = {"task": task.name, "from": data.how, "format": to, "pictures": counts}
        write_json(folder / MARKER, {**facts, "dropped": [str(entry) for entry in ledger.entries]})
    return Converted(root=root, config=root / config, pictures=counts, ledger=ledger)


def _open_sound(data: OpenedData, splits: Collection[str], ledger: Ledger) -> dict[str, Source[Any]]:
    """The splits, all with the classes of all. Raises: DataError with the data's faults."""
    faults = [str(error) for split, error in data.failed.items() if split in splits]
    faults += [fault.message for split in splits for fault in data.ledgers[split].faults]
    found = {split: source for split, source in data.sources.items() if split in splits}
    faults += [line for source in found.values() for line in _missing(source)]
    if faults:
        more = [f"and {len(faults) - SHOWN} more: visiontasks data check lists them"]
        raise DataError(
            f"expected data without faults to convert, found {len(faults)}; mend these first:",
            *faults[:SHOWN],
            *more * (len(faults) > SHOWN),
        )
    classes = _all_classes([source.classes for source in found.values()])
    return {split: open_raw(data.task, data.config, split, ledger, classes) for split in found}


def _missing(source: Source[Any]) -> Iterator[str]:
    for place in np.flatnonzero(file_sizes(source.root, source.files) < 0).tolist():
        yield f"{source.root / source.files[place]}: expected a picture, found no such file"


def _all_classes(maps: list[ClassMap]) -> ClassMap:
    """The classes of all splits, in the order of the first; with its files' ids where it has them all."""
    first = maps[0]
    names = tuple(dict.fromkeys(name for classes in maps for name in classes.names))
    return first if len(names) == len(first) else ClassMap(names)


def _check_place(out: Path, roots: Collection[Path], *, overwrite: bool) -> None:
    """Refuse a folder with anything in it, and any that could touch the data that is read."""
    real = Path(os.path.realpath(out))
    for root in (Path(os.path.realpath(root)) for root in roots):
        if real == root or real in root.parents or root in real.parents:
            raise UsageError(
                f"expected a folder apart from the data in {root}, found {out}; choose another with -o"
            )
    if out.exists() and not out.is_dir():
        raise UsageError(f"expected a folder to write, found the file {out}; choose another with -o")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / MARKER).is_file():
        raise UsageError(f"expected an empty folder, found {out} with other files; choose another with -o")
    if not overwrite:
        raise UsageError(
            f"expected an empty folder, found {out} with converted data; choose another, or --overwrite"
        )


def _place_pictures(
    folder: Path, sources: Mapping[str, Source[Any]], written: Written, put: Callable[[Path, Path], Any]
) -> None:
    """Copy or link each picture to where the labels expect it. One that several splits share comes once."""
    origins: dict[str, Path] = {}
    for split, source in sources.items():
        for file, place in zip(source.files, written.pictures[split], strict=True):
            origin = source.root / file
            assert origins.setdefault(place, origin) == origin, f"two pictures become {place}"
    for parent in {(folder / place).parent for place in origins}:
        parent.mkdir(parents=True, exist_ok=True)

    def move(place: str) -> None:
        put(origins[place].resolve(), folder / place)

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(move, origins))
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        raise RunError(
            f"{folder.parent}: expected hard links to the pictures, found: {error.strerror}; leave --link out"
        ) from None


def _held_out(config: Any, sources: Mapping[str, Source[Any]]) -> dict[str, Any]:
    """What keeps back training pictures for validation, where there is no split of its own for that."""
    return {"holdout": config.holdout, "seed": config.seed} if config.holdout and "val" not in sources else {}


def _to_yaml(section: Any, data: OpenedData) -> str:
    values = section.model_dump(mode="json", exclude_unset=True)
    order = [key for key in ("format", "root", "train", "val", "test") if values.get(key) is not None]
    ordered = {key: values[key] for key in [*order, *(key for key in values if key not in order)]}
    body = yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True)
    return (
        f"# {data.task.name} data, converted from {data.config.format} in {data.config.root!r}\n"
        f"# by `visiontasks data convert`. root is absolute: change it when the folder moves.\n{body}"
    )
