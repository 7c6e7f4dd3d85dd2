"""What torch says of a killed process or of memory that ran out, in our words, wherever it says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from visiontasks.errors import RunError

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
    except RuntimeError as error:
        if str(error).startswith(LOST_WORKER):
            raise lost_worker(error) from error
        if "alloc" in str(error):  # the CPU's allocator has no class of its own
            raise RunError(f"memory ran out; {remedy}") from error
        raise


def lost_worker(error: Exception) -> RunError:
    """The error for a process that died while it prepared pictures."""
    cause = str(error).splitlines()[0]
    return RunError(
        f"a process that prepares pictures ended: {cause}; if memory ran out, lower train.workers"
    )
