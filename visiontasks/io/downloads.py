"""Official weights by name: the only network traffic of the project, and only when a user asks for it."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import secrets
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from visiontasks.errors import RunError, UsageError, WeightsError, unknown_name
from visiontasks.io.files import read_bytes, remove_quietly, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

MAX_DOWNLOAD_BYTES: Final = 4 << 30
TIMEOUT_SECONDS: Final = 30.0  # without any byte
_CHUNK_BYTES: Final = 1 << 20
_HASH_IN_NAME: Final = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
_LOCAL_HOSTS: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Download:
    """Weights that have to be fetched.

    name: as typed. sha_prefix: the first hex digits of the file's SHA-256, as its publisher names them.
    model: what torchvision calls the network. weights: torchvision's entry, with `meta["categories"]` and
    `transforms()`.
    """

    name: str
    url: str
    sha_prefix: str
    model: str
    weights: Any


def torchvision_weights(name: str) -> Download:
    """Look up `torchvision:NAME` (default weights) or `torchvision:NAME.VERSION` (`resnet50.IMAGENET1K_V1`).

    Raises: UsageError for a name that torchvision does not publish weights of, with a hash, for.
    """
    from torchvision import models

    model, _, version = name.removeprefix("torchvision:").partition(".")
    if model not in models.list_models():
        raise UsageError(unknown_name("torchvision model", model, models.list_models()))
    entries = models.get_model_weights(model).__members__
    if version and version not in entries:
        raise UsageError(unknown_name(f"weights of {model}", version, entries))
    if not version and "DEFAULT" not in entries:
        raise UsageError(
            f"expected a torchvision model with official weights, found '{model}', which has none"
        )
    entry = entries[version or "DEFAULT"]
    found = _HASH_IN_NAME.search(entry.url)
    if found is None:
        raise UsageError(f"expected weights with a hash in their file name, found {entry.url}; choose others")
    return Download(name, entry.url, found[1], model, entry)


def cache_folder() -> Path:
    """Where downloads are kept: VISIONTASKS_CACHE, else XDG_CACHE_HOME or ~/.cache with /visiontasks."""
    if chosen := os.environ.get("VISIONTASKS_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visiontasks"


def download(url: str, *, sha_prefix: str, cache: Path | None = None) -> Path:
    """Fetch a file once; afterwards it comes from the cache, its full hash checked each time.

    Args:
        url: https, or http on this machine.
        sha_prefix: the first hex digits of the file's SHA-256.
        cache: folder to keep it in; by default `cache_folder()`.

    Raises:
        WeightsError: the content is not what its publisher or the cache's own record says.
        RunError: no connection, or no space. UsageError: another kind of address.
    """
    _check_address(url)
    folder = cache if cache is not None else cache_folder()
    path = folder / Path(urllib.parse.urlsplit(url).path).name
    receipt = path.with_name(f"{path.name}.sha256")
    if _is_cached(path, receipt, sha_prefix):
        return path
    temporary = folder / f".visiontasks-{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            digest = _fetch(url, file)
        if not digest.startswith(sha_prefix):
            raise WeightsError(
                f"{url}: expected a file whose SHA-256 begins with {sha_prefix}, found {digest}; "
                "not kept: try again, or from another network"
            )
        os.replace(temporary, path)
        write_atomic(receipt, f"{digest}\n")
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise RunError(
            f"{url}: could not be downloaded ({reason}); go online, or put it at {path}"
        ) from error
    finally:
        remove_quietly(temporary)
    return path


def _check_address(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS):
        raise UsageError(f"expected an https address, found '{url}'")


def _fetch(url: str, file: BinaryIO) -> str:
    """Stream a file to disk. Returns: its SHA-256 as hex digits."""
    digest, size = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        _check_address(response.url)  # it may have been redirected
        while chunk := response.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_DOWNLOAD_BYTES:
                raise WeightsError(
                    f"{url}: expected at most {MAX_DOWNLOAD_BYTES:,} bytes, found more; not kept"
                )
            digest.update(chunk)
            file.write(chunk)
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()


def _is_cached(path: Path, receipt: Path, sha_prefix: str) -> bool:
    """Whether the file is there and whole; one that a user put there gets its receipt.

    Raises: WeightsError when it is not the file that was downloaded.
    """
    if not path.exists():
        return False
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: expected a file to read, found: {error.strerror}") from None
    expected = sha_prefix
    if receipt.exists():
        text = read_bytes(receipt, max_bytes=1000, what="a hash", error=WeightsError)
        expected = text.decode("ascii", errors="replace").strip()
    if not digest.startswith(sha_prefix) or not digest.startswith(expected):
        raise WeightsError(
            f"{path}: expected SHA-256 {expected} as published, found {digest}; delete the file"
        )
    if not receipt.exists():
        write_atomic(receipt, f"{digest}\n")
    return True


def load_torchvision_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a downloaded PyTorch file, on the CPU; read in a way that runs no code from it.

    Raises: WeightsError for anything but named tensors.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler meets hostile bytes: it raises nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(f"{path}: expected a PyTorch file of tensors, found: {reason}") from None
    named = isinstance(state, dict) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    )
    if not named or not state:
        found = f"{type(state).__name__} of {len(state)}" if isinstance(state, dict) else type(state).__name__
        raise WeightsError(f"{path}: expected named tensors, found a {found}")
    return dict(state)
