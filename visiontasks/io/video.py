"""Videos in and out, a frame at a time: RGB uint8, upright, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from visiontasks.errors import ImageError, RunError
from visiontasks.io.files import open_binary, replacing
from visiontasks.io.images import MAX_PIXELS
from visiontasks.types import Image

SUFFIXES: Final = (
    ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv",
)  # fmt: skip
MAX_BYTES: Final = 1 << 40
MAX_SIDE: Final = 8190  # pixels that mp4v can hold
FALLBACK_RATE: Final = 25.0  # frames a second, where a file does not say
RATES: Final = (0.01, 1000.0)  # frames a second that are believed
MISSING_SHARE: Final = 0.05  # of the frames that a file announces: some formats count by the duration
_START: Final = 192
_MAGIC: Final = (  # (place, bytes): playlists, which may name other files and hosts, are no videos here
    *((4, kind) for kind in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")),
    (8, b"AVI "),
    (0, b"\x1aE\xdf\xa3"),
    (0, b"\0\0\1\xba"),
    (0, b"\0\0\1\xb3"),
    (188, b"G"),
    (0, b"FLV"),
    (0, b"0&\xb2u\x8ef\xcf\x11"),
    (0, b"OggS"),
)


def is_video(path: Path) -> bool:
    """Whether a file is named as a video is."""
    return path.suffix.lower() in SUFFIXES


class Video:
    """An open video; its frames can be taken once.

    height, width: of the frames, upright, pixels. rate: frames a second.
    fault: after the frames were taken, why they ended early; else None.

    Args:
        path: a file.
        max_pixels: largest height * width, checked before decoding.

    Raises: ImageError when it cannot be read.
    """

    def __init__(self, path: Path, *, max_pixels: int = MAX_PIXELS) -> None:
        self.path = path
        self.fault: ImageError | None = None
        with open_binary(path, max_bytes=MAX_BYTES, what="a video", error=ImageError) as file:
            start = file.read(_START)
        if not any(start[place : place + len(magic)] == magic for place, magic in _MAGIC):
            found = f"bytes that are no video ({start[:8]!r})" if start else "an empty file"
            raise ImageError(f"{path}: expected a video (mp4, mov, avi, mkv, webm, ...), found {found}")
        with _quiet():
            self._capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
            height, width = (
                int(self._capture.get(name)) for name in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
            )
            if height * width > max_pixels:
                raise ImageError(
                    f"{path}: expected at most {max_pixels:,} pixels a frame, found {height} x {width}; "
                    "raise --max-pixels"
                )
            self._announced = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
            rate = self._capture.get(cv2.CAP_PROP_FPS)
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
            first = self._read()
        if first is None:
            raise ImageError(f"{path}: expected a whole video, found a damaged one, or unknown coding")
        self._first: Image | None = first
        self.height, self.width = first.shape[0], first.shape[1]
        self.rate: float = rate if RATES[0] <= rate <= RATES[1] else FALLBACK_RATE

    def __len__(self) -> int:
        """Frames that the file announces; 0 where it does not."""
        return max(0, int(self._announced)) if np.isfinite(self._announced) else 0

    def frames(self) -> Iterator[Image]:
        """Each frame as (H, W, 3) uint8 RGB, until the end or the first that cannot be decoded."""
        frame, self._first = self._first, None
        count = 0
        while frame is not None and self.fault is None:
            yield frame
            count += 1
            with _quiet():
                frame = self._read()
            if frame is not None and frame.shape[:2] != (self.height, self.width):
                self.fault = self._ends(count, "frames of another size")
        if self.fault is None and count < (1 - MISSING_SHARE) * len(self):
            self.fault = self._ends(count, "damage")
        self._capture.release()

    def _ends(self, count: int, reason: str) -> ImageError:
        return ImageError(f"{self.path}: expected {len(self)} frames, found {reason} after {count}")

    def _read(self) -> Image | None:
        is_read, frame = self._capture.read()
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8) if is_read else None


class VideoWriter:
    """Takes the frames of an mp4 (coded as mp4v): see `write_video`."""

    def __init__(self, path: Path, rate: float, size: tuple[int, int]) -> None:
        self.path, self.count, self.size = path, 0, size
        even = (size[1] + size[1] % 2, size[0] + size[0] % 2)
        with _quiet():
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(os.path.abspath(path), cv2.CAP_FFMPEG, code, rate, even)

    def add(self, frame: Image) -> None:
        """One frame, (H, W, 3) uint8 RGB, of the writer's size."""
        assert frame.shape[:2] == self.size, f"{frame.shape} in a video of {self.size}"
        coded = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        height, width = self.size
        if height % 2 or width % 2:  # the coding wants even sides: the last row and column once more
            coded = cv2.copyMakeBorder(coded, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        self._writer.write(coded)
        self.count += 1

    def close(self) -> None:
        self._writer.release()


@contextmanager
def write_video(path: Path, rate: float, size: tuple[int, int]) -> Iterator[VideoWriter]:
    """Write an mp4, frame by frame; it appears under its name when it is complete.

    Args:
        path: ends in .mp4. rate: frames a second. size: (height, width) of the frames, pixels.

    Raises: RunError when the disk is full, the place can't be written, or the frames are too large.
    """
    if max(size) > MAX_SIDE:
        raise RunError(
            f"{path}: expected frames of at most {MAX_SIDE} pixels a side, found {size[0]} x {size[1]}; "
            "draw none with --no-draw"
        )
    with replacing(path, suffix=".mp4") as temporary:
        temporary.touch(exist_ok=False)
        writer = VideoWriter(temporary, rate, size)
        try:
            yield writer
        finally:
            writer.close()
        _check_written(path, temporary, writer.count)


def _check_written(path: Path, temporary: Path, count: int) -> None:
    """OpenCV is silent about a full disk: what was written must announce as many frames as it was handed."""
    with _quiet():
        capture = cv2.VideoCapture(os.path.abspath(temporary), cv2.CAP_FFMPEG)
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
    if found != count:
        raise RunError(
            f"{path}: could not be written whole ({found} of {count} frames); free some space or choose "
            "another place"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV and FFmpeg say nothing by themselves: an error is one line of ours."""
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"  # read when FFmpeg is first used
    logging: Any = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
