"""Pictures that are the same, or look the same: recompressed, rescaled, brighter, slightly cropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.data.pictures import SIDE, Looks, look
from visiontasks.ops.pairs import join_pairs

Ints = NDArray[np.int64]

LEAST_CORRELATION: Final = 0.9  # of thumbnails of one picture; found by looking at pairs of CIFAR-10
_TABLES: Final = 12  # of hash bits in which a pair may meet
_BITS: Final = 16  # of the 64 that a table looks at
_MOST_DIFFERENT: Final = 16  # of the 64 bits that may differ
_NEIGHBOURS: Final = 256  # pictures with the same bits that each is compared with
_AT_ONCE: Final = 4096  # thumbnails, or pairs of them, that are looked at together


def join_alike(root: Path, files: Sequence[str]) -> Ints:
    """Which pictures belong together as they show the same.

    files: N paths below root.

    Returns: (N,) numbers from 0, the same for pictures of one group; one that can't be read is alone.
    """
    looks = look(root, files)
    return join_pairs(len(files), np.concatenate([same_pairs(looks), alike_pairs(looks)]))


def same_pairs(looks: Looks) -> Ints:
    """(M, 2) pictures whose files are the same to the byte: each with the first of its kind."""
    read = np.flatnonzero(looks.digests.any(axis=1))
    _, first, group = np.unique(looks.digests[read], axis=0, return_index=True, return_inverse=True)
    pairs: Ints = np.column_stack([read[first[group.ravel()]], read])  # (N, 2)
    others: Ints = pairs[pairs[:, 0] != pairs[:, 1]]
    return others


def alike_pairs(looks: Looks) -> Ints:
    """(M, 2) pictures that look the same though their files differ; the lower place first, sorted.

    Of files that are the same only the first is looked at. Pairs are found by locality-sensitive hashing:
    similar pictures have similar hashes, so that all bits of some table agree (Indyk and Motwani 1998); their
    thumbnails then decide.
    """
    usable = looks.digests.any(axis=1) & ~looks.blank
    usable[same_pairs(looks)[:, 1]] = False
    places = np.flatnonzero(usable)
    thumbnails = looks.thumbnails[places]
    parts = [thumbnails[start : start + _AT_ONCE] for start in range(0, len(places), _AT_ONCE)]
    hashes = np.concatenate([np.zeros((0, 64), dtype=np.bool_), *map(perceptual_hashes, parts)])
    found = [pairs[_correlations(thumbnails, pairs) >= LEAST_CORRELATION] for pairs in _candidates(hashes)]
    pairs = np.sort(np.concatenate([np.zeros((0, 2), dtype=np.int64), *found]), axis=1)
    alike: Ints = places[np.unique(pairs, axis=0)]
    return alike


def perceptual_hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(N, 64) bits: which of the 64 lowest frequencies of the brightness are above their median.

    Source: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", section 3.2.1.
    """
    k, x = np.mgrid[1:9, :SIDE]
    cosines = np.cos(np.pi * k * (2 * x + 1) / (2 * SIDE)).astype(np.float32)  # (8, SIDE): DCT-II
    grey = thumbnails.mean(axis=3, dtype=np.float32)
    frequencies = (cosines @ grey @ cosines.T).reshape(-1, 64)  # (N, 64)
    bits: NDArray[np.bool_] = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return bits


def _candidates(hashes: NDArray[np.bool_]) -> Iterator[Ints]:
    """Pairs (M, 2) that share all bits of a table and differ in few of the others, each in one place or more.

    Within a table pictures are sorted by these bits, then by all: each meets the `_NEIGHBOURS` next.
    """
    packed = np.packbits(hashes, axis=1).view(np.uint64).ravel()  # (N,)
    rng = np.random.default_rng(0)
    for _ in range(_TABLES):
        key = (
            np.packbits(np.take(hashes, rng.permutation(64)[:_BITS], axis=1), axis=1).view(np.uint16).ravel()
        )  # (N,)
        order = np.lexsort((packed, key))
        for step in range(1, _NEIGHBOURS + 1):
            meet = np.flatnonzero(key[order[step:]] == key[order[:-step]])
            if not len(meet):
                break
            left, right = order[meet], order[meet + step]
            near = _differences(packed[left], packed[right]) <= _MOST_DIFFERENT
            yield np.column_stack([left[near], right[near]])


def _differences(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> Ints:
    """(M,) bits that differ."""
    bits = np.unpackbits((left ^ right).view(np.uint8)).reshape(-1, 64)  # (M, 64)
    counts: Ints = bits.sum(axis=1, dtype=np.int64)
    return counts


def _correlations(thumbnails: NDArray[np.uint8], pairs: Ints) -> NDArray[np.float32]:
    """(M,) correlation of two thumbnails in what neither their rows nor their columns have in common.

    Brightness does not count, and a sky above a ground makes no two pictures alike.
    """
    values = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), _AT_ONCE):
        left, right = thumbnails[pairs[start : start + _AT_ONCE].T].astype(np.float32)  # (n, h, w, 3) each
        for side in (left, right):
            side -= side.mean(axis=1, keepdims=True)
            side -= side.mean(axis=2, keepdims=True)
        products = np.einsum("nhwc,nhwc->n", left, right)
        lengths = np.einsum("nhwc,nhwc->n", left, left) * np.einsum("nhwc,nhwc->n", right, right)
        values[start : start + _AT_ONCE] = products / np.sqrt(np.maximum(lengths, 1e-12))
    return values
