"""A classifier: a backbone, and a head that turns its levels into one score a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visiontasks.classification.types import Classification
from visiontasks.types import Batch, ImageInfo


class Classifier(nn.Module):
    """images (B, 3, H, W) -> logits (B, K).

    Args:
        backbone: gives the levels.
        head: levels -> logits (B, K).
        class_weights: (K,) weight of each class in the loss, mean 1 over the training pictures.
        label_smoothing: share of the target that is spread over all classes, in [0, 1].
            Source: Szegedy et al. 2016 (arXiv 1512.00567, section 7).
        mirror: in evaluation mode average the logits of a picture and its mirror image.
        shift: in evaluation mode average the logits of a picture and itself moved, see `views`; pixels.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        class_weights: Tensor | None,
        label_smoothing: float,
        *,
        mirror: bool = False,
        shift: int = 0,
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.label_smoothing, self.mirror, self.shift = label_smoothing, mirror, shift
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        if self.training:
            return self._logits(batch.images)
        seen = views(batch.images, mirror=self.mirror, shift=self.shift)
        return torch.stack([weight * self._logits(images).float() for weight, images in seen]).sum(0)

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def loss(self, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy against targets (B, K) that sum to 1 (one class, or a mixture of two)."""
        loss = F.cross_entropy(
            raw.float(), batch.targets, weight=self.class_weights, label_smoothing=self.label_smoothing
        )
        return {"cross_entropy": loss}

    def decode(
        self, raw: Tensor, infos: Sequence[ImageInfo], options: Mapping[str, float]
    ) -> list[Classification]:
        """Probabilities, the logits divided by the option `temperature` first.

        Source: Guo et al. 2017 (arXiv 1706.04599, section 4.2).
        """
        probabilities = torch.softmax(raw.float() / options["temperature"], dim=1).cpu().numpy()
        return [Classification(row) for row in probabilities]


def views(images: Tensor, *, mirror: bool, shift: int) -> Iterator[tuple[float, Tensor]]:
    """What a picture is averaged over: (weight, images (B, C, H, W)), the weights summing to 1.

    Args:
        images: (B, C, H, W).
        mirror: each view, and its mirror image, left to right.
        shift: pixels; the picture itself counts half, and moved by so many pixels up and left, and down and
            right, a quarter each. What comes in at the rim is reflected. 0 = the picture alone.

    Source: Jordan 2024 (arXiv 2404.00498, section 3.5).
    """
    moved = [(1.0, images)]
    if shift:
        height, width = images.shape[2:]
        padded = F.pad(images, (shift,) * 4, mode="reflect").contiguous(memory_format=torch.channels_last)
        ends = padded[:, :, 2 * shift :, 2 * shift :], padded[:, :, :height, :width]
        moved = [(0.5, images), *((0.25, end) for end in ends)]
    for weight, view in moved:
        yield (weight / 2 if mirror else weight), view
        if mirror:
            yield weight / 2, view.flip(3)
