"""What is explained: one number of a network's output, as a function of the network's input."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from visiontasks.classes import ClassMap
from visiontasks.errors import UsageError, unknown_name
from visiontasks.types import Aim, Batch, Task

Score = Callable[[Tensor], Tensor]  # pictures (B, 3, H, W), normalised -> (B,) logits, differentiable
_POINT = re.compile(r"(\d+)\s*,\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Subject:
    """One picture before a network, and which number of the output is asked about.

    batch: the picture alone, on the network's device, normalised float32; its padding is 0.
    aim: settled. value: the number. prediction: of the task, in original pixels.
    """

    task: Task[Any, Any]
    network: Any
    batch: Batch
    classes: ClassMap
    aim: Aim
    value: float
    prediction: Any

    def score(self, images: Tensor) -> Tensor:
        """A `Score`: the number for other pixels (B, 3, H, W) in the same frame."""
        count = len(images)
        proposals = None if self.batch.proposals is None else list(self.batch.proposals) * count
        infos = list(self.batch.infos) * count
        raw = self.network(Batch(images, infos, proposals=proposals))
        return self.task.targets().target_score(self.network, raw, infos, self.aim)

    @property
    def frame(self) -> tuple[slice, slice]:
        """Rows and columns of the network's input that show the picture; a part of it where it is cropped."""
        info, (height, width) = self.batch.infos[0], self.batch.images.shape[-2:]
        rows = slice(max(0, info.pad_top), min(height, info.pad_top + info.resized_height))
        return rows, slice(max(0, info.pad_left), min(width, info.pad_left + info.resized_width))

    @property
    def target(self) -> str:
        """What is asked about, in words: `cat`, `cat #2`, `road at 120,80`."""
        assert self.aim.class_index is not None
        name = self.classes.names[self.aim.class_index]
        if self.aim.detection is not None:
            return f"{name} #{self.aim.detection}"
        return name if self.aim.point is None else f"{name} at {self.aim.point[0]},{self.aim.point[1]}"


@torch.no_grad()
def ask(
    task: Task[Any, Any],
    network: Any,
    batch: Batch,
    aim: Aim,
    options: Mapping[str, float],
    classes: ClassMap,
) -> Subject:
    """Run the network once, to see what it predicts and what the aim means on this picture.

    Args:
        task: what the network does. network: in evaluation mode; float32, without autocast.
        batch: one picture, normalised.
        aim: what is asked about; by default what the network is surest of.
        options: the operating point. classes: of the network.

    Raises: UsageError where the picture has no such thing.
    """
    raw = network(batch)
    settled = task.targets().settle_aim(network, raw, batch.infos, aim, options, classes)
    value = float(task.targets().target_score(network, raw, batch.infos, settled)[0])
    prediction = network.decode(raw, batch.infos, options)[0]
    return Subject(task, network, batch, classes, settled, value, prediction)


def parse_aim(text: str | None, classes: ClassMap) -> Aim:
    """`cat`, `#0` (the best detection), `cat#1` (the second-best cat), `120,80` (row, column), `cat@120,80`.

    Args:
        text: None or empty = what the network is surest of. classes: of the network.

    Raises: UsageError for anything else, with the nearest class.
    """
    if not text:
        return Aim()
    if text in classes.names:  # a name may look like anything
        return Aim(classes.names.index(text))
    if point := _POINT.fullmatch(text.strip()):
        return Aim(point=(int(point[1]), int(point[2])))
    name, sign, rest = text.rpartition("#") if "#" in text else text.rpartition("@")
    point = _POINT.fullmatch(rest.strip())
    is_place = (sign == "#" and rest.isdecimal()) or (sign == "@" and point is not None)
    if not is_place:
        if sign:
            raise UsageError(
                f"expected a target CLASS, #DETECTION, CLASS#DETECTION, Y,X or CLASS@Y,X, found '{text}'"
            )
        raise UsageError(unknown_name("class", text, classes.names))
    aim = (
        Aim(detection=int(rest))
        if sign == "#"
        else Aim(point=(int(point[1]), int(point[2])) if point else None)
    )
    if not name:
        return aim
    if name not in classes.names:
        raise UsageError(unknown_name("class", name, classes.names))
    return replace(aim, class_index=classes.names.index(name))
