"""A classifier of windows that searches a picture: every window of every pyramid level, a pass a level.

Without padding (`backbone: small, options: {padded: false}`) the score of a window is that of the window
cut out, to rounding. Any other backbone works too, with these differences: around a window that is cut out
the network sees zeros, in a search it sees what lies there, which changes the features at the window's rim;
and squeeze-excitation (MobileNet, EfficientNet, RegNet Y) averages over the whole level, not the window.
Source: slides 2, "Sliding windows", "Detection across scales", "Non-max suppression".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visiontasks.backbones import build_backbone, build_classifier_head, build_linear_head
from visiontasks.backbones.heads import ClassifierHead
from visiontasks.backbones.levels import BackboneModule
from visiontasks.detection.config import LossConfig, SlidingWindowConfig
from visiontasks.detection.models.box_deltas import decode_boxes, encode_boxes
from visiontasks.detection.models.dense import feature_size, make_dense
from visiontasks.detection.models.detecting import LEAST_SIDE, detections_of
from visiontasks.detection.models.frames import centres_inside, clip_to_frames, picture_frames
from visiontasks.detection.models.losses import giou
from visiontasks.detection.types import IGNORED, BoxTarget, Detections, WindowTarget
from visiontasks.ops.boxes import cxcywh_to_xyxy, iou_matrix
from visiontasks.ops.nms import nms_by_group
from visiontasks.types import Batch, ImageInfo

BOX_WEIGHTS: Final = (10.0, 10.0, 5.0, 5.0)  # of offsets, as in R-CNN: about unit variance
POSITIVE_IOU: Final = 0.6  # of a searched window with an object, for the validation loss only
NEGATIVE_IOU: Final = 0.35
BACKGROUND_SHARE: Final = 0.6  # of the validation loss that background windows have


@dataclass(frozen=True, slots=True, eq=False)
class WindowScores:
    """What the network says of N windows of each of B pictures.

    logits: (B, N, K + 1) float32, the last of the background; (B, N, K) where it is not scored.
    offsets: (B, N, 4) float32, of the box from the window's core, times `BOX_WEIGHTS`; None: not refined.
    cores: (N, 4) float32 xyxy network px, the same in each picture; None for windows that were cut out.
    """

    logits: Tensor
    offsets: Tensor | None
    cores: Tensor | None


class SlidingWindow(nn.Module):
    """Pictures (B, 3, H, W) or windows (B, W, 3, h, w) -> WindowScores, by the same layers.

    Args:
        backbone: of which the last level is read.
        trunk: features -> what the two outputs read; its first layer joins all positions of a window.
        scores: the 1x1 convolution to the logits. offsets: that to the boxes; None = windows are the boxes.
        num_classes: K.
        config: window, pyramid and the rest of the model section.
        loss: weights.
    """

    def __init__(
        self,
        backbone: BackboneModule,
        trunk: nn.Module,
        scores: nn.Conv2d,
        offsets: nn.Conv2d | None,
        num_classes: int,
        config: SlidingWindowConfig,
        loss: LossConfig,
    ) -> None:
        super().__init__()
        self.backbone, self.trunk, self.scores, self.offsets = backbone, trunk, scores, offsets
        self.num_classes, self.config, self.loss_config = num_classes, config, loss
        self.stride = backbone.strides[-1]
        self.factors = pyramid_factors(config.scales, config.ratios)

    def forward(self, batch: Batch) -> WindowScores:
        images = batch.images
        if images.dim() == 5:
            logits, offsets = self.score(images.flatten(0, 1))  # (B * W, 1, C), (B * W, 1, 4)
            shape = images.shape[:2]
            return WindowScores(
                logits.view(*shape, -1), None if offsets is None else offsets.view(*shape, 4), None
            )  # (B, W, C), (B, W, 4)
        return self.search(images)

    def search(self, images: Tensor) -> WindowScores:
        """Score all windows of all levels of the pyramid of pictures (B, 3, H, W)."""
        levels = []
        for level in pyramid(images, self.factors, self.config.window, self.stride, self.config.overhang):
            cores = window_cores(level, self.config.window, self.stride, self.config.context)
            levels.append((*self.score(level.images), cores.to(images.device)))
        logits, offsets, cores_ = zip(*levels, strict=True)
        return WindowScores(
            torch.cat(logits, dim=1),
            torch.cat(offsets, dim=1) if self.offsets is not None else None,
            torch.cat(cores_),
        )

    def score(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Every window of pictures (B, 3, H, W), row by row: logits (B, N, C) and offsets (B, N, 4)."""
        features = self.trunk(self.backbone(images.contiguous(memory_format=torch.channels_last))[-1])
        offsets = None if self.offsets is None else _rows(self.offsets(features))
        return _rows(self.scores(features)), offsets

    def loss(self, raw: WindowScores, batch: Batch) -> dict[str, Tensor]:
        """How wrong windows are named, and their boxes placed; of a search, over all its windows."""
        if raw.cores is None:
            targets = list(batch.targets)
            labels = torch.stack([target.labels for target in targets])
            offsets = torch.stack([target.offsets for target in targets])
            shares = torch.full(labels.shape, 1 / labels.shape[1], device=labels.device)
        else:
            labels, offsets, shares = self._searched_targets(raw.cores, batch)
        is_object = (labels >= 0) & (labels < self.num_classes)
        used = labels != IGNORED if self.config.background else is_object
        errors = F.cross_entropy(raw.logits.transpose(1, 2), labels.where(used, 0), reduction="none")
        classes = (errors * shares * used).sum() / len(labels)
        losses = {"classification": self.loss_config.classification * classes}
        if raw.offsets is not None:
            errors = box_errors(raw.offsets, offsets, self.loss_config)
            boxes = (errors * shares * is_object).sum() / len(labels)
            losses["boxes"] = self.loss_config.boxes * boxes
        return losses

    def _searched_targets(self, cores: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """What the windows of a search show, (B, N), (B, N, 4), and their shares in the loss, (B, N)."""
        frames = picture_frames(batch.infos, cores.device)
        targets = [
            searched_target(cores, target, frame, self.num_classes)
            for target, frame in zip(batch.targets, frames, strict=True)
        ]
        labels = torch.stack([target.labels for target in targets])
        is_object, is_background = (labels >= 0) & (labels < self.num_classes), labels == self.num_classes
        shares = (1 - BACKGROUND_SHARE) * is_object / is_object.sum(dim=1, keepdim=True).clamp(min=1)
        shares += BACKGROUND_SHARE * is_background / is_background.sum(dim=1, keepdim=True).clamp(min=1)
        return labels, torch.stack([target.offsets for target in targets]), shares

    @torch.no_grad()
    def decode(
        self, raw: WindowScores, infos: Sequence[ImageInfo], options: Mapping[str, float]
    ) -> list[Detections]:
        """The best windows a class, as boxes in original pixels.

        Args:
            options: confidence (a probability must be above), iou (of two boxes of a class that overlap by
                more, the better stays), max_detections (a picture).
        """
        assert raw.cores is not None, "only whole pictures are decoded"
        probabilities = raw.logits.softmax(dim=2)[:, :, : self.num_classes]
        frames = picture_frames(infos, raw.cores.device)
        found = []
        for index, info in enumerate(infos):
            scores = probabilities[index] * centres_inside(raw.cores, frames[index])[:, None]  # (N, K)
            window, label = (scores > options["confidence"]).nonzero(as_tuple=True)
            values, best = scores[window, label].topk(min(len(window), self.config.candidates))
            window, label = window[best], label[best]
            boxes = raw.cores[window]
            if raw.offsets is not None:
                boxes = decode_boxes(raw.offsets[index, window], boxes, BOX_WEIGHTS)
            boxes = clip_to_frames(boxes, frames[index])
            large = (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(dim=1).nonzero()[:, 0]
            kept = large[nms_by_group(boxes[large], values[large], label[large], options["iou"])]
            kept = kept[: int(options["max_detections"])]
            found.append(detections_of(boxes[kept], label[kept], values[kept], info))
        return found


def box_errors(found: Tensor, wanted: Tensor, config: LossConfig) -> Tensor:
    """How far boxes are from where they shall be.

    Args:
        found: (B, N, 4) offsets times `BOX_WEIGHTS`. wanted: (B, N, 4) offsets.
        config: smooth L1 of the offsets, or 1 - GIoU of the boxes.

    Returns:
        (B, N).
    """
    if config.box_loss == "giou":
        core = found.new_tensor([0, 0, 1, 1]).expand_as(found)  # GIoU is the same at any scale
        return 1 - giou(decode_boxes(found, core, BOX_WEIGHTS), decode_boxes(wanted, core))
    wanted = wanted * wanted.new_tensor(BOX_WEIGHTS)
    return F.smooth_l1_loss(found, wanted, beta=config.beta, reduction="none").sum(dim=2)


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One level of a pyramid.

    images: (B, 3, h, w), with a margin for windows that hang over. factors: (vertical, horizontal), of its
    pixels per pixel of the picture. margins: (top, left), pixels.
    """

    images: Tensor
    factors: tuple[float, float]
    margins: tuple[int, int]


def pyramid_factors(scales: Sequence[float], ratios: Sequence[float]) -> list[tuple[float, float]]:
    """(vertical, horizontal) factors of each level: of scale s and ratio r they are s sqrt(r), s / sqrt(r).

    A square window then covers a box of width / height = r and of the area of scale s.
    """
    return [(scale * math.sqrt(ratio), scale / math.sqrt(ratio)) for scale in scales for ratio in ratios]


def pyramid(
    images: Tensor,
    factors: Sequence[tuple[float, float]],
    window: tuple[int, int],
    stride: int,
    overhang: float,
) -> Iterator[Level]:
    """Copies of pictures, each with its own vertical and horizontal factor.

    A level that a window does not fit into is left out; if none is left, there is the one that comes nearest
    to it, with margins to the size of the window.

    Args:
        images: (B, 3, H, W) float, normalised: 0 is the mean colour, which margins are filled with.
        factors: see `pyramid_factors`. window: (height, width). stride: of windows, pixels of a level.
        overhang: share of a window that may lie outside.
    """
    full = images.shape[2], images.shape[3]
    sizes = [_rounded(full, pair) for pair in factors]
    margins = _rounded(window, (overhang, overhang), least=0)
    fitting = [
        size
        for size in dict.fromkeys(sizes)
        if all(side + 2 * m >= w for side, m, w in zip(size, margins, window, strict=True))
    ]
    nearest = max(sizes, key=lambda size: min(size[0] / window[0], size[1] / window[1]))
    for size in fitting or [nearest]:
        level = images
        if size != full:
            level = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        (top, bottom), (left, right) = (
            _margin(side, w, stride, m) for side, w, m in zip(size, window, margins, strict=True)
        )
        yield Level(
            F.pad(level, (left, right, top, bottom)), (size[0] / full[0], size[1] / full[1]), (top, left)
        )


def _rounded(size: tuple[int, int], factors: tuple[float, float], least: int = 1) -> tuple[int, int]:
    return max(least, round(size[0] * factors[0])), max(least, round(size[1] * factors[1]))


def _margin(side: int, window: int, stride: int, margin: int) -> tuple[int, int]:
    """Pixels before and after a side, so that steps of `stride` end with a window that reaches the end."""
    if side + 2 * margin < window:
        return (window - side) // 2, window - side - (window - side) // 2
    steps = -(-(side + 2 * margin - window) // stride)
    return margin, steps * stride + window - side - margin


def window_cores(level: Level, window: tuple[int, int], stride: int, context: float) -> Tensor:
    """The cores (N, 4) float32 xyxy, pixels of the picture, of a level's windows, row by row."""
    rows, columns = ((side - w) // stride + 1 for side, w in zip(level.images.shape[2:], window, strict=True))
    y, x = (
        (torch.arange(count) * stride + w / 2 - margin) / factor
        for count, w, margin, factor in zip(
            (rows, columns), window, level.margins, level.factors, strict=True
        )
    )
    centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2).view(-1, 2)  # (N, 2)
    sides = torch.tensor([window[1] / level.factors[1], window[0] / level.factors[0]]) / context
    return cxcywh_to_xyxy(torch.cat([centres, sides.expand_as(centres)], dim=1))  # (N, 4)


def _rows(scores: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C) float32."""
    return scores.float().flatten(2).transpose(1, 2)


def searched_target(cores: Tensor, target: BoxTarget, frame: Tensor, num_classes: int) -> WindowTarget:
    """What the windows of a search show of one picture: objects, background, or neither one nor the other."""
    labels = torch.full((len(cores),), num_classes, device=cores.device)
    offsets = torch.zeros_like(cores)
    if len(target.labels):
        overlaps, best = iou_matrix(cores, target.boxes).max(dim=1)
        labels[overlaps > NEGATIVE_IOU] = IGNORED
        shows = overlaps >= POSITIVE_IOU
        labels[shows] = target.labels[best[shows]]
        offsets[shows] = encode_boxes(target.boxes[best[shows]], cores[shows])
    labels[~centres_inside(cores, frame)] = IGNORED
    return WindowTarget(labels, offsets)


def build_sliding_window(model: SlidingWindowConfig, num_classes: int, loss: LossConfig) -> SlidingWindow:
    """The network with random weights.

    Raises:
        ConfigError: the window is too small for the backbone. UsageError: its head cannot be made dense.
    """
    backbone = build_backbone(model.backbone, **model.options)
    size = feature_size(backbone, model.window)
    outputs = num_classes + model.background
    channels = backbone.channels[-1]
    if model.head == "convolution":
        convolution = nn.Conv2d(channels, model.hidden, size)
        layers = [convolution, nn.ReLU(inplace=True), nn.Dropout(model.dropout or 0.0)]
        scores = nn.Conv2d(model.hidden, outputs, 1)
    else:
        *layers, last = make_dense(build_classifier(model, backbone, outputs), size)
        assert isinstance(last, nn.Conv2d)
        scores = last
    offsets = None
    if model.refine:
        height, width = scores.kernel_size
        offsets = nn.Conv2d(scores.in_channels, 4, (height, width))
        nn.init.normal_(offsets.weight, std=0.001)
    trunk = nn.Sequential(*layers)
    return SlidingWindow(backbone, trunk, scores, offsets, num_classes, model, loss)


def build_classifier(model: SlidingWindowConfig, backbone: BackboneModule, outputs: int) -> ClassifierHead:
    """The head of a plain classifier, which reads a whole window: the family's own, or a linear one."""
    if model.head == "original":
        return build_classifier_head(model.backbone, backbone, outputs, model.dropout)
    return build_linear_head(backbone, outputs, model.dropout or 0.0)
