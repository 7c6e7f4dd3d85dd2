"""What a network is best told when its output is decoded, as chosen on validation pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What `decode` is best told, as found on pictures that the network was not trained on.

    options: {name: value}, some of the task's `decode_options`. gain: what it is good for, in figures.
    """

    options: Mapping[str, float]
    gain: str

    def __str__(self) -> str:
        chosen = ", ".join(f"{name} {value:.3g}" for name, value in self.options.items())
        return f"{chosen} ({self.gain})"
