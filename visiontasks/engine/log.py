"""What a run says while it works: metrics.jsonl, TensorBoard where installed, progress on the terminal."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from visiontasks.engine.checkpoint import RunFolder
from visiontasks.errors import RunError
from visiontasks.io.files import write_atomic

QUIET_SECONDS = 30.0  # between two lines of progress where the output is no terminal


class MetricsLog:
    """metrics.jsonl, one line an epoch: flat {name: number or null}; the same into TensorBoard if installed.

    kept: rows of an earlier part of the run, without those that the resumed run will write again.
    """

    def __init__(self, folder: RunFolder, kept: Sequence[Mapping[str, Any]]) -> None:
        self.path = folder.metrics
        write_atomic(self.path, "".join(_line(row) for row in kept))
        self.board: Any = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder.path / "tensorboard"), purge_step=len(kept) + 1)

    def write(self, row: Mapping[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(
                f"{self.path}: could not be written ({error.strerror}); free some space"
            ) from error
        if self.board is not None:
            for name, value in row.items():
                if isinstance(value, float) and "/" not in name.removeprefix("train/").removeprefix("val/"):
                    self.board.add_scalar(name, value, row["epoch"])
            self.board.flush()


def _line(row: Mapping[str, Any]) -> str:
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(clean) + "\n"


class Report:
    """Speaks to a person on stderr; says nothing in the processes that do not lead, or when quiet."""

    def __init__(self, *, speaks: bool = True) -> None:
        self.speaks = speaks
        self.console = Console(stderr=True, quiet=not speaks, highlight=False, soft_wrap=True)

    def line(self, text: str) -> None:
        self.console.print(text, markup=False)

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0) -> Iterator[Meter]:
        """A bar on a terminal, else a line now and then."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True),
        )
        with Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as bar:
            yield Meter(self, bar, title, total, done)


class Meter:
    """Progress through one epoch or evaluation: pictures a second since it began, and the latest loss."""

    def __init__(self, report: Report, bar: Progress, title: str, total: int, done: int) -> None:
        self.report, self.bar, self.title, self.total, self.done = report, bar, title, total, done
        self.task = bar.add_task(title, total=total, completed=done, note="")
        self.images = 0
        self.began = self.spoke = time.monotonic()

    def advance(self, images: int, note: str = "") -> None:
        """One step further. images: how many pictures it took; where there are none, no speed is shown."""
        self.done += 1
        self.images += images
        if self.images:
            note = f"{note}  {self.images_per_second:.0f} img/s"
        self.bar.update(self.task, completed=self.done, note=note)
        if not self.report.console.is_terminal and time.monotonic() - self.spoke > QUIET_SECONDS:
            self.spoke = time.monotonic()
            self.report.line(f"{self.title}  {self.done}/{self.total}  {note}")

    @property
    def images_per_second(self) -> float:
        return self.images / max(time.monotonic() - self.began, 1e-9)


def duration(seconds: float) -> str:
    """`95` -> `1m35s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
