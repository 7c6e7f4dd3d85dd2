"""From a data set to batches, in worker processes.

Order and augmentation are functions of (seed, epoch, index) alone: the number of workers, a resume in the
middle of an epoch and the number of processes change nothing. Faults in a worker come back as values and
are raised, or counted, in the main process.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from visiontasks.engine.faults import lost_worker
from visiontasks.errors import DataError, ImageError, VisionTasksError
from visiontasks.ledger import Entry
from visiontasks.types import Batch, Example, Sample, Source, Transform

ORDER, PICTURE = 0, 1  # streams of random numbers that a run's seed is split into
MAX_REPLACEMENTS = (
    16  # unreadable pictures in a row before a training run gives up looking for the next good one
)

Key = tuple[int, int]  # (epoch, index)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker hands over: pictures in batches (none where nothing was readable), and what it met.

    batches: one in training; in evaluation one a size, so that no picture is padded to its neighbours'.
    truths: of each batch's pictures, in original pixels, for evaluation. images: how many were asked for.
    """

    batches: Sequence[Batch]
    truths: Sequence[Sequence[Any]]
    images: int
    entries: list[Entry]
    fault: VisionTasksError | None

    def pin_memory(self) -> Loaded:
        """As DataLoader asks for, to copy to a GPU while it computes."""
        return replace(self, batches=[batch.pin_memory() for batch in self.batches])


def epoch_order(seed: int, epoch: int, size: int, weights: NDArray[np.float64] | None) -> NDArray[np.int64]:
    """The order in which an epoch visits a data set of `size` pictures: (size,) int64.

    A permutation, or with `weights` (size,) that sum to 1 a draw with replacement.
    """
    rng = np.random.default_rng([seed, ORDER, epoch])
    return rng.permutation(size) if weights is None else rng.choice(size, size, p=weights)


class Pictures(Dataset[tuple[Example[Any] | None, VisionTasksError | None]]):
    """A data set with its transform, addressed by (epoch, index).

    Args:
        transform_at: the transform of an epoch (progressive resizing changes it).
        replace: take the next readable picture for an unreadable one, so that batches keep their size
            (training); else leave it out (evaluation).
    """

    def __init__(
        self, source: Source[Any], transform_at: Callable[[int], Transform[Any]], seed: int, *, replace: bool
    ) -> None:
        self.source, self.transform_at, self.seed, self.replace = source, transform_at, seed, replace

    def __getitem__(self, key: Key) -> tuple[Example[Any] | None, VisionTasksError | None]:
        epoch, index = key
        last = ""
        for attempt in range(MAX_REPLACEMENTS if self.replace else 1):
            at = (index + attempt) % len(self.source)
            try:
                sample = self.source[at]
                rng = np.random.default_rng([self.seed, PICTURE, epoch, at])
                return self.transform_at(epoch)(sample, rng, self.fetch), None
            except ImageError as error:
                last = str(error)
                try:
                    self.source.ledger.add("skipped", *error.file_and_reason)
                except DataError as strict:
                    return None, strict
            except VisionTasksError as error:
                return None, error
        if not self.replace:
            return None, None
        return None, DataError(
            f"expected readable pictures, found {MAX_REPLACEMENTS} bad ones in a row, the last: {last}; "
            "mend or remove them"
        )

    def fetch(self, index: int) -> Sample[Any]:
        """A partner for mixup or mosaic."""
        return self.source[index % len(self.source)]


class Always:
    """One transform for every epoch."""

    def __init__(self, transform: Transform[Any]) -> None:
        self.transform = transform

    def __call__(self, epoch: int) -> Transform[Any]:
        return self.transform


class Collate:
    """Joins the pictures of a batch; runs in the worker.

    evaluates: only pictures of one size together, and with their truths.
    """

    def __init__(
        self, collate: Callable[[Sequence[Example[Any]]], Batch], source: Source[Any], *, evaluates: bool
    ) -> None:
        self.collate, self.source, self.evaluates = collate, source, evaluates

    def __call__(self, items: list[tuple[Example[Any] | None, VisionTasksError | None]]) -> Loaded:
        examples = [example for example, _ in items if example is not None]
        fault = next((fault for _, fault in items if fault is not None), None)
        groups = [list(range(len(examples)))] if examples and fault is None else []
        if self.evaluates and groups:
            groups = by_size(examples)
        batches = [self.collate([examples[i] for i in group]) for group in groups]
        truths = [[examples[i].truth for i in group] for group in groups] if self.evaluates else ()
        return Loaded(batches, truths, len(items), self.source.ledger.drain(), fault)


def by_size(examples: Sequence[Example[Any]]) -> list[list[int]]:
    """The places of examples of one size, a list a size: a prediction must not depend on its neighbours.

    Pictures that are padded to others' size see padding where alone they would see their own border.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, example in enumerate(examples):
        groups.setdefault(tuple(example.image.shape), []).append(place)
    return list(groups.values())


class Batches:
    """The keys of one epoch's batches, from `start` on; `set` moves to another epoch before each pass.

    With several processes each takes its share of every batch: the batches do not depend on their number.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        weights: NDArray[np.float64] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.size, self.batch_size, self.seed, self.weights = size, min(batch_size, size), seed, weights
        self.rank, self.world = rank, world
        self.epoch = self.start = 0

    def set(self, epoch: int, start: int) -> None:
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Steps an epoch: an incomplete last batch is left out (another epoch's order has its pictures)."""
        return self.size // self.batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        order = epoch_order(self.seed, self.epoch, self.size, self.weights)
        for step in range(self.start, len(self)):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield [(self.epoch, int(index)) for index in batch[self.rank :: self.world]]


def evaluation_keys(size: int, batch_size: int, rank: int, world: int) -> list[list[Key]]:
    """Every picture once, over all processes; the last batch may be small."""
    indices = range(rank, size, world)
    return [[(0, i) for i in indices[n : n + batch_size]] for n in range(0, len(indices), batch_size)]


def _start_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # so does SIGTERM from a launcher
    cv2.setNumThreads(0)  # OpenCV's own threads hang after a fork


def build_loader(
    pictures: Pictures,
    batches: Any,
    collate: Callable[[Sequence[Example[Any]]], Batch],
    *,
    workers: int,
    pin_memory: bool,
    evaluates: bool = False,
) -> DataLoader[Any]:
    """A loader that yields `Loaded`; its workers live as long as it does."""
    return DataLoader(
        pictures,
        batch_sampler=batches,
        collate_fn=Collate(collate, pictures.source, evaluates=evaluates),
        num_workers=workers,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else each pass draws from the global one
    )


def checked(loader: DataLoader[Any], source: Source[Any]) -> Iterator[Loaded]:
    """Pass on what the workers loaded; enter what they skipped into the ledger, raise the faults they met.

    Raises:
        DataError: a record of the data set is wrong.
        RunError: a worker was killed (`run_faults` catches what torch says of it elsewhere).
    """
    iterator = iter(loader)
    while True:
        try:
            loaded: Loaded = next(iterator)
        except StopIteration:
            return
        except (pickle.UnpicklingError, EOFError, ConnectionError) as error:
            raise lost_worker(error) from error
        if loaded.fault is not None:
            raise loaded.fault
        source.ledger.extend(loaded.entries)
        yield loaded
