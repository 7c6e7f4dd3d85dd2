"""COCO's run lengths: the pixels of an object as counts of 0 and 1 in turn, column by column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visiontasks.errors import DataError, short

_MOST_BITS: Final = 40  # of a count: more than any picture has pixels


def check_run_length(encoded: Mapping[str, Any], size: tuple[int, int] | None, where: str) -> tuple[int, int]:
    """Check that a run length covers its picture; a decoder that trusts it reads other memory.

    Args:
        encoded: {"size": [height, width], "counts": list of int, or COCO's compressed text}, as in a file.
        size: (height, width) of the picture; None = not known here.
        where: file and record, for messages.

    Returns:
        The run length's own (height, width), px.

    Raises: DataError for another size than the picture's, counts that are none, or another sum.
    """
    given, counts = encoded.get("size"), encoded.get("counts")
    if not isinstance(given, list) or len(given) != 2 or not all(type(n) is int and n >= 0 for n in given):
        raise DataError(f"{where}: expected a run length with size [height, width], found {short(given)}")
    height, width = given
    if size is not None and (height, width) != size:
        raise DataError(
            f"{where}: expected a run length of the picture's size {list(size)}, found {given}; "
            "mend or remove the record"
        )
    if isinstance(counts, str):
        runs = decode_counts(counts)
    elif isinstance(counts, list) and all(type(n) is int and abs(n) < 1 << _MOST_BITS for n in counts):
        runs = np.array(counts, dtype=np.int64)
    else:
        runs = None
    if runs is None or (runs < 0).any():
        raise DataError(f"{where}: expected counts of a run length, found {short(counts)}; mend or remove it")
    if runs.sum() != height * width:
        raise DataError(
            f"{where}: expected run lengths that sum to {height} x {width} = {height * width} pixels, "
            f"found {runs.sum()}; mend or remove the record"
        )
    return height, width


def decode_counts(text: str) -> NDArray[np.int64] | None:
    """The counts (R,) in COCO's compressed text; None where it is not one.

    Five bits a character (minus 48), the sixth says that more follow, low bits first; the highest bit of the
    last is the sign. From the fourth on, a count is stored as its difference to the one before the last.
    Source: pycocotools, common/maskApi.c, rleFrString.
    """
    codes = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8).astype(np.int64) - 48
    if not len(codes):
        return codes
    if np.min(codes) < 0 or np.max(codes) > 63 or codes[-1] & 32:
        return None
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() * 5 > _MOST_BITS:
        return None
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    values: NDArray[np.int64] = np.add.reduceat((codes & 31) << (5 * places), starts)
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
