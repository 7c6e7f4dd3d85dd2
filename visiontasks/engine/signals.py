"""SIGTERM and SIGINT: finish the step, save, exit; a second SIGINT quits at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """`signum` is the signal that asked to stop; 0 = none did."""

    signum = 0


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Note the first signal instead of dying from it; the second has its usual effect."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # only the main one may handle signals
        yield stop
        return

    def note(signum: int, _: FrameType | None) -> None:
        stop.signum = signum
        for handled in HANDLED:
            signal.signal(handled, signal.SIG_DFL)

    before = {handled: signal.signal(handled, note) for handled in HANDLED}
    try:
        yield stop
    finally:
        for handled, handler in before.items():
            signal.signal(handled, handler)
