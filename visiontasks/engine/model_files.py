"""A network and its one file: written after an epoch, opened to predict, taken as a start to fine-tune."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from visiontasks import __version__
from visiontasks.backbones import torchvision_names
from visiontasks.backbones.official import Adopted, adopt_classifier
from visiontasks.classes import ClassMap, difference
from visiontasks.config_files import parse_config, section_model
from visiontasks.engine.device import Device
from visiontasks.engine.infer import Setting
from visiontasks.errors import UsageError, WeightsError, unknown_name
from visiontasks.io.downloads import Download, download, load_torchvision_state
from visiontasks.io.weights import ModelRecord, check_tensors, load_weights, resolve_weights, save_weights
from visiontasks.types import Batch, Image, Sample, Source, Task, Transform

Official = Mapping[str, Callable[[Download], Adopted]]  # torchvision's name -> as one of our models

POSITIVE: Final = ("temperature", "max_detections")  # options that cannot be 0


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A network as its file describes it, on a device, in evaluation mode.

    input: the section of the config that its transform is made from.
    """

    task: Task[Any, Any]
    network: Any
    classes: ClassMap
    input: Any
    setting: Setting
    record: ModelRecord

    @property
    def transform(self) -> Transform[Any]:
        """The deterministic one, of evaluation and prediction; made anew."""
        return self.task.build_transform(self.input, None, self.classes, None)

    @property
    def evaluation_setting(self) -> Setting:
        """With the options that the task is measured with, whatever the file stores."""
        return replace(self.setting, options={**self.setting.options, **self.task.evaluate_options})

    def batch_of(self, image: Image, image_id: int | str) -> Batch:
        """One picture (H, W, 3) uint8 without a truth, on the device, normalised."""
        example = self.transform(Sample(image, None, image_id), np.random.default_rng(0), None)
        return self.setting.device.load(self.task.collate([example]), self.setting.mean, self.setting.std)


def record_of(
    task: Task[Any, Any], config: Any, source: Source[Any], numbers: Mapping[str, float]
) -> ModelRecord:
    """What a run's weights file says of itself."""
    return ModelRecord(
        task=task.name,
        model=config.model.model_copy(update={"weights": None}).model_dump(mode="json"),
        input=config.input.model_dump(mode="json"),
        classes=source.classes.names,
        file_ids=source.classes.file_ids,
        options=dict(task.decode_options),
        provenance={
            "config": config.model_dump(mode="json"),
            "data": source.fingerprint,
            "metrics": {name: value for name, value in numbers.items() if "/" not in name},
            "date": datetime.now(UTC).date().isoformat(),
            "visiontasks": __version__,
        },
    )


def save_model(path: Path, network: nn.Module, record: ModelRecord) -> None:
    """Write a network as one file. Raises: RunError when the disk is full."""
    save_weights(path, network.state_dict(), record)


def open_model(
    task: Task[Any, Any],
    record: ModelRecord,
    tensors: Mapping[str, Tensor],
    device: Device,
    *,
    name: str,
    options: Mapping[str, float],
) -> OpenModel:
    """Rebuild a network from what its file holds.

    Args:
        task: the record's task.
        record, tensors: the file's content.
        device: where the network shall run.
        name: the file's name, for messages.
        options: values that replace the record's operating point.

    Raises:
        WeightsError: tensors are missing or have another shape, or no network has the record's sizes.
        ConfigError: the record's sections are not valid.
        UsageError: an option does not exist, or has no such value.
    """
    if fault := option_fault(task, record.options):
        raise WeightsError(f"{name}: {fault}; the file is damaged, or of another version")
    classes = ClassMap(tuple(record.classes), tuple(record.file_ids))
    section = parse_config(section_model(task.config, "model"), record.model, file=name)
    receipt = check_tensors(_shapes(task, section, classes, name), tensors)
    if not receipt.complete:
        raise WeightsError(
            f"{name}: expected the tensors of its own model record, found {receipt.summary()}; "
            "use the version of visiontasks that wrote it, or train anew"
        )
    network: Any = task.build_model(section, classes, None, None)
    network.load_state_dict(dict(tensors))
    device.place(network).eval()
    input = parse_config(section_model(task.config, "input"), record.input, file=name)
    return OpenModel(
        task, network, classes, input, setting_of(task, input, device, {**record.options, **options}), record
    )


def _shapes(task: Task[Any, Any], section: Any, classes: ClassMap, name: str) -> dict[str, Tensor]:
    """A network's tensors, without memory for them: a small file may describe one that nothing can hold."""
    try:
        with torch.device("meta"):
            shapes: dict[str, Tensor] = task.build_model(section, classes, None, None).state_dict()
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"{name}: expected a record of a network that can be built, found one that can't ({reason})"
        ) from None
    return shapes


def option_fault(task: Task[Any, Any], options: Mapping[str, float]) -> str | None:
    """What is wrong with an operating point, None where nothing is."""
    for name, value in options.items():
        if name not in task.decode_options:
            return f"expected an option of {task.name} ({', '.join(task.decode_options)}), found '{name}'"
        if not 0 <= value < math.inf or (value == 0 and name in POSITIVE):
            return f"expected {name} {'above 0' if name in POSITIVE else 'of 0 or more'}, found {value}"
    return None


def setting_of(task: Task[Any, Any], input: Any, device: Device, options: Mapping[str, float]) -> Setting:
    """Raises: UsageError for an option that the task does not have, or that has no such value."""
    if fault := option_fault(task, options):
        raise UsageError(fault)
    return Setting(device, input.mean, input.std, {**task.decode_options, **options})


def read_model(
    name: str,
    official: Official,
    *,
    task: str = "detection",
    accept: Callable[[ModelRecord], None] | None = None,
) -> tuple[dict[str, Tensor], ModelRecord]:
    """The content of a model by name: a bundled name, a file, a run's folder, `torchvision:NAME`.

    Args:
        name: see `resolve_weights`.
        official: the published networks that may be meant, as `Task.official`.
        task: the noun of the task that `coco` is wanted for.
        accept: called with the record before anything is downloaded; may raise.

    Raises:
        UsageError: no such model. WeightsError: the file is damaged. DataError: a download failed.
    """
    found = resolve_weights(name, task)
    if isinstance(found, Download):
        if found.model not in official:
            raise UsageError(unknown_name("torchvision model", found.model, official))
        record, convert = official[found.model](found)
        if accept is not None:
            accept(record)
        return convert(load_torchvision_state(download(found.url, sha_prefix=found.sha_prefix))), record
    tensors, record = load_weights(found)
    if accept is not None:
        accept(record)
    return tensors, record


def initialise(network: nn.Module, name: str, task: Task[Any, Any], classes: ClassMap, input: Any) -> str:
    """Start a network from another's tensors: the backbone's, and the rest if task and classes are the same.

    From another task's model also what `Task.carry` finds in it. What a network is only `fitted` with at the
    end of a training is left out.

    Args:
        network: changed in place; tensors that do not fit keep their values.
        name: as in `read_model`; any task.
        task, classes, input: of the network; `input` is its section of the config.

    Returns:
        The receipt, one line: what was taken and what not, and whether the weights saw other pixel values.

    Raises:
        UsageError, WeightsError: as `read_model`; WeightsError also when a part of the backbone would stay as
            it is, because the weights have no tensor of that name and shape.
    """
    official = {**dict.fromkeys(torchvision_names(), adopt_classifier), **task.official}
    tensors, record = read_model(name, official, task=task.name)
    anew = _why_anew(record, task, classes)
    offered = {key: tensor for key, tensor in tensors.items() if not anew or key.startswith("backbone.")}
    fitted = getattr(network, "fitted", ())
    wanted = {key: tensor for key, tensor in network.state_dict().items() if key not in fitted}
    rest = "the head"
    if record.task != task.name and task.carry is not None:
        carried = task.carry(record, tensors, classes)
        carried = {key: tensor for key, tensor in carried.items() if key in wanted}
        offered, rest = {**offered, **carried}, "the rest of the head" if carried else rest
    receipt = check_tensors(wanted, offered)
    lacking = [key for key in (*receipt.missing, *receipt.reshaped) if key.startswith("backbone.")]
    if lacking:
        theirs = {key: record.model[key] for key in ("backbone", "options") if key in record.model}
        raise WeightsError(
            f"{name}: expected all tensors of this backbone, found {len(lacking)} missing or of another "
            f"shape ({lacking[0]}, ...); set in `model:` what they were trained with: {json.dumps(theirs)}"
        )
    network.load_state_dict({key: offered[key] for key in receipt.matched}, strict=False)
    line = f"weights from {name}: {receipt.summary()}{f'; {rest} starts anew ({anew})' if anew else ''}"
    return line + _other_pixels(record, input)


def _other_pixels(record: ModelRecord, input: Any) -> str:
    """What to say where the weights were trained on pixels of another mean or spread; empty where not."""
    return "".join(
        f"; warning: they expect input.{name} {record.input[name]}, found {list(getattr(input, name))}"
        for name in ("mean", "std")
        if record.input.get(name) not in (None, list(getattr(input, name)))
    )


def _why_anew(record: ModelRecord, task: Task[Any, Any], classes: ClassMap) -> str:
    """Why the head of a model does not fit a network of other classes; empty where it does."""
    theirs = ClassMap(tuple(record.classes))
    if record.task != task.name:
        return f"the weights are for {record.task}"
    if theirs.names == classes.names:
        return ""
    diff = difference(classes, theirs, ours_name="the data", theirs_name="the weights")
    return diff or "its classes have another order; to keep it, list them in data.classes as the weights do"
