"""How a network's headline metric falls while its pictures are attacked: a curve over epsilon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from visiontasks.errors import number_of
from visiontasks.explain.attack import Attack, Predict, attack_batch
from visiontasks.io.files import write_atomic, write_csv, write_json
from visiontasks.plots import plot_robustness
from visiontasks.types import Batch, Evaluator

SAMPLE: Final = 7  # stream of random numbers for the choice of pictures


@dataclass(frozen=True, slots=True)
class Robustness:
    """What a data set's metrics are under an attack.

    headline: name of the metric that counts. protocol: of the numbers. images: how many were measured.
    numbers: {epsilon: {name: fraction in [0, 1], nan = undefined}}.
    """

    attack: Attack
    headline: str
    protocol: str
    images: int
    numbers: Mapping[int, Mapping[str, float]]


def choose_pictures(size: int, most: int | None, seed: int) -> Sequence[int]:
    """The places of at most so many of `size` pictures, ascending; which ones is up to the seed."""
    if most is None or most >= size:
        return range(size)
    chosen: list[int] = np.sort(np.random.default_rng([seed, SAMPLE]).permutation(size)[:most]).tolist()
    return chosen


def measure_robustness(
    network: Any,
    batches: Iterable[tuple[Batch, Sequence[Any]]],
    evaluators: Sequence[Evaluator[Any, Any]],
    predict: Predict,
    mean: Sequence[float],
    std: Sequence[float],
    attack: Attack,
    headline: str,
) -> Robustness:
    """Attack each picture of a data set by its own truth, and measure; one pass, a batch in memory.

    Args:
        network: in evaluation mode.
        batches: uint8 pictures with targets, and their truths in original pixels.
        evaluators: a fresh one for each epsilon.
        predict: of a batch of uint8 pictures; as an evaluation does it.
        mean, std: of the pictures, a number a channel, as fractions of 255.
        attack: what is done.
        headline: name of the metric that counts.
    """
    images = 0
    for batch, truths in batches:
        images += len(truths)
        changed = attack_batch(network, batch, mean, std, attack)
        for attacked, evaluator in zip(changed, evaluators, strict=True):
            evaluator.update(predict(attacked), truths, attacked.infos)
    numbers = {
        epsilon: evaluator.compute() for epsilon, evaluator in zip(attack.epsilons, evaluators, strict=True)
    }
    return Robustness(attack, headline, evaluators[0].protocol, images, numbers)


def write_robustness(folder: Path, found: Robustness, frame: Mapping[str, Any]) -> None:
    """robustness.csv (a row an epsilon), robustness.png, and attack.json with the classes' numbers.

    frame: fields that go before the others; the model's name is `model`.
    """
    attack, headline = found.attack, found.headline
    names = list(dict.fromkeys(name for row in found.numbers.values() for name in row if "/" not in name))
    names.sort(key=lambda name: not (name == headline or name.startswith(f"{headline}@")))
    rows = [
        [epsilon, *(row.get(name, float("nan")) for name in names)] for epsilon, row in found.numbers.items()
    ]
    write_csv(folder / "robustness.csv", ["epsilon", *names], rows)
    steps = f", {attack.steps} steps" if attack.method == "pgd" else ""
    title = f"{frame['model']}: {attack.method.upper()}{steps}, {number_of(found.images, 'picture')}"
    write_atomic(folder / "robustness.png", plot_robustness(found.numbers, headline, title))
    content = {
        **frame,
        **describe_attack(attack),
        "pictures": found.images,
        "headline": headline,
        "protocol": found.protocol,
        "robustness": [{"epsilon": epsilon, **row} for epsilon, row in found.numbers.items()],
    }
    write_json(folder / "attack.json", content)


def describe_attack(attack: Attack) -> dict[str, Any]:
    """The attack as JSON fields."""
    walk = {"steps": attack.steps, "seed": attack.seed} if attack.method == "pgd" else {}
    return {"method": attack.method, "epsilon_unit": "1/255", "epsilons": list(attack.epsilons), **walk}
