"""How far a map says what a network goes by: the pointing game, and what its best pixels are worth.

A number means something beside that of a map that knows nothing (`BASELINES`): large objects are easily
pointed at, and photographs have their objects in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from visiontasks.explain.target import Score, Subject
from visiontasks.types import Batch, ImageInfo

Region = NDArray[np.bool_]  # (H, W), original pixels

TOLERANCE: Final = 0.03  # of the longer side: the 15 pixels of Zhang et al., on pictures of 500
BLUR: Final = 5.0  # standard deviation, pixels of a picture whose longer side is 224 (Petsiuk et al.)
BLURRED_SIDE: Final = 224


def box_region(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> Region:
    """The pixels whose centres lie in one of the boxes (xyxy, original pixels). size: (height, width)."""
    region = np.zeros(size, dtype=np.bool_)
    for left, top, right, bottom in boxes:
        rows, columns = (
            slice(max(0, int(np.ceil(low - 0.5))), max(0, int(np.ceil(high - 0.5))))
            for low, high in ((top, bottom), (left, right))
        )
        region[rows, columns] = True
    return region


def widened(region: Region, tolerance: float) -> Region:
    """The pixels at most `tolerance` (of the longer side) away from the region, centre to centre."""
    if not region.any():
        return region
    away = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= tolerance * max(region.shape))


def pointing(subject: Subject, values: Tensor, region: Region, tolerance: float = TOLERANCE) -> float:
    """Whether the map's maximum lies in the region: 1 or 0; of several equal maxima the share that does.

    A constant map has the share of the picture that the region covers: what a random point hits.

    Source: Zhang et al. 2016 (arXiv 1608.00507, section 4.1), the pointing game: a hit within 15 pixels.

    Args:
        values: (h, w), network pixels; only those count that show the picture.
        region: what the map is about, original pixels.
        tolerance: see `widened`.
    """
    rows, columns = subject.frame
    seen = values[rows, columns]
    y, x = (seen == seen.amax()).nonzero().T.cpu().numpy()
    info: ImageInfo = subject.batch.infos[0]
    y = (y + rows.start - info.pad_top + 0.5) * info.height / info.resized_height
    x = (x + columns.start - info.pad_left + 0.5) * info.width / info.resized_width
    y = np.clip(y.astype(np.int64), 0, info.height - 1)
    x = np.clip(x.astype(np.int64), 0, info.width - 1)
    return float(np.mean(widened(region, tolerance)[y, x]))


def importance_order(subject: Subject, values: Tensor, seed: int = 0) -> Tensor:
    """The places of the picture's pixels in the flattened network input, largest value first; (N,) int64.

    Equal ones in an order that the seed draws: a constant map is a random order.
    """
    places = torch.arange(values.numel(), device=values.device).view(values.shape)[subject.frame].flatten()
    places = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))]
    order: Tensor = values.flatten()[places].sort(descending=True, stable=True).indices
    return places[order]


@torch.no_grad()
def replacement_curve(
    probability: Score, begin: Tensor, end: Tensor, order: Tensor, *, steps: int, batch_size: int
) -> Tensor:
    """The probability while pixels of one picture are replaced by those of another: (steps + 1,).

    Point i has the first round(i * N / steps) pixels of the order from `end`, the others from `begin`.

    Args:
        probability: of pictures (B, 3, H, W), normalised.
        begin, end: (1, 3, H, W), normalised.
        order: (N,) places in H * W. batch_size: points that are computed at once.
    """
    rank = torch.full((begin[0, 0].numel(),), len(order), device=begin.device)
    rank[order] = torch.arange(len(order), device=begin.device)
    counts = torch.tensor([round(i * len(order) / steps) for i in range(steps + 1)], device=begin.device)
    points = []
    for part in torch.split(counts, batch_size):
        replaced = (rank < part[:, None]).view(-1, 1, *begin.shape[-2:])  # (b, 1, H, W)
        points.append(probability(torch.where(replaced, end, begin)).float().cpu())
    return torch.cat(points)


def class_probability(subject: Subject, options: Mapping[str, float]) -> Score:
    """A classifier's probability of the target, of pictures (B, 3, H, W). options: the operating point."""
    chosen = subject.aim.class_index

    def probability(images: Tensor) -> Tensor:
        infos = list(subject.batch.infos) * len(images)
        found = subject.network.decode(subject.network(Batch(images, infos)), infos, options)
        return torch.tensor([float(one.probabilities[chosen]) for one in found])

    return probability


def deletion(
    probability: Score, subject: Subject, values: Tensor, *, steps: int, batch_size: int = 32, seed: int = 0
) -> float:
    """Area under the probability while the map's best pixels turn to the mean colour; small is good.

    Source: Petsiuk et al. 2018 (arXiv 1806.07421, section 4.1).

    Args:
        probability: of the target, for pictures (B, 3, H, W), normalised.
        values: (h, w), network pixels.
        steps: parts that the pixels are replaced in. batch_size: pictures at once. seed: of equal values.
    """
    image, order = subject.batch.images, importance_order(subject, values, seed)
    curve = replacement_curve(
        probability, image, torch.zeros_like(image), order, steps=steps, batch_size=batch_size
    )
    return float(torch.trapezoid(curve) / steps)


def insertion(
    probability: Score, subject: Subject, values: Tensor, *, steps: int, batch_size: int = 32, seed: int = 0
) -> float:
    """Area under the probability while the best pixels turn sharp on the blurred picture; large is good.

    The blur is Gaussian, of 5 pixels where the longer side has 224: a mean colour with a sharp patch on it
    would show an edge that is no part of the picture.

    Source: Petsiuk et al. 2018 (arXiv 1806.07421, section 4.1). Args: as `deletion`.
    """
    image, order = subject.batch.images, importance_order(subject, values, seed)
    curve = replacement_curve(probability, blurred(subject), image, order, steps=steps, batch_size=batch_size)
    return float(torch.trapezoid(curve) / steps)


def blurred(subject: Subject) -> Tensor:
    """The network's input with the picture blurred, (1, 3, H, W); mirrored at its edges, padding as it is."""
    rows, columns = subject.frame
    image = subject.batch.images.clone()
    shown = image[:, :, rows, columns]
    sigma = BLUR * max(shown.shape[-2:]) / BLURRED_SIDE
    radius = min(round(4 * sigma), min(shown.shape[-2:]) - 1)  # a mirror is no deeper than the picture
    image[:, :, rows, columns] = gaussian_blur(shown, [2 * radius + 1] * 2, [sigma] * 2)
    return image


def _centre(subject: Subject) -> Tensor:
    """Minus the squared distance to the picture's centre, of its sides."""
    rows, columns = subject.frame
    height, width = subject.batch.images.shape[-2:]
    y, x = (
        (torch.arange(length) + 0.5 - part.start) / (part.stop - part.start) - 0.5
        for length, part in ((height, rows), (width, columns))
    )
    distance: Tensor = y[:, None].square() + x.square()  # (H, W)
    return distance.neg().to(subject.batch.images.device)


def _constant(subject: Subject) -> Tensor:
    return torch.zeros(subject.batch.images.shape[-2:], device=subject.batch.images.device)


BASELINES: Final[Mapping[str, Callable[[Subject], Tensor]]] = {  # maps that do not look: (h, w)
    "random": _constant,  # all are maxima, and their order is drawn
    "centre": _centre,
}
