"""Scenes composed of a data set's pictures: what a detector is trained on where pictures show one thing each.

Scene i is a function of the pictures, (seed, split, i) and the size. It is painted sharp or unsharp, with
hard or soft edges between its parts, noisy or compressed, so that none of these betrays an object.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visiontasks.classes import ClassMap
from visiontasks.detection.config import ScenesConfig
from visiontasks.detection.datasets.labelled_boxes import LabelledBoxes
from visiontasks.detection.datasets.layouts import Composer, Layout, Patch
from visiontasks.detection.datasets.packing import pack
from visiontasks.detection.datasets.patterns import drawn_ground
from visiontasks.detection.types import Annotations, Boxes
from visiontasks.errors import DataError
from visiontasks.io.listing import PackedPaths, fingerprint
from visiontasks.ledger import Ledger
from visiontasks.ops.boxes import box_area
from visiontasks.types import Image, Sample

DRAWN: Final = 3  # raised when the same seed gives other scenes
ENLARGE: Final = (cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_LINEAR)
ROUGH_GROUND: Final = 0.25  # chance that a ground is its part mirrored again and again, not enlarged
DRAWN_GROUND: Final = 0.35  # chance that it is a pattern in the colours of its part


@dataclass(slots=True)
class ComposedScenes:
    """A data set of scenes; a `Source[Boxes]`.

    pictures: what they are made of; root, classes and ledger are theirs.
    files: names of the scenes, which no files have.
    key: numbers that, with a scene's own, seed what is drawn by chance.
    """

    pictures: LabelledBoxes
    root: Path
    classes: ClassMap
    ledger: Ledger
    fingerprint: str
    size: int
    key: tuple[int, int]
    files: Sequence[str]
    composer: Composer = field(repr=False)

    @classmethod
    def open(cls, pictures: LabelledBoxes, config: ScenesConfig, split: str, seed: int) -> ComposedScenes:
        """No picture is read. Raises: DataError when no picture has a box that is large enough on it."""
        composer = Composer(pictures.annotations, config.size)
        if not len(composer.usable):
            raise DataError(
                f"{pictures.root}: expected pictures with boxes to compose scenes of, found none of "
                f"{len(pictures)} that can be read and has a large box; mend them, or set data.scenes: null"
            )
        count = config.train if split == "train" else config.val
        files = PackedPaths([f"{split} scene {number:06}" for number in range(count)])
        facts = f"{DRAWN} {split} {seed} {count} {config.size} {pictures.fingerprint}".encode()
        key = seed, zlib.crc32(split.encode())
        return cls(
            pictures=pictures,
            root=pictures.root,
            classes=pictures.classes,
            ledger=pictures.ledger,
            fingerprint=fingerprint(pictures.classes.names, [facts]),
            size=config.size,
            key=key,
            files=files,
            composer=composer,
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample[Boxes]:
        """Compose a scene. Raises: ImageError and DataError as `LabelledBoxes`, for a picture on it."""
        name = self.files[index]
        rng = np.random.default_rng([*self.key, index])
        layout = self.composer(rng)
        image = paint(
            layout, [self.pictures[patch.picture].image for patch in layout.patches], self.size, rng
        )
        none = np.zeros(len(layout.labels), dtype=np.bool_)
        return Sample(image, Boxes(layout.boxes, layout.labels, none, none, box_area(layout.boxes)), name)

    @property
    def annotations(self) -> Annotations:
        """The boxes of all scenes. Their layouts are drawn anew: some tenths of a millisecond each."""
        rngs = (np.random.default_rng([*self.key, index]) for index in range(len(self)))
        layouts = [self.composer(rng) for rng in rngs]
        counts = [len(layout.labels) for layout in layouts]
        return pack(
            self.files,
            np.full((len(self), 2), self.size, dtype=np.int64),
            np.repeat(np.arange(len(self)), counts),
            np.concatenate([layout.boxes for layout in layouts]),
            np.concatenate([layout.labels for layout in layouts]),
            np.zeros(sum(counts), dtype=np.int64),
        )


def paint(layout: Layout, images: Sequence[Image], size: int, rng: np.random.Generator) -> Image:
    """A scene (size, size, 3) uint8.

    images: the picture of each patch. rng: draws how it looks.
    """
    canvas = np.zeros((size, size, 3), dtype=np.uint8)
    for patch, image in zip(layout.patches, images, strict=True):
        left, top, right, bottom = patch.window
        part = _resized(image[top:bottom, left:right], patch, rng)
        x, y, x2, y2 = patch.place
        shown = slice(max(y, 0), min(y2, size)), slice(max(x, 0), min(x2, size))
        part = part[shown[0].start - y : shown[0].stop - y, shown[1].start - x : shown[1].stop - x]
        if any(patch.fades):
            rows, columns = (
                _ramp(patch, axis)[shown[axis].start - low : shown[axis].stop - low]
                for axis, low in ((0, y), (1, x))
            )
            alpha = np.outer(rows, columns)[..., None]  # (h, w, 1)
            behind = canvas[shown].astype(np.float32)
            part = (behind + alpha * (part - behind)).round().astype(np.uint8)
        canvas[shown] = part
    return _worn(canvas, rng)


def _resized(part: Image, patch: Patch, rng: np.random.Generator) -> Image:
    """A part of a picture as large as its place; enlarged, it may be sharpened."""
    width, height = patch.place[2] - patch.place[0], patch.place[3] - patch.place[1]
    factor = max(width / part.shape[1], height / part.shape[0])
    look = 1.0 if patch.is_object else rng.random()
    if look < DRAWN_GROUND:
        return drawn_ground(part, (height, width), rng)
    if look < DRAWN_GROUND + ROUGH_GROUND:
        return _mirrored(part, (height, width), rng)
    way = cv2.INTER_AREA if factor <= 1 else ENLARGE[int(rng.integers(len(ENLARGE)))]
    resized = np.asarray(cv2.resize(part, (width, height), interpolation=way), dtype=np.uint8)
    if factor > 1.3 and rng.random() < 0.5:
        resized = _sharpened(resized, min(0.4 * factor, 2.5), rng.uniform(0.3, 1.3))
    elif factor < 0.9 and rng.random() < 0.25:
        resized = np.asarray(cv2.GaussianBlur(resized, (0, 0), rng.uniform(0.4, 1.0)), dtype=np.uint8)
    return resized


def _mirrored(part: Image, size: tuple[int, int], rng: np.random.Generator) -> Image:
    """A texture of (height, width): the part, somewhat enlarged, repeated as between mirrors."""
    factor = rng.uniform(1.5, 4.0)
    height, width = (max(2, round(side * factor)) for side in part.shape[:2])
    tile = cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC)
    below, right = max(size[0] - height, 0), max(size[1] - width, 0)
    texture = cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_REFLECT)
    return np.asarray(texture[: size[0], : size[1]], dtype=np.uint8)


def _sharpened(image: Image, sigma: float, amount: float) -> Image:
    """Unsharp masking. sigma: of the blur, px. amount: share of the difference that is added."""
    blurred = cv2.GaussianBlur(image, (0, 0), sigma)
    return np.asarray(cv2.addWeighted(image, 1 + amount, blurred, -amount, 0), dtype=np.uint8)


def _ramp(patch: Patch, axis: int) -> NDArray[np.float32]:
    """How much of a patch shows along an axis (0: rows): 0 at its edges, 1 where it has appeared."""
    length = patch.place[3 - axis] - patch.place[1 - axis]
    first, last = patch.fades[1 - axis], patch.fades[3 - axis]
    at = np.arange(length, dtype=np.float32) + 0.5
    ramp = np.minimum(at / max(first, 0.5), (length - at) / max(last, 0.5)).clip(0, 1)
    smooth: NDArray[np.float32] = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    return smooth


def _worn(image: Image, rng: np.random.Generator) -> Image:
    """A scene as cameras and files leave it: blurred or sharpened, noisy, compressed; often none of these."""
    look = rng.random()
    if look < 0.1:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2)), dtype=np.uint8)
    elif look < 0.25:
        image = _sharpened(image, rng.uniform(0.7, 1.3), rng.uniform(0.2, 0.7))
    if rng.random() < 0.25:
        noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(1.0, 8.0))
        image = (image + noise).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
        image = np.asarray(
            cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR), dtype=np.uint8
        )
    return image
