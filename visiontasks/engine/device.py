"""Decides once where and in which number format a network runs, and brings batches there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from visiontasks.errors import UsageError
from visiontasks.types import Batch, ImageInfo

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Device:
    """Where a network runs: a torch device and the number format of its convolutions."""

    device: torch.device
    precision: str

    def __str__(self) -> str:
        return f"{self.device} {self.precision}"

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Mixed precision for the forward pass; does nothing in fp32."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.precision])

    def place(self, network: torch.nn.Module) -> torch.nn.Module:
        """Move a network here, its convolutions in channels_last order (2 to 4 times faster on CPUs)."""
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def load(self, batch: Batch, mean: Sequence[float], std: Sequence[float]) -> Batch:
        """Move a batch here and normalise its pictures.

        Args:
            batch: images (B, 3, H, W) uint8, or windows (B, W, 3, h, w).
            mean, std: a number a channel, as fractions of 255.

        Returns:
            The batch with float32 images: (pixel / 255 - mean) / std; 0 where there is only padding, as a
            convolution's own.
        """
        batch = batch.to(self.device)
        layout = torch.channels_last if batch.images.ndim == 4 else torch.preserve_format
        images = batch.images.to(torch.float32, memory_format=layout)
        scale = torch.tensor([1 / (255 * s) for s in std], device=self.device).view(3, 1, 1)
        shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=self.device)
        images = images.mul_(scale).add_(shift.view(3, 1, 1))
        if images.ndim == 4:
            _blank_padding(images, batch.infos)
        return replace(batch, images=images)


def _blank_padding(images: torch.Tensor, infos: Sequence[ImageInfo]) -> None:
    """Set to 0 what `infos` do not call picture. images: (B, 3, H, W), changed in place."""
    height, width = images.shape[-2:]
    for image, info in zip(images, infos, strict=True):
        bottom, right = info.pad_top + info.resized_height, info.pad_left + info.resized_width
        if info.pad_top > 0:
            image[:, : info.pad_top] = 0
        if info.pad_left > 0:
            image[:, :, : info.pad_left] = 0
        if bottom < height:
            image[:, bottom:] = 0
        if right < width:
            image[:, :, right:] = 0


def choose_device(name: str = "auto", precision: str = "auto") -> Device:
    """CUDA, else MPS, else CPU; bf16 where the hardware multiplies bf16 natively, else fp32.

    Args:
        name: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16 or fp16.

    Raises:
        UsageError: the device does not exist on this machine, or cannot compute in that precision.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"expected device auto, cpu, cuda, cuda:N or mps, found '{name}'") from None
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= available.get(device.type, 0):
        here = ", ".join(f"{kind} ({count})" for kind, count in available.items() if count)
        raise UsageError(f"device '{name}' does not exist on this machine; it has: {here}")
    if precision == "auto":
        precision = "bf16" if _multiplies_bf16(device) else "fp32"
    if precision not in DTYPES:
        raise UsageError(f"expected precision auto, fp32, bf16 or fp16, found '{precision}'")
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("fp16 is not computed on a CPU; use --precision bf16 or fp32")
    return Device(device, precision)


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool({"amx_bf16", "avx512_bf16", "bf16"} & cpu_flags())


@cache
def cpu_flags() -> frozenset[str]:
    """The instruction sets of this CPU as Linux names them; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    lines = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return frozenset(next(lines, ":").partition(":")[2].split())


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def keep_freed_memory() -> None:
    """Have glibc's malloc keep what is freed, for the next layer, instead of handing it back.

    A page that is handed back costs a page fault when it is used again; large activations are handed back
    at every step. `tools/bench/training_speed.py --plain-malloc` is without. Other systems: does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    trim_threshold, mmap_max = -1, -4  # names of malloc.h
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)


def num_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(device: Device) -> int:
    """Processes that prepare pictures: one a core (at most 8) beside a GPU, half as many on a CPU."""
    return min(8, num_cores()) if device.device.type == "cuda" else max(1, num_cores() // 2)


def environment(device: Device) -> dict[str, object]:
    """What a run's numbers depend on beside its config: versions, hardware, threads."""
    import torchvision

    from visiontasks import __version__

    return {
        "visiontasks": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "platform": platform.platform(),
        "device": str(device.device),
        "device_name": torch.cuda.get_device_name(device.device)
        if device.device.type == "cuda"
        else _cpu_name(),
        "precision": device.precision,
        "cores": num_cores(),
        "threads": torch.get_num_threads(),
        "bf16_instructions": sorted(flag for flag in cpu_flags() if "bf16" in flag),
    }
