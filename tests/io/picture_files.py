"""Pictures and files of pictures for the tests of this folder."""

import io
import struct
import zlib

import numpy as np
from PIL import Image as pillow


def picture(height=48, width=80, seed=0):
    """Blocks of 16 pixels of one colour: they survive JPEG nearly unchanged."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((16, 16, 1), dtype=np.uint8))


def file_of(image, kind, **options):
    buffer = io.BytesIO()
    (image if isinstance(image, pillow.Image) else pillow.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, content):
    return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", zlib.crc32(kind + content))


def png(height, width, depth, colour, raw, *more):
    """A PNG made by hand: `raw` is the bytes of each row, without filter bytes; `more` chunks stand last."""
    size = len(raw) // height
    rows = b"".join(b"\0" + raw[row * size : (row + 1) * size] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + b"".join(more)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def exif(orientation):
    block = pillow.Exif()
    block[0x0112] = orientation
    return block
