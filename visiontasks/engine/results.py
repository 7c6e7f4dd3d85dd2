"""The folder of a prediction command: predictions.json, drawn pictures, and the formats asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visiontasks.classes import ClassMap
from visiontasks.errors import ImageError, RunError, UsageError
from visiontasks.io.files import free_stem, write_atomic, write_json
from visiontasks.io.images import encode
from visiontasks.ledger import Ledger
from visiontasks.types import Evaluator, Image, Output, Task

DRAWN_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")  # formats that drawings are written in; others become PNG
RESULTS = (  # a folder that has one is a command's own
    "predictions.json",
    "metrics.json",
    "attack.json",
    "explanation.json",
    "worst.json",
    "dream.json",
    "stylize.json",
)


def result_folder(verb: str, out: Path | None, inputs: Sequence[Path] = ()) -> Path:
    """OUT, or the next free runs/<verb>/NNN; made.

    Raises: UsageError where an input, also behind a link, or something else lies; RunError as below.
    """
    folder = out or next_free_folder(Path("runs") / verb)
    if any(folder.resolve() in (path.resolve().parent, path.parent.resolve()) for path in inputs):
        raise UsageError(f"the results' folder {folder} holds an input; choose another with -o")
    make_result_folder(folder)
    return folder


def next_free_folder(parent: Path) -> Path:
    """`parent/001`, `parent/002`, ...: the first that does not exist, made."""
    for number in range(1, 1_000_000):
        folder = parent / f"{number:03}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(
                f"{folder}: could not be made ({error.strerror}); choose another with -o"
            ) from error
        return folder
    raise UsageError(f"{parent} is full; remove old results or choose -o")


def make_result_folder(path: Path) -> None:
    """Make a folder for results; an earlier command's results in it are replaced file by file.

    Raises: UsageError when the folder holds anything else, or is a file; RunError when it can't be made.
    """
    try:
        if path.exists() and not path.is_dir():
            raise UsageError(
                f"expected a folder for the results, found the file {path}; choose another with -o"
            )
        is_ours = any((path / name).exists() for name in RESULTS) and not (path / "config.yaml").exists()
        if path.is_dir() and any(path.iterdir()) and not is_ours:
            held = "a training run" if (path / "config.yaml").exists() else "other files"
            raise UsageError(f"{path} holds {held}; choose an empty or new folder with -o")
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path}: could not be made ({error.strerror}); choose another with -o") from error


class ResultFolder:
    """Writes the results of one command as they come; `close` writes the list of them.

    Args:
        path: an existing folder (see `result_folder`).
        task, classes, model: what made the results (`model` is its name).
        formats: further formats by name (`csv`).
        draw: whether to draw each picture. strict: refuse what had to be repaired, rather than list it.
    """

    def __init__(
        self,
        path: Path,
        task: Task[Any, Any],
        classes: ClassMap,
        model: str,
        *,
        formats: Sequence[str],
        draw: bool,
        strict: bool,
    ) -> None:
        self.path, self.task, self.classes, self.model, self.draw = path, task, classes, model, draw
        self.stems: set[str] = set()
        self.records: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []
        self.ledger = Ledger(strict)
        self.outputs: list[Output[Any]] = [task.outputs[name](path, classes) for name in formats]

    def add(self, file: str, image: Image, prediction: Any) -> None:
        """Write what belongs to one picture. image: (H, W, 3) uint8, original pixels."""
        suffix = Path(file).suffix if Path(file).suffix.lower() in DRAWN_SUFFIXES else ".png"
        name = free_stem(Path(file).stem, self.stems) + suffix
        record = self.task.record(prediction, self.classes, self.path, name)
        height, width = image.shape[:2]
        self.records.append({"file": file, "width": width, "height": height, **record})
        for output in self.outputs:
            output.add(file, (height, width), prediction)
        if self.draw:
            drawn = self.task.draw(image, prediction, self.classes)
            write_atomic(self.path / name, encode(drawn, Path(name).suffix))

    def skip(self, file: str, fault: ImageError) -> None:
        """Note a picture that could not be read."""
        self.skipped.append({"file": file, "reason": str(fault)})

    def close(self) -> Path:
        """Write predictions.json and the other formats. Returns the path of predictions.json."""
        for output in self.outputs:
            output.close()
        path = self.path / "predictions.json"
        write_json(path, self.content())
        return path

    def content(self) -> dict[str, Any]:
        """What predictions.json holds."""
        frame = {"task": self.task.name, "model": self.model, "classes": list(self.classes.names)}
        skipped = {one["file"] for one in self.skipped}
        repaired = sorted(str(entry) for entry in self.ledger.entries if entry.file not in skipped)
        return {**frame, "images": self.records, "skipped": self.skipped, "repaired": repaired}


def write_skipped(folder: Path, ledgers: Mapping[str, Ledger]) -> None:
    """skipped.json: {split: a line for all that could not be used as it was}."""
    listed = {split: [str(entry) for entry in ledger.entries] for split, ledger in ledgers.items()}
    write_json(folder / "skipped.json", listed)


def write_measurements(
    folder: Path, task: Task[Any, Any], numbers: Mapping[str, float], evaluator: Evaluator[Any, Any]
) -> None:
    """metrics.json (flat, with the protocol), tables.json and plots/ of one evaluation."""
    tables = evaluator.tables()
    for name, png in task.plots(tables).items():
        write_atomic(folder / "plots" / name, png)
    write_json(folder / "tables.json", tables)
    write_json(folder / "metrics.json", {**numbers, "protocol": evaluator.protocol})
