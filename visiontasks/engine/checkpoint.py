"""The folder of a run and the state in it: what makes a resume exact."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from visiontasks.errors import DataError, UsageError, WeightsError
from visiontasks.io.files import remove_stale_temporaries, write_atomic

STATE_VERSION = 2


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where the files of a run lie (design section 6)."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def state(self) -> Path:
        return self.path / "state" / "last.pt"

    def weights(self, which: str) -> Path:
        return self.path / "weights" / f"{which}.safetensors"

    def check_free(self, *, overwrite: bool) -> None:
        """Raises: UsageError when it exists and holds something, unless `overwrite` and it is a run's."""
        if self.path.exists() and any(self.path.iterdir() if self.path.is_dir() else [self.path]):
            if not overwrite:
                raise UsageError(
                    f"{self.path} exists; go on with --resume, replace it with --overwrite, or choose -o"
                )
            if not self.config.exists():
                raise UsageError(
                    f"expected a run's folder at {self.path}, found no config.yaml in it; not overwritten"
                )

    def create(self) -> None:
        """Make an empty run folder in the place of an earlier one."""
        if self.path.exists():
            shutil.rmtree(self.path)
        for folder in ("weights", "state", "samples", "plots"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)

    def open(self) -> None:
        """Take up an existing run again. Raises: UsageError when there is nothing to resume."""
        if not self.config.exists():
            raise UsageError(
                f"expected a run to resume at {self.path}, found none; start it without --resume"
            )
        for folder in ("", "weights", "state"):
            remove_stale_temporaries(self.path / folder)


def save_state(folder: RunFolder, state: Mapping[str, Any]) -> None:
    """Write the run's state in one piece. Raises: RunError when the disk is full."""
    buffer = io.BytesIO()
    torch.save({"version": STATE_VERSION, **state}, buffer)
    write_atomic(folder.state, buffer.getvalue())


def load_state(folder: RunFolder) -> dict[str, Any] | None:
    """The run's state, on the CPU; None when the run stopped before it saved any. Executes no code.

    Raises: WeightsError when the file is damaged or of another version.
    """
    if not folder.state.exists():
        if read_metrics(folder):
            raise WeightsError(
                f"{folder.state}: expected the run's state, found none; start anew with --overwrite"
            )
        return None
    try:
        state: Any = torch.load(folder.state, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler meets damaged bytes: it raises nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"{folder.state}: expected a run's state, found a damaged file ({reason}); "
            "start anew with --overwrite, or from weights/last.safetensors with model.weights"
        ) from error
    found = state.get("version") if isinstance(state, dict) else type(state).__name__
    if found != STATE_VERSION:
        raise WeightsError(
            f"{folder.state}: expected state version {STATE_VERSION}, found {found}; start the run anew with "
            "--overwrite"
        )
    return dict(state)


def check_same_data(state: Mapping[str, Any], fingerprints: Mapping[str, str], *, allow: bool) -> None:
    """Refuse to go on with other data: {split: fingerprint}. Raises: DataError unless `allow`."""
    began = state["fingerprints"]
    changed = [split for split in {**began, **fingerprints} if began.get(split) != fingerprints.get(split)]
    if changed and not allow:
        raise DataError(
            "expected the data that the run started with, found other pictures, labels or classes in "
            f"{' and '.join(changed)}; restore them, start anew with --overwrite, or accept with "
            "--allow-data-change"
        )


def read_metrics(folder: RunFolder) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, one an epoch; a line cut off by a crash is left out, and what follows it."""
    rows: list[dict[str, Any]] = []
    if folder.metrics.exists():
        for line in folder.metrics.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # no JSON, or no UTF-8
                break
            if not isinstance(row, dict) or "epoch" not in row:
                break
            rows.append(row)
    return rows
