"""Paths, whole files in and whole files out: no reader is fooled, no writer leaves half a file."""

from __future__ import annotations

import csv
import glob
import io
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from visiontasks.errors import DataError, RunError, UsageError, VisionTasksError
from visiontasks.io.documents import Lines, decode_text, parse_csv, parse_json, parse_xml, parse_yaml

IMAGE_SUFFIXES: Final[Mapping[str, str]] = {  # the pictures that folders are searched for -> their format
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jfif": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".pbm": "PNM",
    ".pgm": "PNM",
    ".png": "PNG",
    ".pnm": "PNM",
    ".ppm": "PNM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WebP",
}
MAX_BYTES: Final[Mapping[str, int]] = {  # default size caps of documents
    ".json": 2 << 30,  # the largest annotation file in use, LVIS, has 1.1 GB
    ".csv": 1 << 30,
    ".xml": 4 << 20,
    ".yaml": 1 << 20,
    ".yml": 1 << 20,
}
_TEMPORARY_PREFIX: Final = ".visiontasks-"
_TEMPORARY_SUFFIX: Final = ".tmp"


def safe_path(root: Path, relative: str) -> Path:
    """The path of a file that a data set names, held inside the data set's folder after following links.

    The file need not exist. The result is `root / relative` as written, for messages that users recognise.

    Raises: DataError for an absolute path, a `..`, or a link that leads outside.
    """
    shown = repr(relative[:200])
    path = Path(relative)
    if not path.parts or path.anchor:
        raise DataError(f"{root}: expected a path relative to this folder, found {shown}")
    if ".." in path.parts:
        raise DataError(f"{root}: expected a path inside this folder, found {shown}, which has '..' in it")
    try:
        real_root, real = os.path.realpath(root), os.path.realpath(root / path)
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.lstat(real)
    except (OSError, ValueError):  # a name that is too long, a NUL, half a surrogate pair
        raise DataError(f"{root}: expected a path that can exist, found {shown}") from None
    if not real.startswith(real_root.rstrip(os.sep) + os.sep):
        raise DataError(f"{root}: expected a file inside this folder, found {shown}, a link that leads out")
    return root / path


@contextmanager
def open_binary(
    path: Path, *, max_bytes: int, what: str, error: type[VisionTasksError] = DataError
) -> Iterator[BinaryIO]:
    """Open a regular file to read, if it is no larger than a cap.

    Args:
        what: what the file should be, with its article, for messages: "a picture".
        error: the error to raise.

    Raises: `error` for a missing, unreadable, too large or special file (a folder, a pipe, a device).
    """
    try:
        status = os.stat(path)  # before opening: that alone would wait for the writer of a pipe
        if not stat.S_ISREG(status.st_mode):
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise error(f"{path}: expected {what}, found {found}")
        if status.st_size > max_bytes:
            raise error(f"{path}: expected {what} of at most {max_bytes:,} bytes, found {status.st_size:,}")
        with open(path, "rb") as file:
            yield file
    except (FileNotFoundError, ValueError):  # a name with a NUL is none of any file
        raise error(f"{path}: expected {what}, found no such file") from None
    except OSError as fault:
        raise error(f"{path}: expected {what}, found a file that can't be read: {fault.strerror}") from None


def read_bytes(path: Path, *, max_bytes: int, what: str, error: type[VisionTasksError] = DataError) -> bytes:
    """A whole file; arguments and errors as those of `open_binary`."""
    with open_binary(path, max_bytes=max_bytes, what=what, error=error) as file:
        return file.read()


def read_document(path: Path, *, max_bytes: int | None = None, allow_nan: bool = False) -> Any:
    """Read a document by its suffix: .json .yaml .yml .xml .csv; UTF-8, byte order mark and CRLF accepted.

    Args:
        max_bytes: largest size; by default `MAX_BYTES` of the suffix.
        allow_nan: accept JSON's NaN and Infinity; annotations must not hold any. (1e999 reads as infinity.)

    Returns:
        JSON: values of Python. YAML: dicts and lists of strings as written. XML: the root `Element`.
        CSV: a list of dicts, one a row under the header.

    Raises: DataError with file and line.
    """
    suffix = path.suffix.lower()
    if suffix not in MAX_BYTES:
        raise DataError(f"{path}: expected a file named {', '.join(MAX_BYTES)}, found '{path.name}'")
    what = f"a {suffix[1:].upper()} file"
    limit = MAX_BYTES[suffix] if max_bytes is None else max_bytes
    name = str(path)
    text = decode_text(read_bytes(path, max_bytes=limit, what=what), name)
    if suffix == ".json":
        return parse_json(text, name, allow_nan=allow_nan)
    if suffix == ".xml":
        return parse_xml(text, name)
    if suffix == ".csv":
        return parse_csv(text, name)
    return parse_yaml(text, name)[0]


def read_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    """The mapping in a YAML file of any name, and the line of each key path, for `parse_config(lines=...)`.

    Raises: DataError with file and line, also when the document is not a mapping.
    """
    data = read_bytes(path, max_bytes=MAX_BYTES[".yaml"], what="a YAML file")
    value, lines = parse_yaml(decode_text(data, str(path)), str(path))
    if not isinstance(value, dict):
        found = "a list" if isinstance(value, list) else "a single value" if value else "nothing"
        raise DataError(f"{path}: expected keys with values (key: value), found {found}")
    return value, lines


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file in one piece: after a crash or a full disk there is the old file or the new, never a part.

    Missing folders are made. A link is followed: the file that it leads to is replaced.

    Raises: RunError when the disk is full or the place can't be written.
    """
    with replacing(path) as temporary, open(temporary, "xb") as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def replacing(path: Path, *, suffix: str = "") -> Iterator[Path]:
    """The name of a temporary file in the same folder, which becomes `path` if all goes well.

    For what is written piece by piece; else as `write_atomic`.

    suffix: of the temporary's name, for writers that go by it (".mp4").

    Raises: RunError when the disk is full or the place can't be written.
    """
    temporary: Path | None = None
    try:
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            raise RunError(f"{path}: expected a file to write, found a folder or device; choose another name")
        target.parent.mkdir(parents=True, exist_ok=True)
        name = f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}{suffix}"
        temporary = target.parent / name
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
        temporary = None
        _sync_folder(target.parent)
    except OSError as error:
        raise RunError(
            f"{path}: could not be written ({error.strerror}); free some space or choose another place"
        ) from error
    finally:
        if temporary is not None:
            remove_quietly(temporary)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, which takes its place, and that of what lies there, if all goes well.

    Raises: RunError when the disk is full or the place can't be written.
    """
    target = Path(os.path.realpath(path))
    name = f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    new, old = target.parent / f"{name}{_TEMPORARY_SUFFIX}", target.parent / f"{name}-old{_TEMPORARY_SUFFIX}"
    try:
        new.mkdir(parents=True)
        yield new
        if target.exists():
            os.replace(target, old)
        os.replace(new, target)
        shutil.rmtree(old, ignore_errors=True)
        _sync_folder(target.parent)
    except OSError as error:
        raise RunError(
            f"{path}: could not be written ({error.strerror}); free some space or choose another place"
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut. Windows can't open folders, and needs no such thing."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_quietly(path: Path) -> None:
    """Remove a temporary file after a fault; if that fails too, the first fault is the one to report."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def remove_stale_temporaries(folder: Path) -> None:
    """Remove what `write_atomic` left behind when it was killed. Nothing else may be writing there."""
    for path in folder.glob(f"{_TEMPORARY_PREFIX}*{_TEMPORARY_SUFFIX}*"):
        remove_quietly(path)


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    """Write strict JSON in one piece: NaN and infinities become null, arrays become lists; order is kept.

    Args:
        indent: spaces a level; None: one line, many times quicker for long lists.

    Raises: RunError when it can't be written.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=_plain)
    except ValueError:  # NaN or infinity somewhere
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent)
    # a lone surrogate (from a file name that is not UTF-8) becomes JSON's own escape, \udcff
    write_atomic(path, (text + "\n").encode("utf-8", errors="backslashreplace"))


def _plain(value: Any) -> Any:
    """What `json` does not know: arrays and their scalars, paths."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"can't write a {type(value).__name__} as JSON")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if value is None or isinstance(value, str | int) else _finite(_plain(value))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows under a header in one piece; NaN and None become empty fields.

    Raises: RunError when it can't be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        assert len(row) == len(header), f"{len(row)} fields under {len(header)} columns"
        writer.writerow(["" if field != field else field for field in row])  # only NaN differs from itself
    write_atomic(path, text.getvalue().encode("utf-8", errors="backslashreplace"))


def free_stem(stem: str, taken: set[str]) -> str:
    """What the files of an input are called: its own stem, with a counter where another input has that.

    Stems, not names: pictures of two formats have masks, and label files, of one. taken: grows.
    """
    free, number = stem, 2
    while free.casefold() in taken:  # some file systems do not tell cases apart
        free, number = f"{stem}-{number}", number + 1
    taken.add(free.casefold())
    return free


def is_picture(name: str | os.PathLike[str]) -> bool:
    """Whether a file in a folder of pictures is taken for one: by its suffix."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def list_inputs(arguments: Sequence[str | Path]) -> list[Path]:
    """The pictures that a user named: files, folders (their pictures and their subfolders', sorted), globs.

    A named file is taken whatever its suffix; in folders `IMAGE_SUFFIXES` counts and hidden ones are left
    out. A file that is named twice is taken once.

    Raises: UsageError for a path that does not exist, a glob or folder without pictures, or no argument.
    """
    if not arguments:
        raise UsageError("expected pictures, folders or patterns like 'photos/*.jpg', found none")
    found: dict[str, Path] = {}
    for argument in arguments:
        for path in _expand(argument):
            found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def _expand(argument: str | Path) -> Iterator[Path]:
    path = Path(argument)
    if path.is_dir():
        yield from _pictures_in(path)
    elif os.path.lexists(path):
        yield path
    elif glob.has_magic(str(argument)):
        matches = sorted(glob.glob(str(argument), recursive=True))
        if not matches:
            raise UsageError(f"expected files that match '{argument}', found none")
        for match in map(Path, matches):
            yield from _pictures_in(match) if match.is_dir() else [match]
    else:
        raise UsageError(f"expected a picture, folder or pattern, found nothing at '{argument}'")


def _pictures_in(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: expected a folder to read, found: {error.strerror}")

    pictures: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        pictures += [Path(parent, name) for name in names if not name.startswith(".") and is_picture(name)]
    if not pictures:
        raise UsageError(f"{folder}: expected pictures ({', '.join(sorted(IMAGE_SUFFIXES))}), found none")
    return sorted(pictures)
