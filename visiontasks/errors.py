"""The faults a user can cause: one family, each with the exit code of the command that meets it.

A message is one line: what was expected, what was found (file, record), what to do.
"""

from __future__ import annotations

import difflib
import json
import re
import signal
from collections.abc import Iterable, Sequence
from typing import Any

MOST_CHOICES = 40  # that a message lists
MOST_CHARACTERS = 60  # of a value that a message shows
LONGEST_LINE = 3000  # characters of a message
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # line ends, and what steers a terminal


def one_line(text: str) -> str:
    """A message that may quote a file: controls become escapes, the middle of a very long one is left out."""
    text = _CONTROLS.sub(lambda match: repr(match[0])[1:-1], text)
    half = LONGEST_LINE // 2
    return text if len(text) <= LONGEST_LINE else f"{text[:half]} ... {text[-half:]}"


class VisionTasksError(Exception):
    """Base of every error that a user can cause; the command line prints its lines without a traceback."""

    exit_code = 3

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(one_line, lines)))


class UsageError(VisionTasksError):
    """A wrong flag, or a name that does not exist (a weights name, a verb's option)."""

    exit_code = 2


class ConfigError(VisionTasksError):
    """One or more faults in a run's config, all reported together (`faults`: one line each)."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(map(one_line, faults))
        super().__init__(*self.faults)


class DataError(VisionTasksError):
    """A file or record of a data set that cannot be used as it is; the command stops."""


class ImageError(DataError):
    """One picture that cannot be read: skipped and counted where many are processed.

    Its message is `<file>: expected <...>, found <...>`.
    """

    @property
    def file_and_reason(self) -> tuple[str, str]:
        """The message in two parts, for the ledger."""
        file, expected, rest = str(self).partition(": expected ")
        return (file, f"expected {rest}") if expected else ("", file)


class WeightsError(VisionTasksError):
    """A weights file that is damaged, malicious or does not fit the model."""


class RunError(VisionTasksError):
    """The run failed for a reason outside the input: disk full, NaN loss, a killed worker, out of memory."""

    exit_code = 4


class Interrupted(VisionTasksError):
    """Stopped by a signal, after saving. `exit_code`: 128 + the signal's number (130 SIGINT, 143 SIGTERM)."""

    def __init__(self, signum: int, message: str) -> None:
        self.signum = signum
        self.exit_code = 128 + signum
        super().__init__(f"{signal.Signals(signum).name}: {message}")


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> str:
    """The line for a name that does not exist: the nearest valid one and the choices, where they are few.

    >>> unknown_name("backbone", "resnt18", ["resnet18", "resnet34"])
    "unknown backbone 'resnt18'; did you mean 'resnet18'? choices: resnet18, resnet34"
    """
    names = sorted(choices)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    if len(names) > MOST_CHOICES:
        nearest = difflib.get_close_matches(name, names, n=MOST_CHOICES // 4, cutoff=0)
        return f"unknown {kind} '{name}'; {hint}the nearest of {len(names)} choices: {', '.join(nearest)}"
    return f"unknown {kind} '{name}'; {hint}choices: {', '.join(names)}"


def number_of(count: int, thing: str) -> str:
    """A number with its noun.

    >>> number_of(1, "picture"), number_of(0, "picture")
    ('1 picture', '0 pictures')
    """
    return f"{count} {thing}{'' if count == 1 else 's'}"


def short(value: Any) -> str:
    """A value of a JSON file, for a message.

    >>> short([1, "é"])
    '[1, "é"]'
    """
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."
