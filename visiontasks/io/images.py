"""Pictures and masks in and out: the only decoders. One policy for every format and task.

Every picture becomes RGB uint8, upright by its EXIF orientation:

* grey, 1-bit, palette: the grey value thrice, black and white, the palette's colours;
* alpha: dropped, as torchvision, OpenCV and Pillow's `convert("RGB")` drop it, so that a network sees what
  it was trained on; colours below transparent pixels are those in the file;
* CMYK (Adobe's inverted one too): R = (255 - C)(255 - K) / 255; embedded colour profiles are not applied;
* 16-bit grey: divided by 257 and rounded; 16-bit colour: the high byte;
* float: 0..1 is stretched to 0..255, 0..255 is rounded, anything else is refused;
* several frames or pages: the first.

A mask is read unchanged, to the bit. The format is decided by content, never by name.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL import Image as pillow
from PIL.ImageFile import ImageFile

from visiontasks.errors import DataError, ImageError, VisionTasksError
from visiontasks.io.files import IMAGE_SUFFIXES, open_binary, read_bytes
from visiontasks.ledger import Ledger
from visiontasks.types import Image

MAX_PIXELS: Final = 100_000_000  # default cap, from the header, before decoding
MAX_FILE_BYTES: Final = 1 << 30
_START: Final = 32  # bytes that hold the signature of each format, and PNG's header

# Opening by class, not by `PIL.Image.open`: only these decoders meet a stranger's bytes, and no global limit
# or warning of Pillow stands beside our own cap.
_DECODERS: Final[tuple[tuple[bytes, str, type[ImageFile]], ...]] = (
    (b"\xff\xd8\xff", "JPEG", JpegImagePlugin.JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", "PNG", PngImagePlugin.PngImageFile),
    (b"RIFF", "WebP", WebPImagePlugin.WebPImageFile),
    (b"GIF8", "GIF", GifImagePlugin.GifImageFile),
    (b"BM", "BMP", BmpImagePlugin.BmpImageFile),
    (b"II*\0", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"II+\0", "TIFF", TiffImagePlugin.TiffImageFile),
    *((b"P%d" % kind, "PNM", PpmImagePlugin.PpmImageFile) for kind in range(1, 7)),
)
_EXACT_FORMATS: Final = ("PNG", "TIFF", "GIF", "BMP")  # what masks may be stored in
_ORIENTATION: Final = 0x0112  # EXIF and TIFF tag
_BITS_PER_SAMPLE, _TIFF_WIDTH, _TIFF_HEIGHT = 258, 256, 257
_UPRIGHT: Final = {
    2: pillow.Transpose.FLIP_LEFT_RIGHT,
    3: pillow.Transpose.ROTATE_180,
    4: pillow.Transpose.FLIP_TOP_BOTTOM,
    5: pillow.Transpose.TRANSPOSE,
    6: pillow.Transpose.ROTATE_270,
    7: pillow.Transpose.TRANSVERSE,
    8: pillow.Transpose.ROTATE_90,
}
_pillow_globals = threading.Lock()
if hasattr(os, "register_at_fork"):  # no worker starts with the lock in the hands of a thread it has not got
    os.register_at_fork(
        before=_pillow_globals.acquire,
        after_in_parent=_pillow_globals.release,
        after_in_child=_pillow_globals.release,
    )


class Header(NamedTuple):
    """height, width: upright. orientation: EXIF's 1..8 that reading undoes; 1 for TIFF (Pillow turns it)."""

    height: int
    width: int
    orientation: int


class _Opened(NamedTuple):
    """A picture whose header is read. bits: bits a sample in the file."""

    image: ImageFile
    format: str
    bits: int
    header: Header


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS, ledger: Ledger | None = None) -> Image:
    """Read a picture as the module's head describes.

    Args:
        max_pixels: largest height * width; checked before decoding.
        ledger: where a wrong file extension is noted as repaired.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous and writable.

    Raises:
        ImageError: missing, empty, truncated, damaged, too large, or not a picture.
    """
    data = read_bytes(path, max_bytes=MAX_FILE_BYTES, what="a picture", error=ImageError)
    return read_image_bytes(data, str(path), max_pixels=max_pixels, ledger=ledger)


def read_image_bytes(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, ledger: Ledger | None = None
) -> Image:
    """As `read_image`, for a picture in memory; `name` stands for it in messages."""
    return read_header_and_image(data, name, max_pixels=max_pixels, ledger=ledger)[1]


def read_header_and_image(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, ledger: Ledger | None = None
) -> tuple[Header, Image]:
    """As `read_image_bytes`, with what the header says."""
    with _decoding(data, name):
        opened = _open(io.BytesIO(data), data[:_START], name, ledger)
        return opened.header, _to_rgb(_decode(opened, name, max_pixels), name)


def read_size(path: Path, *, max_pixels: int | None = None) -> tuple[int, int]:
    """(height, width) of a picture after its EXIF orientation, from the header alone.

    max_pixels: largest height * width, as when the picture is read; None = any.

    Raises: ImageError when the header can't be read, or the picture is too large.
    """
    header = read_header(path, max_pixels=max_pixels)
    return header.height, header.width


def read_header(path: Path, *, max_pixels: int | None = None, ledger: Ledger | None = None) -> Header:
    """What the header of a picture says; arguments and errors as those of `read_size` and `read_image`."""
    with open_binary(path, max_bytes=MAX_FILE_BYTES, what="a picture", error=ImageError) as file:
        start = file.read(_START)
        file.seek(0)
        with _decoding(start, str(path)):
            opened = _open(file, start, str(path), ledger)
            if max_pixels is not None:
                _check_pixels(opened, str(path), max_pixels)
            return opened.header


def read_mask(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a mask of class or object indices exactly as stored, upright by its EXIF orientation.

    Returns:
        (H, W) uint8 (palette indices, 8-bit and smaller grey values; 1-bit: 0 and 1) or uint16.

    Raises:
        ImageError: can't be read. DataError: a lossy format, colours, or values that are no indices.
    """
    opened, image = _read_exact(path, max_pixels)
    if image.mode in ("P", "L", "1"):
        values = np.array(image, dtype=np.uint8)
        step = {2: 85, 4: 17}.get(opened.bits, 1) if image.mode == "L" else 1
        return values // np.uint8(step)  # Pillow multiplies grey values of 2 and 4 bits to span 0..255
    if image.mode.startswith("I"):
        wide = np.asarray(image)
        low, high = wide.min(), wide.max()
        if low < 0 or high > 65535:
            raise DataError(f"{path}: expected indices of 0 to 65535, found {low} to {high}; renumber them")
        return wide.astype(np.uint16)
    if image.mode == "F":
        raise DataError(f"{path}: expected a mask of integers, found float pixels; save it as 8 or 16 bits")
    raise DataError(
        f"{path}: expected one index a pixel, found colours ({image.mode}); read it as a colour-coded mask "
        f"with a table of colours, or save it as an index PNG"
    )


def read_colour_mask(path: Path, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a colour-coded mask: (H, W, 3) uint8, the colours exactly as stored; alpha is dropped.

    Raises:
        ImageError: can't be read. DataError: a lossy format, or more than 8 bits a colour.
    """
    opened, image = _read_exact(path, max_pixels)
    if image.mode not in ("RGB", "RGBA", "P", "L", "LA", "1") or opened.bits > 8:
        raise DataError(f"{path}: expected colours of 8 bits, found {image.mode} with {opened.bits} bits")
    return _to_rgb(image, str(path))


def voc_palette() -> NDArray[np.uint8]:
    """(256, 3) uint8 RGB: the colours of Pascal VOC's index masks.

    Source: the VOC development kit's colour map: bit k of an index, counted in threes, sets bit 7 - k // 3 of
    red, green, blue in turn.
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= (((index >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette


def encode_mask(mask: NDArray[np.uint8]) -> bytes:
    """A (H, W) uint8 mask of indices as a palette PNG with the VOC colours."""
    assert mask.dtype == np.uint8 and mask.ndim == 2
    image = pillow.fromarray(mask)
    image.putpalette(voc_palette().tobytes())
    return _save(image, "PNG")


def encode(image: Image, suffix: str, *, quality: int = 90) -> bytes:
    """A (H, W, 3) uint8 RGB picture as the bytes of a file; write them with `write_atomic`.

    Args:
        suffix: ".png" (lossless), ".jpg", ".jpeg" or ".webp".
        quality: of the lossy formats, 1 to 100.

    Raises: DataError for another suffix, or a picture that is too large for the format.
    """
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}.get(suffix.lower())
    if kind is None:
        raise DataError(f"expected a picture to be saved as .png, .jpg or .webp, found '{suffix}'")
    picture = pillow.fromarray(np.ascontiguousarray(image))
    try:
        if kind == "PNG":  # level 1: a fifth larger than Pillow's default, in a fifth of the time
            return _save(picture, kind, compress_level=1)
        return _save(picture, kind, quality=quality)
    except (OSError, ValueError):  # JPEG ends at 65500 pixels a side, WebP at 16383
        size = f"{picture.height} x {picture.width}"
        raise DataError(f"expected a size that {suffix} can hold, found {size} pixels; use .png") from None


def _save(image: pillow.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@contextmanager
def _decoding(start: bytes, name: str) -> Iterator[None]:
    """Turn whatever a decoder raises when it meets hostile bytes into one line."""
    try:
        yield
    except VisionTasksError:
        raise
    except (
        Exception
    ) as error:  # decoders raise nearly anything: OSError, SyntaxError, ValueError, struct.error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(
            f"{name}: expected a whole picture, found a damaged {_sniff(start, name)[0]} ({reason})"
        ) from None


def _sniff(start: bytes, name: str) -> tuple[str, type[ImageFile]]:
    for magic, format_name, decoder in _DECODERS:
        if start.startswith(magic):
            return format_name, decoder
    found = "an empty file" if not start else f"bytes that are no picture ({start[:8]!r})"
    raise ImageError(f"{name}: expected a picture (JPEG, PNG, WebP, TIFF, GIF, BMP, PNM), found {found}")


@contextmanager
def _pillow_unguarded() -> Iterator[None]:
    """No warnings about damaged tags, and no pixel limit of Pillow's beside our own."""
    with _pillow_globals, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, pillow.MAX_IMAGE_PIXELS = pillow.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            pillow.MAX_IMAGE_PIXELS = limit


def _open(file: BinaryIO, start: bytes, name: str, ledger: Ledger | None) -> _Opened:
    format_name, decoder = _sniff(start, name)
    suffix = os.path.splitext(name)[1].lower()
    if ledger is not None and IMAGE_SUFFIXES.get(suffix, format_name) != format_name:
        ledger.add("repaired", name, f"{format_name} by its content, not {suffix}: decoded by content")
    with _pillow_unguarded():
        image = decoder(file)
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # `size` is turned or not, by Pillow's version
        tags = image.tag_v2
        height, width, orientation = tags[_TIFF_HEIGHT], tags[_TIFF_WIDTH], 1
        turned = tags.get(_ORIENTATION) in (5, 6, 7, 8)
        bits = int(max(tags.get(_BITS_PER_SAMPLE, (1,))))
    else:
        width, height = image.size
        orientation = _orientation(image, file)
        turned = orientation >= 5
        bits = start[24] if format_name == "PNG" else 8
    height, width = (width, height) if turned else (height, width)
    return _Opened(image, format_name, bits, Header(height, width, orientation))


def _orientation(image: ImageFile, file: BinaryIO) -> int:
    """EXIF's orientation; 1 (upright) where there is none that can be read."""
    block = image.info.get("exif")
    if block is None and isinstance(image, PngImagePlugin.PngImageFile):
        place = file.tell()
        block = _png_exif(file)
        file.seek(place)
    if not block:
        return 1
    exif = pillow.Exif()
    try:
        with _pillow_unguarded():
            exif.load(block)
        value = exif.get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, IndexError, OSError, struct.error):
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _png_exif(file: BinaryIO) -> bytes | None:
    """The EXIF block of a PNG, also behind the pixels, where Pillow finds it only by decoding them."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf":
            return file.read(length)
        file.seek(length + 4, os.SEEK_CUR)
    return None


def _check_pixels(opened: _Opened, name: str, max_pixels: int) -> None:
    height, width, _ = opened.header
    if height < 1 or width < 1:
        raise ImageError(f"{name}: expected at least one pixel, found {height} x {width}")
    if height * width > max_pixels:
        raise ImageError(
            f"{name}: expected at most {max_pixels:,} pixels, found {height} x {width}; "
            "raise --max-pixels, or data.max_pixels in a config"
        )


def _decode(opened: _Opened, name: str, max_pixels: int) -> pillow.Image:
    """The pixels, upright, in the file's own mode."""
    _check_pixels(opened, name, max_pixels)
    with _pillow_unguarded() if opened.format == "TIFF" else nullcontext():  # its tags are read again
        opened.image.load()
    if opened.header.orientation == 1:
        return opened.image
    return opened.image.transpose(_UPRIGHT[opened.header.orientation])


def _to_rgb(image: pillow.Image, name: str) -> Image:
    if image.mode == "RGB":
        return np.array(image)
    if image.mode == "F" or image.mode.startswith("I"):
        grey = _to_grey(np.asarray(image), name)
        return np.repeat(grey[..., None], 3, axis=2)  # (H, W, 3)
    if image.mode in ("RGBa", "La"):  # multiplied by alpha, which Pillow undoes on the way to RGBA only
        image = image.convert(image.mode.upper())
    image.info.pop("transparency", None)  # of a palette: dropped with a warning otherwise
    return np.array(image.convert("RGB"))


def _to_grey(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if np.isfinite(low) and np.isfinite(high) and low >= 0 and high <= 255:
            stretched: NDArray[Any] = np.rint(values * 255 if high <= 1 else values)
            return stretched.astype(np.uint8)
        raise ImageError(
            f"{name}: expected float pixels in 0..1 or 0..255, found {low:g} to {high:g}; rescale the picture"
        )
    if low < 0 or high > 65535:
        raise ImageError(
            f"{name}: expected grey values in 0..65535, found {low} to {high}; rescale the picture"
        )
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _read_exact(path: Path, max_pixels: int) -> tuple[_Opened, pillow.Image]:
    data = read_bytes(path, max_bytes=MAX_FILE_BYTES, what="a mask", error=ImageError)
    with _decoding(data, str(path)):
        opened = _open(io.BytesIO(data), data[:_START], str(path), None)
        lossy = "jpeg" in str(opened.image.info.get("compression", ""))  # a TIFF may hold a JPEG
        if opened.format not in _EXACT_FORMATS or lossy:
            found = f"{opened.format} of JPEG data" if lossy else opened.format
            raise DataError(
                f"{path}: expected a mask in a lossless format ({', '.join(_EXACT_FORMATS)}), found a "
                f"{found}; save it as PNG from its source"
            )
        return opened, _decode(opened, str(path), max_pixels)
