"""Which pictures of a training split are kept: the held-out share, and the first few of each class.

The choice depends on a picture's path and the seed alone, never on the order in which files are listed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visiontasks.classification.config import DataConfig
from visiontasks.classification.datasets.labelled_images import Listing
from visiontasks.io.listing import hashes
from visiontasks.splits import held_out


def select(listing: Listing, config: DataConfig, split: str) -> Listing:
    """The pictures of the training listing that belong to `split`, "train" or "val"."""
    places = np.arange(len(listing.paths), dtype=np.int64)
    if config.holdout > 0:
        ranks, counts = ranks_in_class(listing.paths, listing.labels, f"holdout {config.seed}")
        kept = held_out(counts, config.holdout)[listing.labels]
        places = places[(ranks < kept) == (split == "val")]
    if split == "train" and config.per_class is not None:
        paths, labels = [listing.paths[i] for i in places.tolist()], listing.labels[places]
        ranks, _ = ranks_in_class(paths, labels, f"per_class {config.seed}")
        places = places[ranks < config.per_class]
    return listing if len(places) == len(listing.paths) else listing.chosen(places)


def ranks_in_class(
    paths: Sequence[str], labels: NDArray[np.int64], salt: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The place (N,) of each picture among its class's, in the order of a hash of its path; and (K,) counts.

    Args:
        paths: N distinct paths.
        labels: (N,) class indices.
        salt: another one gives another order.
    """
    order = np.lexsort((hashes(paths, salt), labels))  # by class, then by hash
    counts = np.bincount(labels).astype(np.int64)
    starts = np.cumsum(counts) - counts
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - starts[labels[order]]
    return ranks, counts
