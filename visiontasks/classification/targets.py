"""The number that an explanation of a classifier is about: the logit of a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from visiontasks.classes import ClassMap
from visiontasks.errors import UsageError
from visiontasks.types import Aim, ImageInfo


def settle_aim(
    network: Any,
    raw: Tensor,
    infos: Sequence[ImageInfo],
    aim: Aim,
    options: Mapping[str, float],
    classes: ClassMap,
) -> Aim:
    """The class, the predicted one where none is given. raw: logits (B, K).

    Raises: UsageError for a detection or a point.
    """
    if aim.detection is not None or aim.point is not None:
        found = (
            f"detection #{aim.detection}" if aim.point is None else f"the point {aim.point[0]},{aim.point[1]}"
        )
        raise UsageError(
            f"expected a class as the target of a classifier, found {found}; give a class's name"
        )
    return aim if aim.class_index is not None else replace(aim, class_index=int(raw[0].argmax()))


def target_score(network: Any, raw: Tensor, infos: Sequence[ImageInfo], aim: Aim) -> Tensor:
    """(B,) float32: the logit of the class. raw: logits (B, K)."""
    assert aim.class_index is not None
    return raw[:, aim.class_index].float()


def anywhere(size: tuple[int, int]) -> None:
    """A class has no place. size: (height, width)."""
