"""Which data set a path means, of which task, in which format; and its splits, opened as they stand."""

from __future__ import annotations

import logging
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from visiontasks.classes import ClassMap
from visiontasks.config_files import parse_config, read_config, section_model
from visiontasks.data_tools import Recognised
from visiontasks.errors import ConfigError, DataError, UsageError, unknown_name
from visiontasks.io.documents import Lines
from visiontasks.io.files import is_picture, read_yaml
from visiontasks.io.location import data_root, describe_folder
from visiontasks.ledger import Ledger
from visiontasks.splits import sole_split
from visiontasks.types import Source, Task

AnyTask = Task[Any, Any]

SPLITS: Final = ("train", "val", "test")
OWN_FILES: Final = ("data.yaml", "visiontasks.yaml")  # that our commands leave in a folder


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedData:
    """A data set, its splits opened one by one: no class is joined, no box clipped, nothing held out.

    config: the data section. run: the config of a run that it is a part of, if one.
    how: what it was recognised as, by what, and what else it could be: one sentence.
    sources: {split: its pictures with their labels}; each has the classes that its own files name.
    ledgers: {split: what was met when it was opened}; faults are collected.
    failed: {split: why nothing of it could be read}.
    """

    task: AnyTask
    config: Any
    run: Any | None
    how: str
    sources: Mapping[str, Source[Any]]
    ledgers: Mapping[str, Ledger]
    failed: Mapping[str, DataError]

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the network's input, where a run's config says them."""
        return None if self.run is None else self.run.input.size


def open_data(
    path: str | Path,
    tasks: Sequence[AnyTask],
    *,
    task: str | None = None,
    data_format: str | None = None,
) -> OpenedData:
    """Open a data set that is a folder, a file of labels, a DATA.yaml or a run's config.

    Args:
        path: as typed; `configs/...` of the package are found from anywhere.
        tasks: which it may be for; where several fit alike, the first.
        task: noun or verb; None = by what is found. data_format: a format of the task's, likewise.

    Raises:
        UsageError: no such task or format. ConfigError: faults of a YAML file.
        DataError: nothing is there, a file can't be read, or nothing is recognised: says what was looked for
            and what is there.
    """
    path = read_config(Path(path))
    if task is not None:
        tasks = [_named(task, tasks)]
    if data_format is not None and data_format not in (known := {f for t in tasks for f in _formats(t)}):
        raise UsageError(unknown_name("format", data_format, known))
    if task is None and data_format is None:
        path = _own_file(path) or path
    if path.suffix.lower() in (".yaml", ".yml"):
        values, lines = read_yaml(path)
        if isinstance(values.get("data"), dict):
            return _open_run(path, values, lines, tasks)
        if "names" not in values:  # else YOLO's, which a task's adapter reads
            return _open_section(path, values, lines, tasks, data_format)
    return _open_recognised(path, tasks, data_format)


def _own_file(folder: Path) -> Path | None:
    """The DATA.yaml in a folder that says what the folder holds; not where it was moved since."""
    for file in (folder / name for name in OWN_FILES):
        if file.is_file():
            values, _ = read_yaml(file)
            if "format" in values and Path(str(values.get("root"))).resolve() == folder.resolve():
                return file
    return None


def open_section(task: AnyTask, config: Any, how: str, run: Any | None = None) -> OpenedData:
    """Open the splits that a data section names; what is wrong with them is collected, never raised."""
    sources: dict[str, Source[Any]] = {}
    failed: dict[str, DataError] = {}
    ledgers = {split: Ledger(collects=True) for split in SPLITS if getattr(config, split, None) is not None}
    for split, ledger in ledgers.items():
        try:
            sources[split] = open_raw(task, config, split, ledger)
        except DataError as error:
            failed[split] = error
    return OpenedData(
        task=task, config=config, run=run, how=how, sources=sources, ledgers=ledgers, failed=failed
    )


def open_raw(
    task: AnyTask, config: Any, split: str, ledger: Ledger, classes: ClassMap | None = None
) -> Source[Any]:
    """A split as its own files have it. classes: the indices wanted; None = those that it names.

    Raises: DataError as `Task.open_source`, for a class, too, that `classes` does not have.
    """
    with _quiet():
        return task.open_source(sole_split(config, split), "test", ledger, classes)


def _open_run(path: Path, values: Mapping[str, Any], lines: Lines, tasks: Sequence[AnyTask]) -> OpenedData:
    if "task" not in values:
        raise ConfigError([f"{path}: missing key 'task'; add it, for instance task: {tasks[0].name}"])
    task = _named(str(values["task"]), tasks)
    run = parse_config(task.config, values, file=str(path), lines=lines)
    return open_section(task, run.data, f"{task.name}, format {run.data.format}: a run's config says so", run)


def _open_section(
    path: Path,
    values: Mapping[str, Any],
    lines: Lines,
    tasks: Sequence[AnyTask],
    data_format: str | None,
) -> OpenedData:
    """A DATA.yaml does not say its task. Where several have its format, the one that can use most of it."""
    values = {**values, **({} if data_format is None else {"format": data_format})}
    formats = {task.name: _formats(task) for task in tasks}
    given = values.get("format")
    fitting = [task for task in tasks if given is None or given in formats[task.name]]
    if not fitting:
        known = sorted({name for names in formats.values() for name in names})
        raise ConfigError([f"{path}: format: {unknown_name('format', str(given), known)}"])
    opened, faults = [], []
    for task in fitting:
        try:
            config = parse_config(section_model(task.config, "data"), values, file=str(path), lines=lines)
        except ConfigError as error:
            faults.append(error)
            continue
        opened.append(open_section(task, config, f"{task.name}, format {config.format}: {path.name} says so"))
    if not opened:
        raise faults[0]
    return opened[0] if len(opened) == 1 else max(opened, key=_fit)


def _fit(data: OpenedData) -> tuple[int, int, int]:
    """How well a data set fits the task that it was opened for; the larger the better.

    What opens decides; then what the task's adapters see in the root and the files of the splits.
    """
    root = Path(data_root(data.config.root))
    places = [root, *(root / (getattr(data.config, split) or ".") for split in SPLITS)]
    seen = [
        one.certainty
        for place in dict.fromkeys(places)
        if place.exists()
        for one in data.task.data.recognise(place)
        if one.values["format"] == data.config.format
    ]
    num_faults = sum(ledger.num_faults for ledger in data.ledgers.values())
    return min(len(data.sources), 1), max(seen, default=0), -num_faults - len(data.failed)


def _open_recognised(path: Path, tasks: Sequence[AnyTask], data_format: str | None) -> OpenedData:
    if not path.exists():
        raise DataError(f"expected a data set at {path}, found nothing ({describe_folder(path.parent)})")
    found: list[tuple[AnyTask, Recognised]] = [
        (task, one)
        for task in tasks
        for one in task.data.recognise(path)
        if data_format in (None, one.values["format"])
    ]
    if not found:
        looked = "; ".join(f"{task.name}: {', '.join(_formats(task))}" for task in tasks)
        raise DataError(
            f"{path}: expected a data set in {data_format or 'a known format'} ({looked}), "
            f"found {_unrecognised(path)}"
        )
    found.sort(key=lambda candidate: -candidate[1].certainty)
    (task, best), *others = found
    rest = dict.fromkeys(f"{other.name} {one.values['format']} ({one.why})" for other, one in others)
    how = f"{task.name}, format {best.values['format']}: {best.why}"
    if rest:
        how += f"; or, with --task and --format: {', '.join(rest)}"
    config = parse_config(section_model(task.config, "data"), best.values, file=str(path))
    return open_section(task, config, how)


def _unrecognised(path: Path) -> str:
    """What is there, and what to do about it."""
    says = "write a DATA.yaml, the data: section of a config: format, root, train, val, test"
    if not path.is_dir():
        return f"a file of another kind; name its folder, or {says}"
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    if not entries:
        return "an empty folder"
    if all(is_picture(entry) and entry.is_file() for entry in entries):
        n = len(entries)
        return f"{n:,} picture{'s' * (n != 1)} without labels; sort them into a folder a class, or {says}"
    return f"none ({describe_folder(path)}); {says}"


def _named(name: str, tasks: Sequence[AnyTask]) -> AnyTask:
    for task in tasks:
        if name in (task.name, task.verb):
            return task
    raise UsageError(unknown_name("task", name, [name for task in tasks for name in (task.name, task.verb)]))


def _formats(task: AnyTask) -> tuple[str, ...]:
    return typing.get_args(section_model(task.config, "data").model_fields["format"].annotation)


@contextmanager
def _quiet() -> Iterator[None]:
    """What readers warn of is in the ledger, or is found again by the check."""
    log = logging.getLogger("visiontasks")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
