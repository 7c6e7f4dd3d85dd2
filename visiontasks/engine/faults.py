"""What torch says of a killed process or of memory that ran out, in our words, wherever it says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch

from visiontasks.errors import RunError

OUT_OF_MEMORY = ("alloc", "Storage size calculation overflowed")  # the CPU has no class of error for it
LOST_WORKER = "DataLoader worker (pid"  # how torch's message begins


@contextmanager
def run_faults(remedy: str) -> Iterator[None]:
    """Turn torch's errors about memory and lost processes into ours; others pass.

    Args:
        remedy: what to do when memory ran out.

    Raises: RunError.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise RunError(f"memory ran out; {remedy}") from error
    except cv2.error as error:
        if "Insufficient memory" not in str(error):
            raise
        raise RunError(f"memory ran out; {remedy}") from error
    except RuntimeError as error:
        if str(error).startswith(LOST_WORKER):
            raise lost_worker(error) from error
        if any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise RunError(f"memory ran out; {remedy}") from error
        raise


def lost_worker(error: Exception) -> RunError:
    """The error for a process that died while it prepared pictures."""
    cause = (str(error) or type(error).__name__).splitlines()[0]
    return RunError(
        f"a process that prepares pictures ended: {cause}; if memory ran out, lower train.workers"
    )
