"""Finds the picture of the truth that a results file means: as written, or below another folder."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence


class PictureNames:
    """The pictures of the truth by their paths.

    files: (N,) paths, with forward slashes. suffixes: whether names have their `.jpg`.
    """

    def __init__(self, files: Sequence[str], *, suffixes: bool = True) -> None:
        self.suffixes = suffixes
        self._paths = [self._key(file) for file in files]
        self._by_path = {path: place for place, path in enumerate(self._paths)}
        self._by_name: dict[str, list[int]] = {}
        for place, path in enumerate(self._paths):
            self._by_name.setdefault(posixpath.basename(path), []).append(place)

    def _key(self, file: str) -> str:
        path = posixpath.normpath(file.replace("\\", "/"))
        return path if self.suffixes else posixpath.splitext(path)[0]

    def find(self, file: str) -> int | None:
        """The place of a picture; None where there is none, or where it could be several.

        `runs/test/1.jpg` is `test/1.jpg` or `1.jpg` of the truth, and the other way round.
        """
        path = self._key(file)
        if path in self._by_path:
            return self._by_path[path]
        fitting = [
            place
            for place in self._by_name.get(posixpath.basename(path), [])
            if f"/{path}".endswith(f"/{self._paths[place]}") or f"/{self._paths[place]}".endswith(f"/{path}")
        ]
        return fitting[0] if len(fitting) == 1 else None
