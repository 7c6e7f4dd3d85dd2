"""Videos: what is written is read back, faults are one line, nothing half written stays."""

import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from visiontasks.errors import ImageError, RunError
from visiontasks.io.video import Video, is_video, write_video


def frames_of(count, size, seed=0):
    """Soft grey pictures, each of its own brightness: the coding is lossy, and halves the colours."""
    corners = np.random.default_rng(seed).integers(60, 200, (2, 2), dtype=np.uint8)
    picture = cv2.resize(corners, size[::-1], interpolation=cv2.INTER_LINEAR)[..., None].repeat(3, axis=2)
    return [np.clip(picture.astype(int) + 5 * i - 20, 0, 255).astype(np.uint8) for i in range(count)]


def write(path, frames, rate=25.0):
    with write_video(path, rate, frames[0].shape[:2]) as writer:
        for frame in frames:
            writer.add(frame)
    return path


@pytest.mark.parametrize("size", [(48, 64), (1, 1), (2, 30), (33, 65), (64, 37)])
def test_frames_come_back(size, tmp_path):
    frames = frames_of(7, size)
    path = write(tmp_path / "ä video.mp4", frames, rate=12.5)
    video = Video(path)
    read = list(video.frames())
    even = tuple(side + side % 2 for side in size)
    assert (video.height, video.width, len(video), video.rate) == (*even, 7, 12.5)
    assert len(read) == 7
    for before, after in zip(frames, read, strict=True):
        assert after.dtype == np.uint8
        assert np.abs(after[: size[0], : size[1]].astype(int) - before).mean() < 8
    assert video.fault is None
    assert [path.name for path in tmp_path.iterdir()] == ["ä video.mp4"]


def test_colours_are_red_green_blue(tmp_path):
    frames = [np.tile(np.uint8([200, 40, 90]), (32, 32, 1))] * 3
    (first, *_) = Video(write(tmp_path / "a.mp4", frames)).frames()
    assert np.abs(first.mean(axis=(0, 1)) - [200, 40, 90]).max() < 8


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 3), (180, 2), (270, 1)])
def test_rotated_videos_are_upright(degrees, turns, tmp_path):
    frames = frames_of(3, (48, 80))
    path = write(tmp_path / "a.mp4", frames)
    rotate(path, degrees)
    video = Video(path)
    (first, *_) = video.frames()
    assert first.shape[:2] == (video.height, video.width)
    upright = np.rot90(frames[0], turns)
    assert first.shape == upright.shape
    assert np.abs(first.astype(int) - upright).mean() < 8


def rotate(path, degrees):
    """Write a rotation into the track's header, as a telephone does."""
    data = bytearray(path.read_bytes())
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    at = data.index(b"tkhd") + 4 + 40  # version and flags, times, id, layer, volume: then the matrix
    matrix = [cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    data[at : at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found an empty file"),
        (b"no video at all, but some text in a file of this name", "found bytes that are no video"),
        (b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1/a.ts\n", "found bytes that are no video"),
        (b"\0\0\0\x18ftypmp42" + bytes(200), "found a damaged one"),
        (None, "found no such file"),
    ],
)
def test_what_is_no_video_is_one_line(content, words, tmp_path, capfd):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"clip\.mp4: expected .*{words}"):
        Video(path)
    assert capfd.readouterr() == ("", "")


def test_a_folder_is_no_video(tmp_path):
    with pytest.raises(ImageError, match="found a folder"):
        Video(tmp_path)


def test_row_34_too_many_pixels_are_refused_before_decoding(tmp_path):
    path = write(tmp_path / "a.mp4", frames_of(2, (40, 50)))
    with pytest.raises(ImageError, match="at most 1,999 pixels a frame, found 40 x 50; raise --max-pixels"):
        Video(path, max_pixels=1999)
    assert len(list(Video(path, max_pixels=2000).frames())) == 2


def test_row_30_a_video_that_ends_early_gives_its_frames_and_says_so(tmp_path, capfd):
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 64))
    for frame in noise:
        writer.write(frame)
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    video = Video(path)
    count = len(list(video.frames()))
    assert 5 < count < 35
    assert str(video.fault) == f"{path}: expected {len(video)} frames, found damage after {count}"
    assert len(video) == 40
    assert capfd.readouterr() == ("", "")


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "a.mp4", frames_of(3, (32, 32)))
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), write_video(path, 25, (32, 32)) as writer:
        writer.add(frames_of(1, (32, 32))[0])
        raise ZeroDivisionError
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(RunError, match=r"a\.mp4: expected a file to write, found a folder"):
        write(tmp_path / "a.mp4", frames_of(1, (32, 32)))
    with pytest.raises(RunError, match="at most 8190 pixels a side, found 8191 x 4"):
        write(tmp_path / "b.mp4", [np.zeros((8191, 4, 3), np.uint8)])


FILL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from visiontasks.errors import RunError
from visiontasks.io.video import write_video
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
noise = np.random.default_rng(0).integers(0, 256, (60, 128, 128, 3), dtype=np.uint8)
try:
    with write_video(Path(sys.argv[1]), 25, (128, 128)) as writer:
        for frame in noise:
            writer.add(frame)
except RunError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes")
def test_row_43_a_full_disk_is_noticed(tmp_path):
    path = write(tmp_path / "a.mp4", frames_of(3, (32, 32)))
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "could not be written" in done.stdout
    assert str(path) in done.stdout
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_videos_go_by_their_names(tmp_path):
    assert [is_video(tmp_path / name) for name in ("a.MP4", "b.mov", "c.mkv")] == [True] * 3
    assert [is_video(tmp_path / name) for name in ("a.jpg", "mp4", "b.mp4.png")] == [False] * 3
