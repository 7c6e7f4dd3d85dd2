"""A segmentation network: a backbone, a decoder, and what they have in common whatever they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visiontasks.backbones.levels import BackboneModule, CutNetwork
from visiontasks.errors import DataError
from visiontasks.ops import losses
from visiontasks.segmentation.model_config import LossConfig
from visiontasks.segmentation.models.layers import enlarge
from visiontasks.segmentation.models.positions import levels_with_positions
from visiontasks.segmentation.types import SegmentationMap
from visiontasks.types import Batch, ImageInfo

BAND_VALUES = 1 << 24  # logits that are enlarged at a time: 64 MiB


class Segmenter(nn.Module):
    """images (B, 3, H, W) -> logits (B, K, H, W) float32, at any H and W.

    Args:
        backbone: gives the levels.
        decoder: (levels, positions of the pools) -> logits (B, K, h, w), of any size.
        num_classes: K.
        loss: which losses, with which weights.
        class_weights: (K,) weight of each class in the loss; None = 1.
        with_positions: the decoder wants the positions, and the backbone's pools have them.
        mirror: in evaluation mode average the logits of a picture and its mirror image.
        with_offsets: `offsets` may be fitted (segmentation/class_offsets.py).

    Attributes:
        offsets: (K,) is added to the logits of each class; 0 until they are fitted at the end of a training.
        fitted: names of the tensors that come about so: a further training starts without them.
    """

    fitted = ("offsets",)

    class_weights: Tensor | None
    offsets: Tensor

    def __init__(
        self,
        backbone: BackboneModule,
        decoder: nn.Module,
        num_classes: int,
        loss: LossConfig,
        class_weights: Tensor | None,
        *,
        with_positions: bool = False,
        mirror: bool = False,
        with_offsets: bool = True,
    ) -> None:
        super().__init__()
        assert not with_positions or isinstance(backbone, CutNetwork)
        self.backbone, self.decoder = backbone, decoder
        self.loss_config, self.with_positions, self.mirror = loss, with_positions, mirror
        self.with_offsets = with_offsets
        self.register_buffer("offsets", torch.zeros(num_classes))
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        logits = self._logits(batch.images)
        if self.mirror and not self.training:
            return (logits + self._logits(batch.images.flip(3)).flip(3)) / 2
        return logits

    def _logits(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padded = pad_to_stride(images, self.backbone.strides[-1], self.backbone.minimum_size)
        if self.with_positions:
            assert isinstance(self.backbone, CutNetwork)
            levels, positions = levels_with_positions(self.backbone, padded)
        else:
            levels, positions = self.backbone(padded), ()
        logits: Tensor = self.decoder(levels, positions)
        logits = enlarge(logits.float() + self.offsets[:, None, None], (padded.shape[-2], padded.shape[-1]))
        return logits[:, :, :height, :width]

    def loss(self, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The terms whose weight is above 0, times their weights, over the batch's counted pixels.

        batch.targets: (B, H, W) integers, classes or 255 (ignored).
        """
        config, targets = self.loss_config, batch.targets.long()
        log_probabilities = torch.log_softmax(raw.float(), dim=1)
        terms: dict[str, Tensor] = {}
        if config.cross_entropy:
            entropy = losses.cross_entropy(log_probabilities, targets, self.class_weights)
            terms["cross_entropy"] = config.cross_entropy * entropy
        if config.focal:
            focal = losses.focal(log_probabilities, targets, self.class_weights, gamma=config.focal_gamma)
            terms["focal"] = config.focal * focal
        if config.dice:
            terms["dice"] = config.dice * losses.dice(log_probabilities, targets)
        if config.lovasz:
            step = config.lovasz_step
            lovasz = losses.lovasz_softmax(
                log_probabilities[:, :, ::step, ::step], targets[:, ::step, ::step]
            )
            terms["lovasz"] = config.lovasz * lovasz
        return terms

    def decode(
        self, raw: Tensor, infos: Sequence[ImageInfo], options: Mapping[str, float]
    ) -> list[SegmentationMap]:
        """The best class of each original pixel; equal logits give the lower index.

        Raises: DataError when logits are not finite.
        """
        return [
            SegmentationMap(best_classes(_shown(logits, info), (info.height, info.width)).cpu().numpy())
            for logits, info in zip(raw, infos, strict=True)
        ]

    def scores(self, raw: Tensor, infos: Sequence[ImageInfo]) -> list[Tensor]:
        """The logits of each picture in its original pixels: (K, height, width) float32.

        Raises: DataError when logits are not finite.
        """
        return [
            enlarge(_shown(logits, info)[None].float(), (info.height, info.width))[0]
            for logits, info in zip(raw, infos, strict=True)
        ]


def pad_to_stride(images: Tensor, stride: int, minimum: int) -> Tensor:
    """Pad pictures at the right and below with 0, the mean colour: sides become multiples of the stride.

    At least two strides, and `minimum` pixels: batch norm of one picture needs more than one position.

    Args:
        images: (B, 3, H, W), normalised.
    """
    smallest = max(2, -(-minimum // stride))
    bottom, right = (
        max(smallest, -(-side // stride)) * stride - side for side in (images.shape[-2], images.shape[-1])
    )
    return F.pad(images, (0, right, 0, bottom)) if bottom or right else images


def _shown(logits: Tensor, info: ImageInfo) -> Tensor:
    """The part of one picture's logits (K, H, W) that is no padding. Raises: DataError when not finite."""
    assert info.pad_top >= 0 and info.pad_left >= 0
    shown = logits[
        :,
        info.pad_top : info.pad_top + info.resized_height,
        info.pad_left : info.pad_left + info.resized_width,
    ]
    if not bool(torch.isfinite(shown.sum(dtype=torch.float32))):
        raise DataError(
            f"expected finite scores, found nan or inf for {info.image_id}; "
            "the network diverged, or its weights are damaged"
        )
    return shown


def best_classes(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The index of the largest logit at each pixel of an enlarged or shrunk picture, band by band.

    Args:
        logits: (K, h, w) float.
        size: (height, width) of the result.

    Returns:
        (height, width) uint8, on the same device; as if the logits were interpolated bilinearly at once.
    """
    if logits.shape[1:] == size:
        return logits.max(dim=0).indices.to(torch.uint8)
    height, width = size
    rows, last = logits.shape[1], logits.shape[1] - 1
    places = ((torch.arange(height, device=logits.device) + 0.5) * (rows / height) - 0.5).clamp(0, last)
    above = places.floor().long()
    share = (places - above).to(logits.dtype)[None, :, None]  # (1, height, 1), of the row below
    best = torch.empty(size, dtype=torch.uint8, device=logits.device)
    step = max(1, BAND_VALUES // (len(logits) * width))
    for start in range(0, height, step):
        band = slice(start, start + step)
        upper, lower = logits[:, above[band]], logits[:, (above[band] + 1).clamp(max=last)]
        mixed = torch.lerp(upper, lower, share[:, band])[None]  # (1, K, rows of the band, w)
        best[band] = enlarge(mixed, (mixed.shape[2], width))[0].max(dim=0).indices
    return best
