"""A trained network, opened: what `visiontasks.load` hands out. Importing this module leaves torch alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import PIL.Image
import PIL.ImageOps

from visiontasks.classes import ClassMap
from visiontasks.config_files import parse_config, read_config, section_model
from visiontasks.errors import ImageError, UsageError, WeightsError
from visiontasks.io.files import list_inputs, read_yaml
from visiontasks.io.images import MAX_PIXELS, read_image
from visiontasks.ledger import Ledger
from visiontasks.tasks import TASKS, load_task, official_networks
from visiontasks.types import Image, Task

if TYPE_CHECKING:
    from visiontasks.engine.model_files import OpenModel
    from visiontasks.engine.predict import Predicted, Tiling
    from visiontasks.explain.picture import Explanation, Method
    from visiontasks.io.weights import ModelRecord

P = TypeVar("P")
Name = TypeVar("Name")


@dataclass(frozen=True)
class Model(Generic[P]):
    """A network ready to use, with everything that belongs to it.

    >>> model = load("path/to/weights.safetensors")
    >>> model("photo.jpg").top(3)
    """

    name: str
    opened: OpenModel

    @property
    def task(self) -> Task[Any, P]:
        return self.opened.task

    @property
    def classes(self) -> ClassMap:
        return self.opened.classes

    def __call__(self, image: str | Path | Image | PIL.Image.Image) -> P:
        """The prediction for one picture: a path, an (H, W, 3) uint8 RGB array, or a Pillow picture.

        Raises: ImageError when it cannot be read.
        """
        predicted = next(iter(self._run([image], batch_size=1)))
        if predicted.fault is not None:
            raise predicted.fault
        result: P = predicted.prediction
        return result

    def predict(
        self, inputs: str | Path | Sequence[str | Path], batch_size: int = 8
    ) -> Iterator[tuple[Path, P]]:
        """(path, prediction) for files, folders and globs, in order. Constant memory.

        Raises:
            UsageError: an input does not exist. ImageError: a picture cannot be read.
        """
        typed = [inputs] if isinstance(inputs, str | Path) else inputs
        for predicted in self._run(list_inputs([str(item) for item in typed]), batch_size):
            if predicted.fault is not None:
                raise predicted.fault
            yield Path(predicted.name), predicted.prediction

    def stream(
        self,
        images: Iterable[Name],
        *,
        batch_size: int = 8,
        max_pixels: int = MAX_PIXELS,
        tile: int | None = None,
        overlap: float = 0.25,
        ledger: Ledger | None = None,
    ) -> Iterator[Predicted[Name]]:
        """As `predict`, with pictures, times, and faults handed over instead of raised.

        Args:
            images: paths, arrays or Pillow pictures; taken as they are needed.
            batch_size: pictures, or tiles, a step. max_pixels: pictures with more are faults.
            tile: side of the squares that pictures are cut into, original pixels; None = whole pictures.
            overlap: share of a tile that its neighbour sees too, below 1.
            ledger: where a file of another format than its name says is noted.

        Raises:
            UsageError: the task has no tiles. RunError: memory ran out. DataError: from a strict ledger.
        """
        from visiontasks.engine.predict import Tiling

        if tile is not None and self.task.stitcher is None:
            raise UsageError(f"expected whole pictures to {self.task.verb}, found a tile size; leave it out")
        tiling = None if tile is None else Tiling(tile, overlap)
        return self._run(images, batch_size, max_pixels, tiling, ledger)

    def explain(
        self,
        image: str | Path | Image | PIL.Image.Image,
        target: str | None = None,
        method: Method | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
    ) -> Explanation:
        """Where on a picture a number of the prediction comes from; computed in float32.

        >>> model.explain("photo.jpg", "cat").draw()

        Args:
            image: as in a call of the model.
            target: a class, #N (detection N, 0 = the best), CLASS#N, Y,X (a pixel) or CLASS@Y,X; None = what
                the network is surest of.
            method: None = a class activation map at the last level of the backbone, of a
                detection or region at the last that is fine enough for it.
            max_pixels: of the picture; more are refused.

        Raises:
            UsageError: no such target or layer. ImageError: the picture cannot be read.
            RunError: memory ran out.
        """
        from visiontasks.engine.faults import run_faults
        from visiontasks.explain.picture import Method, explain_picture
        from visiontasks.explain.target import ask, parse_aim

        opened, task = self.opened, self.task
        aim = parse_aim(target, self.classes)
        pixels = as_image(image, max_pixels)
        image_id = str(image) if isinstance(image, str | Path) else "the picture"
        with run_faults("take a smaller picture, or lower --batch-size where the method has it"):
            batch = opened.batch_of(pixels, image_id)
            subject = ask(task, opened.network, batch, aim, opened.setting.options, self.classes)
            return explain_picture(pixels, subject, method or Method())

    def _run(
        self,
        images: Iterable[Name],
        batch_size: int,
        max_pixels: int = MAX_PIXELS,
        tiling: Tiling | None = None,
        ledger: Ledger | None = None,
    ) -> Iterator[Predicted[Name]]:
        from visiontasks.engine.faults import run_faults
        from visiontasks.engine.predict import predict as run_prediction

        with run_faults("lower --batch-size"):
            yield from run_prediction(
                self.task,
                self.opened.network,
                images,
                lambda image: as_image(image, max_pixels, ledger),
                self.opened.transform,
                self.opened.setting,
                batch_size=batch_size,
                tiling=tiling,
            )


def as_image(image: Any, max_pixels: int = MAX_PIXELS, ledger: Ledger | None = None) -> Image:
    """A path, array or Pillow picture as (H, W, 3) uint8 RGB, upright. Raises: as `read_image`."""
    if isinstance(image, str | Path):
        return read_image(Path(image), max_pixels=max_pixels, ledger=ledger)
    if isinstance(image, PIL.Image.Image):
        image = np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(
            f"array: expected a path, a Pillow picture or an (H, W, 3) uint8 RGB array, found {found}"
        )
    return image


def load(
    name: str | Path,
    *,
    task: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    method: str | None = None,
    options: Mapping[str, float] | None = None,
) -> Model[Any]:
    """Open a model: a bundled name, a weights file, a run's folder, or `torchvision:NAME` (a download).

    Args:
        name: see above.
        task: the task that it is wanted for (noun or verb). A model of another task is an error, but where
            this task can use it as its own (a classifier detects, by sliding windows).
        method: the kind of network that is wanted, for instance "sliding-window"; another one is an error.
        device: auto, cpu, cuda, cuda:N or mps. precision: auto, fp32, bf16 or fp16.
        options: replaces the file's operating point, for instance {"temperature": 1.5}.

    Raises:
        UsageError: no such model, device or option. WeightsError: the file is damaged or of another task.
    """
    from visiontasks.engine.device import choose_device
    from visiontasks.engine.model_files import open_model, read_model

    wanted = None if task is None else load_task(task)

    def accept(record: ModelRecord) -> None:
        if record.task not in TASKS:
            raise WeightsError(
                f"{name}: expected a model of {', '.join(TASKS)}, found one of '{record.task}'; "
                "update visiontasks"
            )
        regions = record.input.get("proposals")
        if isinstance(regions, Mapping) and regions.get("file") is not None and not Path(name).is_dir():
            raise WeightsError(
                f"{name}: expected a model that is whole in itself, found that its record names a file of "
                "regions; load the run's folder, or train with input.proposals.file: null"
            )
        if wanted is None or record.task == wanted.name:
            return
        if wanted.convert is None or record.task != "classification":
            verb = load_task(record.task).verb
            raise UsageError(
                f"expected a model to {wanted.verb}, found one to {verb} ({name}); use visiontasks {verb}"
            )

    meant = "detection" if wanted is None else wanted.name
    tensors, record = read_model(str(name), official_networks(), task=meant, accept=accept)
    found = load_task(record.task)
    if wanted is not None and wanted.convert is not None and found.name != wanted.name:
        tensors, record = wanted.convert(record, tensors)
        found = wanted
    kind = str(record.model.get("name", found.name)).replace("_", "-")
    if method is not None and method != kind:
        raise UsageError(
            f"expected a network of the kind {method}, found {kind} ({name}); choose other weights"
        )
    opened = open_model(
        found, record, tensors, choose_device(device, precision), name=str(name), options=options or {}
    )
    return Model(str(name), opened)


def data_section(
    model: Model[Any],
    data: str | Path | None,
    map_class: Mapping[str, str],
    task: Task[Any, Any] | None = None,
) -> Any:
    """The data section of a model, its classes renamed to the model's.

    Args:
        model: a loaded model.
        data: a DATA.yaml, or a config that has one as its section; None = what the model was trained with, as
            its file says.
        map_class: {name in the data: name in the model}, where they differ.
        task: whose data it is; None = the model's.

    Raises: UsageError, ConfigError, DataError: there is no such data, or no such class.
    """
    task = task or model.task
    lines: Mapping[tuple[str, ...], int] = {}
    if data is not None:
        file = str(data)
        values, lines = read_yaml(read_config(Path(data)))
        if isinstance(values.get("data"), Mapping):
            if values.get("task") != task.name:
                found = f"task: {values['task']}" if "task" in values else "a config without a task"
                raise UsageError(f"{file}: expected data for {task.name}, found {found}; give another file")
            values = values["data"]
            lines = {key[1:]: line for key, line in lines.items() if key[0] == "data" and len(key) > 1}
    else:
        file, config = model.name, model.opened.record.provenance.get("config")
        if not isinstance(config, Mapping) or not isinstance(config.get("data"), Mapping):
            raise UsageError(f"{file} does not say which data it was trained with; give --data DATA.yaml")
        values = dict(config["data"])
    for name in map_class.values():
        model.classes.index(name, where="--map-class")
    if map_class:
        named = values.get("classes")
        values = {**values, "classes": {**(named if isinstance(named, Mapping) else {}), **map_class}}
    return parse_config(section_model(task.config, "data"), values, file=file, lines=lines)
