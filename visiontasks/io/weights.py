"""One-file models: tensors and the record that rebuilds the network, in one safetensors file.

A stranger's file can neither run code nor name other files to read: it holds numbers and one JSON string.
This module imports torch only where tensors are made.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visiontasks.classes import ClassMap
from visiontasks.errors import DataError, RunError, UsageError, WeightsError, unknown_name
from visiontasks.io.documents import decode_text, parse_json
from visiontasks.io.downloads import Download, torchvision_weights
from visiontasks.io.files import open_binary, read_bytes, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

FORMAT: Final = 1  # of the record; raised when older versions could not read it right
SUFFIX: Final = ".safetensors"
MAX_FILE_BYTES: Final = 8 << 30
MAX_HEADER_BYTES: Final = 4 << 20
BUNDLED: Final = Path(__file__).parents[1] / "weights"
_RECORD_KEY: Final = "visiontasks"
_FOREIGN: Final = (  # first bytes of what people try to load -> what it is
    (b"PK\x03\x04", "a PyTorch or zip file, which can run code"),
    (b"\x80", "a pickle, which can run code"),
    (b"\x89HDF", "an HDF5 file"),
)


class ModelRecord(BaseModel):
    """What a weights file says of itself: enough to rebuild the network and to know where it came from."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: int = Field(FORMAT, description="version of this record")
    task: str = Field(..., min_length=1, description="the task's noun")
    model: dict[str, Any] = Field(..., description="the config's `model` section; names no other weights")
    input: dict[str, Any] = Field(..., description="the config's `input` section: size rule, mean, std")
    classes: tuple[str, ...] = Field(..., min_length=1, description="class names, in order of their index")
    file_ids: tuple[int | str, ...] = Field((), description="the data set's own ids, or none")
    options: dict[str, float] = Field({}, description="operating point: thresholds, temperature")
    provenance: dict[str, Any] = Field({}, description="data, config, metrics, date, version")


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a set of tensors fits a network.

    matched, missing (from the file), unexpected (in the file only): names. reshaped: name -> (shape that the
    network expects, shape found).
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]

    @property
    def complete(self) -> bool:
        """Whether the tensors are exactly the network's."""
        return not (self.missing or self.unexpected or self.reshaped)

    def summary(self) -> str:
        """One line: counts, with the first name of each kind of misfit."""
        parts = [f"{len(self.matched)} tensors matched"]
        if self.missing:
            parts.append(f"{len(self.missing)} missing ({self.missing[0]}{_more(self.missing)})")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} unexpected ({self.unexpected[0]}{_more(self.unexpected)})")
        if self.reshaped:
            name, (expected, found) = next(iter(self.reshaped.items()))
            shapes = f"{name}: expected {list(expected)}, found {list(found)}{_more(self.reshaped)}"
            parts.append(f"{len(self.reshaped)} of another shape ({shapes})")
        return ", ".join(parts)


def _more(names: Any) -> str:
    return ", ..." if len(names) > 1 else ""


def check_tensors(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], *, strict: bool = False, file: object = ""
) -> Receipt:
    """Compare the names and shapes of a network's tensors with those of a file.

    Args:
        expected: a network's state dict.
        found: a file's tensors.
        strict: refuse any difference.
        file: where they come from, for the message.

    Raises: WeightsError when strict and not complete.
    """
    both = [name for name in expected if name in found]
    shapes = {name: (tuple(expected[name].shape), tuple(found[name].shape)) for name in both}
    receipt = Receipt(
        matched=tuple(name for name in both if shapes[name][0] == shapes[name][1]),
        missing=tuple(name for name in expected if name not in found),
        unexpected=tuple(name for name in found if name not in expected),
        reshaped={name: pair for name, pair in shapes.items() if pair[0] != pair[1]},
    )
    if strict and not receipt.complete:
        raise WeightsError(f"{file}: expected exactly the tensors of the network, found {receipt.summary()}")
    return receipt


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], record: ModelRecord, *, half: bool = False
) -> None:
    """Write a one-file model in one piece; the same tensors and record give the same bytes.

    Args:
        tensors: a state dict, on any device; tensors that share memory are stored once each.
        half: store the weights of convolutions and linear layers (floats of two or more dimensions) as fp16;
            norm layers, statistics and biases stay fp32, and so does what fp16 can't hold.

    Raises: RunError when a tensor is not finite or the file can't be written.
    """
    from safetensors.torch import save

    stored = {name: _storable(name, tensor, path, half=half) for name, tensor in tensors.items()}
    write_atomic(path, save(stored, metadata={_RECORD_KEY: record.model_dump_json()}))


def _storable(name: str, tensor: Tensor, path: Path, *, half: bool) -> Tensor:
    import torch

    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        if not torch.isfinite(tensor).all():
            raise RunError(f"{path}: expected finite weights to save, found NaN or infinity in {name}")
        halved = tensor.half() if half and tensor.ndim >= 2 else tensor
        tensor = halved if torch.isfinite(halved).all() else tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def load_weights(path: Path) -> tuple[dict[str, Tensor], ModelRecord]:
    """Read a one-file model: its tensors (floating ones as fp32, on the CPU) and its record.

    Raises: WeightsError for any other file, a damaged one, a newer format, or values that are not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_bytes(path, max_bytes=MAX_FILE_BYTES, what="a weights file", error=WeightsError)
    record = _parse_record(data[: 8 + MAX_HEADER_BYTES], len(data), path)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"{path}: expected a whole weights file, found a damaged one ({reason}); copy it again"
        ) from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[name] = tensor.to(torch.float32)
            if not torch.isfinite(tensors[name]).all():
                raise WeightsError(f"{path}: expected finite weights, found NaN or infinity in {name}")
    return tensors, record


def read_record(path: Path) -> ModelRecord:
    """The record of a one-file model, from the file's header; imports no torch. Raises: as `load_weights`."""
    with open_binary(path, max_bytes=MAX_FILE_BYTES, what="a weights file", error=WeightsError) as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = file.read(8)
        start = length + file.read(min(MAX_HEADER_BYTES, int.from_bytes(length, "little")))
    return _parse_record(start, size, path)


def _parse_record(start: bytes, size: int, path: Path) -> ModelRecord:
    """The record in the head of a file of `size` bytes; `start`: the whole header, if that is in bounds."""
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
    if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES) or start[8:9] != b"{":
        found = next((what for magic, what in _FOREIGN if start.startswith(magic)), "another or damaged file")
        raise WeightsError(f"{path}: expected a {SUFFIX} weights file of visiontasks, found {found}")
    try:
        header = parse_json(decode_text(start[8 : 8 + length], str(path)), str(path), allow_nan=False)
        metadata = header.get("__metadata__")
        text = metadata.get(_RECORD_KEY) if isinstance(metadata, dict) else None
        if not isinstance(text, str):
            raise WeightsError(
                f"{path}: expected a weights file of visiontasks, found tensors without its record; "
                "a state dict alone does not say how to rebuild the network"
            )
        values = parse_json(text, f"{path} (record)", allow_nan=False)
    except DataError as error:
        raise WeightsError(f"{error}; the weights file is damaged") from None
    return _check_record(values, path)


def _check_record(values: Any, path: Path) -> ModelRecord:
    version = values.get("format") if isinstance(values, dict) else None
    if version != FORMAT:
        remedy = "update visiontasks" if isinstance(version, int) and version > FORMAT else "train it anew"
        raise WeightsError(f"{path}: expected record format {FORMAT}, found {json.dumps(version)}; {remedy}")
    try:
        record = ModelRecord.model_validate(values)
        ClassMap(record.classes, record.file_ids)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise WeightsError(
            f"{path}: expected a record of a model, found in '{where}': {fault['msg']}"
        ) from None
    except DataError as error:
        raise WeightsError(f"{path}: {error}; the weights file is damaged") from None
    if record.model.get("weights") is not None:
        raise WeightsError(
            f"{path}: expected a model that is whole in itself, found that its record names other weights "
            f"({json.dumps(record.model['weights'])[:100]})"
        )
    return record


def bundled_weights() -> dict[str, Path]:
    """The models that come with the package: name -> file."""
    return {path.stem: path for path in sorted(BUNDLED.glob(f"*{SUFFIX}"))}


SHORT_NAMES: Final = {  # short name -> task -> what it stands for: a small network of torchvision's
    "coco": {
        "detection": "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn",
        "segmentation": "torchvision:lraspp_mobilenet_v3_large",
        "classification": "torchvision:mobilenet_v3_large",
    }
}


def resolve_weights(name: str, task: str = "detection") -> Path | Download:
    """What a user's `-w NAME` means.

    Args:
        name: a bundled name; a weights file; a run's folder (its best weights, else its last);
            `torchvision:NAME`; `coco`, the small one of a task among these.
        task: the noun of that task.

    Returns:
        A file for `load_weights`, or what to `download`; nothing is fetched here.

    Raises: UsageError when there is no such thing.
    """
    if name.startswith("torchvision:") or name in SHORT_NAMES:
        return torchvision_weights(SHORT_NAMES[name][task] if name in SHORT_NAMES else name)
    bundled = bundled_weights()
    if name in bundled:
        return bundled[name]
    path = Path(name)
    if path.is_dir():
        for which in ("best", "last"):
            candidate = path / "weights" / f"{which}{SUFFIX}"
            if candidate.is_file():
                return candidate
        raise UsageError(f"{name}: expected a run's folder, found no weights/best{SUFFIX} in it")
    if path.exists():
        return path
    if len(path.parts) > 1 or path.suffix:
        raise UsageError(f"expected a weights file or a run's folder, found nothing at '{name}'")
    others = ["a weights file", "a run's folder", "torchvision:NAME", *SHORT_NAMES]
    raise UsageError(unknown_name("model", name, [*bundled, *others]))
