"""One look at every picture of a split: can it be read, how large is it, what does it show, roughly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visiontasks.errors import ImageError
from visiontasks.io.files import read_bytes
from visiontasks.io.images import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    Header,
    read_header,
    read_header_and_image,
)
from visiontasks.ledger import Ledger

SIDE: Final = 16  # of a thumbnail, pixels
LEAST_DEVIATION: Final = (
    1.0  # standard deviation of a channel, in 0..255, below which a picture shows nothing
)
_AT_ONCE: Final = 32  # pictures that a thread takes at a time


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What was seen of N pictures. A quick look reads headers alone: digests and thumbnails are empty.

    sizes: (N, 2) int64 height and width, upright; 0 where a picture can't be read.
    turned: (N,) bool, EXIF's orientation is not 1.
    blank: (N,) bool, one colour all over.
    digests: (N, 2) uint64, a hash of the file's bytes; 0 where it can't be read.
    thumbnails: (N, SIDE, SIDE, 3) uint8 RGB; 0 where it can't be read.
    faults: {picture: why it can't be read}.
    """

    sizes: NDArray[np.int64]
    turned: NDArray[np.bool_]
    blank: NDArray[np.bool_]
    digests: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    faults: dict[int, str]


def look(
    root: Path,
    files: Sequence[str],
    *,
    quick: bool = False,
    max_pixels: int = MAX_PIXELS,
    ledger: Ledger | None = None,
    advance: Callable[[int], None] | None = None,
) -> Looks:
    """Look at the pictures on all cores.

    Args:
        files: paths below root.
        quick: at their headers alone.
        max_pixels: pictures with more count as ones that can't be read.
        ledger: where a wrong file extension is noted.
        advance: is called, from any thread, with the number of pictures that were looked at since.
    """
    n = len(files)
    seen = 0 if quick else n
    looks = Looks(
        sizes=np.zeros((n, 2), dtype=np.int64),
        turned=np.zeros(n, dtype=np.bool_),
        blank=np.zeros(n, dtype=np.bool_),
        digests=np.zeros((seen, 2), dtype=np.uint64),
        thumbnails=np.zeros((seen, SIDE, SIDE, 3), dtype=np.uint8),
        faults={},
    )

    def look_at(start: int) -> None:
        places = range(start, min(start + _AT_ONCE, n))
        for place in places:
            path = root / files[place]
            try:
                if quick:
                    header = read_header(path, max_pixels=max_pixels, ledger=ledger)
                else:
                    header = _decode(path, place, looks, max_pixels, ledger)
            except ImageError as error:
                looks.faults[place] = str(error)
                continue
            looks.sizes[place] = header.height, header.width
            looks.turned[place] = header.orientation != 1
        if advance is not None:
            advance(len(places))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(look_at, range(0, n, _AT_ONCE)):
            pass
    return looks


def _decode(path: Path, place: int, looks: Looks, max_pixels: int, ledger: Ledger | None) -> Header:
    data = read_bytes(path, max_bytes=MAX_FILE_BYTES, what="a picture", error=ImageError)
    header, image = read_header_and_image(data, str(path), max_pixels=max_pixels, ledger=ledger)
    looks.blank[place] = bool(np.max(cv2.meanStdDev(image)[1]) < LEAST_DEVIATION)
    looks.thumbnails[place] = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    digest = hashlib.blake2b(data, digest_size=16).digest()
    looks.digests[place] = np.frombuffer(digest, dtype=np.uint64)
    return header


def join_looks(looks: Sequence[Looks]) -> Looks:
    """Several splits' pictures as one list, in their order."""
    starts = np.cumsum([0, *(len(one.sizes) for one in looks)]).tolist()
    return Looks(
        sizes=np.concatenate([one.sizes for one in looks]),
        turned=np.concatenate([one.turned for one in looks]),
        blank=np.concatenate([one.blank for one in looks]),
        digests=np.concatenate([one.digests for one in looks]),
        thumbnails=np.concatenate([one.thumbnails for one in looks]),
        faults={
            start + place: fault
            for start, one in zip(starts, looks, strict=False)
            for place, fault in one.faults.items()
        },
    )
