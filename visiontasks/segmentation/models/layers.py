"""What the decoders are built of."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp import is_autocast_available


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """A convolution that keeps the size, batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def enlarge(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation to (height, width), in the number format that it gets; itself if it fits.

    Autocast would go over to float32 on a CPU, and with it all that is concatenated to the result.
    """
    if features.shape[-2:] == size:
        return features
    device = features.device.type
    with torch.autocast(device, enabled=False) if is_autocast_available(device) else nullcontext():
        return F.interpolate(features, size=size, mode="bilinear", align_corners=False)
