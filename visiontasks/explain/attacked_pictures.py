"""One picture under attack: what a network says before and after, and the files that show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from visiontasks.classes import ClassMap
from visiontasks.drawing import contact_sheet
from visiontasks.explain.attack import Attack, Predict, attack_batch, pixel_loss, shown_part
from visiontasks.io.files import write_atomic
from visiontasks.io.images import encode, read_image_bytes
from visiontasks.types import Image, Sample, Task, Transform

GREY: Final = 128  # of a pixel that did not change, in the picture of the difference
LARGEST_GAIN: Final = 127


@dataclass(frozen=True, slots=True)
class Victim:
    """A network with what an attack on a picture needs of it.

    network: in evaluation mode. transform: the deterministic one.
    mean, std: of the pictures, a number a channel, as fractions of 255.
    predict: of a batch of uint8 pictures. predict_image: of a whole picture, as the prediction verbs do.
    """

    task: Task[Any, Any]
    network: Any
    classes: ClassMap
    transform: Transform[Any]
    mean: Sequence[float]
    std: Sequence[float]
    predict: Predict
    predict_image: Callable[[Image], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """A picture that was changed by at most `epsilon`.

    png: the picture at the network's size, as a file's bytes. image: (h, w, 3) uint8, these bytes read back.
    prediction: for `image` as the network's input, in the pixels of the picture that was attacked.
    as_file: for the file as any other picture, in its own pixels. It differs where the model's transform
        scales and crops even a picture of the network's size, or searches the picture for proposals.
    loss: of `image`, against the prediction for the clean picture.
    """

    epsilon: int
    png: bytes
    image: Image
    prediction: Any
    as_file: Any
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class AttackedPicture:
    """What became of one picture.

    image: (H, W, 3) uint8, as it was given. clean: (h, w, 3) uint8, at the network's size.
    prediction, loss: for the clean picture; the prediction is what the attack leads away from.
    """

    image: Image
    clean: Image
    prediction: Any
    loss: float
    attacked: Sequence[Attacked]


def attack_picture(victim: Victim, image: Image, name: str, attack: Attack) -> AttackedPicture:
    """Lead a network away from what it says of a picture, of which no truth is known.

    Args:
        victim: the network.
        image: (H, W, 3) uint8.
        name: of the picture; the random start of PGD depends on it.
        attack: what is done.
    """
    task, rng = victim.task, np.random.default_rng(0)  # the deterministic transform draws nothing
    bare = victim.transform(Sample(image, None, name), rng, None)
    (before,) = victim.predict(task.collate([bare]))
    example = victim.transform(Sample(image, task.as_truth(before), name), rng, None)
    batch = task.collate([example]).to(next(victim.network.parameters()).device)
    rows, columns = shown_part(example.info)
    loss = pixel_loss(victim.network, batch, victim.mean, victim.std)
    attacked = []
    changed = attack_batch(victim.network, batch, victim.mean, victim.std, attack)
    for epsilon, other in zip(attack.epsilons, changed, strict=True):
        png = encode(_to_image(other.images[0, :, rows, columns]), ".png")
        read = read_image_bytes(png, name)
        pixels = other.images.clone()
        pixels[0, :, rows, columns] = torch.from_numpy(read).permute(2, 0, 1).to(pixels.device)  # (3, h, w)
        (after,) = victim.predict(replace(batch, images=pixels, targets=()))
        attacked.append(Attacked(epsilon, png, read, after, victim.predict_image(read), _value(loss, pixels)))
    clean = _to_image(batch.images[0, :, rows, columns])
    return AttackedPicture(image, clean, before, _value(loss, batch.images), attacked)


@torch.no_grad()
def _value(loss: Callable[[Tensor], Tensor], pixels: Tensor) -> float:
    return float(loss(pixels.to(torch.float32)))


def _to_image(pixels: Tensor) -> Image:
    """(3, h, w) uint8 -> (h, w, 3)."""
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())


def gain_of(epsilon: int) -> int:
    """By how much a difference is amplified so that the largest change is black or white."""
    return max(1, LARGEST_GAIN // max(1, epsilon))


def amplified_difference(clean: Image, changed: Image, gain: int) -> Image:
    """128 + gain * (changed - clean), cut to [0, 255]: (h, w, 3) uint8; grey where nothing changed."""
    difference = GREY + gain * (changed.astype(np.int32) - clean)
    return np.asarray(np.clip(difference, 0, 255), dtype=np.uint8)


def write_attacked(
    folder: Path, stem: str, file: str, found: AttackedPicture, victim: Victim
) -> dict[str, Any]:
    """Write the pictures of one input: adversarial/, difference/ and a sheet that shows all of it.

    Args:
        folder: of the results. stem: what the files are called. file: the input, as typed.
        found: what became of it. victim: the network.

    Returns:
        The JSON fields of the picture: what the network says `before` and, in `attacks`, after.
    """
    task, classes = victim.task, victim.classes
    rows, differences = [], []
    for one in found.attacked:
        name, gain = f"{stem}-{one.epsilon}.png", gain_of(one.epsilon)
        differences.append(amplified_difference(found.clean, one.image, gain))
        write_atomic(folder / "adversarial" / name, one.png)
        write_atomic(folder / "difference" / name, encode(differences[-1], ".png"))
        rows.append(
            {
                "epsilon": one.epsilon,
                "picture": f"adversarial/{name}",
                "difference": f"difference/{name}",
                "gain": gain,
                "loss": one.loss,
                "after": task.describe(one.prediction, classes),
                "as_file": task.describe(one.as_file, classes),
                **task.record(one.prediction, classes, folder, name),
            }
        )
    write_atomic(folder / f"{stem}.png", encode(_sheet(found, differences, victim), ".png"))
    height, width = found.image.shape[:2]
    return {
        "file": file,
        "width": width,
        "height": height,
        "before": task.describe(found.prediction, classes),
        "loss": found.loss,
        **task.record(found.prediction, classes, folder, f"{stem}-clean.png"),
        "attacks": rows,
    }


def _sheet(found: AttackedPicture, differences: Sequence[Image], victim: Victim) -> Image:
    """The picture and what is seen on it, clean and attacked; below each the amplified difference."""
    task, classes = victim.task, victim.classes
    drawn = [task.draw(found.image, found.prediction, classes)]
    drawn += [task.draw(one.image, one.as_file, classes) for one in found.attacked]
    said = [task.describe(found.prediction, classes)]
    said += [task.describe(one.as_file, classes) for one in found.attacked]
    names = ["the picture", *(f"epsilon {one.epsilon}/255, as a file" for one in found.attacked)]
    captions = [f"{name}\n{text}" for name, text in zip(names, said, strict=True)]
    captions += ["at the network's size"]
    captions += [f"difference x {gain_of(one.epsilon)}" for one in found.attacked]
    return contact_sheet([*drawn, found.clean, *differences], len(drawn), captions=captions)
