"""A classifier: a backbone, and a head that turns its levels into one score a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.label_smoothing, self.mirror = label_smoothing, mirror
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.head(self.backbone(batch.images))
        if self.mirror and not self.training:
            mirrored: Tensor = self.head(self.backbone(batch.images.flip(3)))
            return (logits + mirrored) / 2
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
