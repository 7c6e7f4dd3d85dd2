"""Pictures: one RGB for every format, upright, whole or refused."""

import resource
import struct
import subprocess
import sys
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import chunk, exif, file_of, picture, png
from PIL import Image as pillow

from visiontasks.errors import DataError, ImageError
from visiontasks.io.files import IMAGE_SUFFIXES
from visiontasks.io.images import MAX_PIXELS, read_image, read_image_bytes, read_size
from visiontasks.ledger import Ledger

LOSSLESS = {".png": {}, ".webp": {"lossless": True, "exact": True}, ".tif": {}, ".bmp": {}, ".ppm": {}}
ROTATES = (".jpg", ".png", ".webp", ".tif")  # formats that carry an EXIF block
STORED = {  # EXIF value -> how an upright picture is stored under it (numpy, independent of the decoder)
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def save(path, image, **options):
    pillow.fromarray(np.ascontiguousarray(image)).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_give_the_pixels_writable_and_contiguous(tmp_path, suffix):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = save(tmp_path / f"a{suffix}", image, **LOSSLESS[suffix])
    read = read_image(path)
    assert np.array_equal(read, image)
    assert read.dtype == np.uint8 and read.flags.writeable and read.flags.c_contiguous
    assert read_size(path) == (5, 7)


def test_jpeg_is_close_to_the_pixels(tmp_path):
    path = save(tmp_path / "a.jpg", picture(), quality=95, subsampling=0)
    assert np.abs(read_image(path).astype(int) - picture()).mean() < 3
    assert read_size(path) == (48, 80)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ROTATES)
def test_row_29_exif_orientation_is_applied_once(tmp_path, suffix, orientation):
    options = {"quality": 95, "subsampling": 0} if suffix == ".jpg" else LOSSLESS[suffix]
    path = save(tmp_path / f"a{suffix}", STORED[orientation](picture()), exif=exif(orientation), **options)
    read = read_image(path)
    assert read.shape == (48, 80, 3)
    assert np.abs(read.astype(int) - picture()).mean() < (3 if suffix == ".jpg" else 1e-9)
    assert read_size(path) == (48, 80)


@pytest.mark.parametrize("orientation", STORED)
def test_row_29_exif_behind_the_pixels_of_a_png_counts_too(tmp_path, orientation):
    stored = np.ascontiguousarray(STORED[orientation](picture()))
    block = exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    path = tmp_path / "a.png"
    path.write_bytes(png(*stored.shape[:2], 8, 2, stored.tobytes(), chunk(b"eXIf", block)))
    assert np.array_equal(read_image(path), picture())
    assert read_size(path) == (48, 80)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0junk",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 40,
    ],
    ids=["none", "head only", "junk", "place outside", "tags cut off"],
)
def test_row_29_damaged_exif_reads_as_upright_without_a_warning(tmp_path, block):
    path = save(tmp_path / "a.jpg", picture(), exif=block)
    assert read_image(path).shape == (48, 80, 3)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_row_29_orientations_that_do_not_exist_read_as_upright(tmp_path, value):
    path = save(tmp_path / "a.png", picture(), exif=exif(value))
    assert np.array_equal(read_image(path), picture())


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_row_30_truncated_at_ten_offsets(kind):
    data = file_of(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8), kind)
    for tenth in range(1, 11):
        cut = len(data) * tenth // 11
        with pytest.raises(
            ImageError, match=rf"a\.x: expected a whole picture, found a damaged {kind} \(.+\)$"
        ):
            read_image_bytes(data[:cut], "a.x")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("GIF", {}),
        ("BMP", {}),
        ("PPM", {}),
    ],
)
def test_row_30_no_cut_gives_wrong_pixels(kind, options):
    """Every cut is refused, but for those that lose nothing of the pixels (an end marker, a checksum)."""
    image = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    data = file_of(image, kind, **options)
    whole = read_image_bytes(data, "a")
    survived = 0
    for cut in range(len(data)):
        try:
            assert np.array_equal(read_image_bytes(data[:cut], "a"), whole)
            survived += 1
        except ImageError:
            continue
    assert survived <= 20


def test_row_31_empty_text_missing_folder(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "html.jpg").write_text("<!DOCTYPE html>")
    (tmp_path / "folder.jpg").mkdir()
    known = "expected a picture (JPEG, PNG, WebP, TIFF, GIF, BMP, PNM), found"
    cases = {
        "empty.jpg": f"{known} an empty file",
        "text.jpg": f"{known} bytes that are no picture (b'not a pi')",
        "html.jpg": f"{known} bytes that are no picture (b'<!DOCTYP')",
        "missing.jpg": "expected a picture, found no such file",
        "folder.jpg": "expected a picture, found a folder",
    }
    for name, found in cases.items():
        for read in (read_image, read_size):
            with pytest.raises(ImageError) as caught:
                read(tmp_path / name)
            assert str(caught.value) == f"{tmp_path / name}: {found}"


def test_row_33_wrong_extension_is_read_by_content_and_noted(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = tmp_path / "really a png.jpg"
    path.write_bytes(file_of(image, "PNG"))
    ledger = Ledger()
    assert np.array_equal(read_image(path, ledger=ledger), image)
    assert [str(entry) for entry in ledger.entries] == [
        f"repaired {path}: PNG by its content, not .jpg: decoded by content"
    ]
    with pytest.raises(DataError, match=r"really a png\.jpg: PNG by its content.*--strict"):
        read_image(path, ledger=Ledger(strict=True))


def test_row_33_right_and_unknown_extensions_are_not_noted(tmp_path):
    data = file_of(picture(), "JPEG")
    for name in ("a.jpg", "a.JPEG", "a.jfif", "a.dat", "a"):
        (tmp_path / name).write_bytes(data)
        ledger = Ledger(strict=True)
        assert read_image(tmp_path / name, ledger=ledger).shape == (48, 80, 3)


def test_row_34_header_over_the_cap_is_refused_before_decoding(tmp_path):
    path = tmp_path / "bomb.png"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")
    )
    assert path.stat().st_size < 5_000
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value) == (
        f"{path}: expected at most {MAX_PIXELS:,} pixels, found 60000 x 60000; "
        "raise --max-pixels, or data.max_pixels in a config"
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
    assert time.process_time() - start < 0.5
    assert read_size(path) == (60_000, 60_000)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "WEBP", "JPEG"])
def test_row_34_the_cap_holds_for_every_format(kind):
    data = file_of(picture(), kind)
    with pytest.raises(ImageError, match=r"^a: expected at most 3,839 pixels, found 48 x 80"):
        read_image_bytes(data, "a", max_pixels=48 * 80 - 1)
    assert read_image_bytes(data, "a", max_pixels=48 * 80).shape == (48, 80, 3)


def test_row_34_the_users_cap_wins_over_pillows(monkeypatch):
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 10)
    for kind in ("PNG", "JPEG", "TIFF", "GIF", "BMP"):
        assert read_image_bytes(file_of(picture(), kind), "a").shape == (48, 80, 3)
    assert pillow.MAX_IMAGE_PIXELS == 10


def test_workers_forked_while_a_thread_reads_do_not_hang(tmp_path):
    path = save(tmp_path / "a.tif", picture())
    program = """
import os, sys, threading
from pathlib import Path
from visiontasks.io.images import read_image
path, stop = Path(sys.argv[1]), threading.Event()
def read_on():
    while not stop.is_set():
        read_image(path)
threads = [threading.Thread(target=read_on) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(30):
    child = os.fork()
    if child == 0:
        os._exit(read_image(path).shape[0])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 48
stop.set()
"""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(path)],
        check=True,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path)},
    )


def test_row_35_unicode_and_spaces_in_paths(tmp_path):
    path = save(tmp_path / "größe äöü 日本.png", picture())
    assert np.array_equal(read_image(path), picture())


FUZZED = [
    file_of(picture(16, 16), kind, **options)
    for kind, options in (
        ("JPEG", {}),
        ("JPEG", {"exif": exif(6)}),
        ("PNG", {"exif": exif(6)}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("GIF", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("WEBP", {"exif": exif(3)}),
    )
]


@settings(max_examples=400)
@given(
    st.sampled_from(FUZZED),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=6)), max_size=4),
    st.integers(0, 2000),
)
def test_fuzz_only_our_own_errors_come_out(tmp_path_factory, data, edits, cut):
    damaged = bytearray(data)
    for place, content in edits:
        place %= len(damaged)
        damaged[place : place + len(content)] = content
    damaged = bytes(damaged[: len(damaged) - cut if cut < len(damaged) // 2 else None])
    path = tmp_path_factory.getbasetemp() / "fuzz.dat"
    path.write_bytes(damaged)
    for read in (
        lambda: read_image_bytes(damaged, "a", max_pixels=1_000_000),
        lambda: read_size(path),
    ):
        try:
            read()
        except ImageError as error:
            assert "\n" not in str(error)


@given(st.binary(max_size=40))
def test_fuzz_random_bytes(data):
    with pytest.raises(ImageError):
        read_image_bytes(data, "a")


def test_each_suffix_of_the_list_can_be_read():
    kinds = {"PNM": "PPM", "WebP": "WEBP"}
    for suffix, format_name in IMAGE_SUFFIXES.items():
        data = file_of(picture(), kinds.get(format_name, format_name))
        assert read_image_bytes(data, f"a{suffix}", ledger=Ledger(strict=True)).shape == (48, 80, 3)
