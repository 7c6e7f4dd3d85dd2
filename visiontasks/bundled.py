"""The models that come with the package: which one a verb uses unasked, and what each says of itself.

Imports no torch. A bundled model is `weights/NAME.safetensors` with a card, `weights/NAME.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visiontasks.errors import UsageError, WeightsError
from visiontasks.io.files import read_bytes
from visiontasks.io.weights import ModelRecord, bundled_weights, read_record
from visiontasks.tasks import load_task

DEFAULTS: Final = {  # task -> the model that its verb uses without -w
    "classification": "tiny-imagenet",
    "detection": "objects200",
    "segmentation": "camvid",
}
ALTERNATIVES: Final = {  # task -> what there is where the default knows too little
    "classification": "for ImageNet's 1000 use -w torchvision:mobilenet_v3_large, a download of 21 MB",
    "detection": "for COCO's 80 use -w coco, a download of 74 MB",
    "segmentation": "for Pascal VOC's 21 classes use -w coco, a download of 12 MB",
}
MOST_MB: Final = 15.0  # of one bundled file; 1 MB = 10^6 bytes
MOST_MB_TOGETHER: Final = 45.0
MOST_LOST: Final = 0.002  # of the headline figure, by rounding to fp16
MAX_CARD_BYTES: Final = 1 << 20
SPLITS: Final = ("test", "val")  # whose figure comes first
TO_DO: Final = "TO DO"  # what a card must say and only a person can
SECTIONS: Final = ("Data and its terms", "How it was made", "Figures", "Limits", "Must not be used for")

Number = float | None  # None = undefined


class Figures(BaseModel):
    """What a model measures on one split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pictures: int = Field(..., ge=1, description="of the split")
    protocol: str = Field(..., min_length=1, description="how the numbers are counted")
    device: str = Field(..., min_length=1, description="and precision they were measured with")
    metrics: dict[str, Number] = Field(..., description="overall figures with their intervals")
    full_precision: Number = Field(..., description="the headline figure before rounding to fp16")


class Notes(BaseModel):
    """The provenance of a bundled model: all that its card and `visiontasks models` say of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: str = Field(..., min_length=1, description="what it knows, in a few words")
    data_name: str = Field(..., min_length=1, description="what it was trained on")
    licence: str = Field(..., min_length=1, description="terms of the data")
    recipe: str = Field(..., pattern=r"^configs/.+\.yaml$", description="config that makes it")
    command: str = Field(..., min_length=1, description="command that makes it")
    measured: dict[str, Figures] = Field(..., min_length=1, description="by split")
    operating_point: str = Field(..., description="what was chosen on val; empty = the task's own")
    parameters: int = Field(..., ge=1, description="numbers that were learned")
    minutes: float = Field(..., gt=0, description="of training")
    trained_on: str = Field(..., min_length=1, description="device of the training")
    config: dict[str, Any] = Field(..., description="the recipe, resolved")
    data: str = Field(..., min_length=1, description="fingerprint of the training data")
    date: str = Field(..., min_length=1, description="of the training")
    visiontasks: str = Field(..., min_length=1, description="version that trained it")


def notes_of(record: ModelRecord, file: Path) -> Notes:
    """Raises: WeightsError naming the first field that is missing or wrong."""
    try:
        return Notes.model_validate(record.provenance)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise WeightsError(
            f"{file}: expected the record of a bundled model, found in provenance.{where}: {fault['msg']}; "
            "make it with tools/bundle"
        ) from None


def headline(record: ModelRecord, notes: Notes) -> tuple[str, str, Number]:
    """(split, metric, value): the figure that a model is known by; of test, else of val."""
    name = load_task(record.task).headline
    split = next(split for split in (*SPLITS, *notes.measured) if split in notes.measured)
    return split, name, notes.measured[split].metrics.get(name)


def default_model(task: str) -> tuple[str, str]:
    """The bundled model that a verb uses unasked: (its name, a line on what it knows and what else there is).

    Args:
        task: noun.

    Raises: UsageError where it is not bundled.
    """
    name, bundled = DEFAULTS[task], bundled_weights()
    if name not in bundled:
        raise UsageError(
            f"no model for {task} is bundled with this version; say which with -w: a weights file, a run's "
            "folder or torchvision:NAME (visiontasks models lists them)"
        )
    notes = notes_of(read_record(bundled[name]), bundled[name])
    known = f"{name}: {notes.summary} (data's terms: {notes.licence})"
    return name, f"{known}; {ALTERNATIVES[task]}; visiontasks models lists all"


def figure_rows(metrics: Mapping[str, Number]) -> list[str]:
    """A row of a card's table for each figure: `| top1 | 0.6120 (0.6020 to 0.6210) |`."""
    return [
        f"| {name} | {number_text(value)}{interval_text(metrics, name)} |"
        for name, value in metrics.items()
        if "@" not in name
    ]


def number_text(value: Number) -> str:
    """Four decimals; records of files hold None where a number is undefined."""
    return "undefined" if value is None or math.isnan(value) else f"{value:.4f}"


def interval_text(metrics: Mapping[str, Number], name: str) -> str:
    """` (low to high)`; nothing where there is no interval."""
    low, high = metrics.get(f"{name}@low"), metrics.get(f"{name}@high")
    return "" if low is None or high is None else f" ({number_text(low)} to {number_text(high)})"


def find_faults(files: Mapping[str, Path]) -> list[str]:
    """What is wrong with bundled models and their cards, a line each: {name: file}."""
    faults = [fault for name, file in files.items() for fault in _faults_of(name, file)]
    total = sum(megabytes(file) for file in files.values())
    if total > MOST_MB_TOGETHER:
        faults.append(f"expected at most {MOST_MB_TOGETHER:g} MB of bundled models, found {total:.1f}")
    return faults


def megabytes(file: Path) -> float:
    """Size of a file, 10^6 bytes."""
    return file.stat().st_size / 1e6


def _faults_of(name: str, file: Path) -> list[str]:
    faults = []
    if megabytes(file) > MOST_MB:
        faults.append(f"{name}: expected at most {MOST_MB:g} MB, found {megabytes(file):.1f}")
    try:
        record = read_record(file)
        notes = notes_of(record, file)
    except WeightsError as error:
        return [*faults, str(error)]
    faults += [f"{name}: expected no path of a machine, found {path}" for path in machine_paths(notes.config)]
    card_file = file.with_suffix(".md")
    if not card_file.is_file():
        return [*faults, f"{name}: expected a card, found no {card_file.name}"]
    card = read_bytes(card_file, max_bytes=MAX_CARD_BYTES, what="a card", error=WeightsError).decode()
    wanted = [f"# {name}\n", notes.data_name, notes.licence, notes.recipe, notes.command]
    wanted += [f"\n## {section}\n" for section in SECTIONS]
    name_of = load_task(record.task).headline
    for figures in notes.measured.values():
        wanted += figure_rows(figures.metrics)
        full, half = figures.full_precision, figures.metrics.get(name_of)
        if full is not None and half is not None and full - half > MOST_LOST:
            faults.append(
                f"{name}: expected at most {MOST_LOST} lost by fp16, found {name_of} {full:.4f} -> {half:.4f}"
            )
    faults += [
        f"{card_file.name}: expected '{text.strip()}', not found" for text in wanted if text not in card
    ]
    if TO_DO in card:
        faults.append(f"{card_file.name}: expected all of it written, found '{TO_DO}'")
    return faults


def machine_paths(config: Any) -> list[str]:
    """The strings in a config that name a place on one machine: absolute, of a home, or upwards."""
    if isinstance(config, str):
        path = Path(config)
        return [config] if path.is_absolute() or config.startswith("~") or ".." in path.parts else []
    inner = config.values() if isinstance(config, Mapping) else config if isinstance(config, list) else ()
    return [path for value in inner for path in machine_paths(value)]
