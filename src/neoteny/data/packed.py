"""A data set that is distributed as one file, mostly an archive.

It lies in the user's folder, packed or unpacked, or is downloaded, and is decoded once into the cache. A download is
deleted then, as only the decoded arrays are needed from there on.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neoteny.data.cache import Allocate, cache_folder, cached, entry, identity
from neoteny.data.download import Remote, download, sha256
from neoteny.data.files import named_folder, what_named
from neoteny.errors import DataError

__all__ = ["Packed", "Read", "reading", "where"]

Read = Callable[[str], bytes]
"""Gives the content of a file by its name in the folder that the archive unpacks to."""


@dataclass(frozen=True)
class Packed:
    """The data set.

    Attributes:
        data_set: its name, and that of its folder in the user's folder and in the cache.
        title: its name for messages.
        remote: the file.
        folder: the folder that the archive unpacks to; empty if the file is no archive.
        marks: files of which one at least lies in an unpacked folder.
        files: from an unpacked folder to all files in it that are read; by default the marks.
    """

    data_set: str
    title: str
    remote: Remote
    folder: str = ""
    marks: Sequence[str] = ()
    files: Callable[[Path], Iterable[str]] | None = field(default=None, repr=False)

    def find(self, data_dir: str | os.PathLike[str] | None) -> Path | None:
        """The path of the unpacked folder or of the file in the user's folder, or else of the decoded download.

        None if there is none; nothing is downloaded or decoded.
        """
        folder = named_folder(data_dir)
        if folder is None:
            fetched = entry(self.data_set, self.remote.sha256)
            return fetched if fetched.is_dir() else None
        own = folder / self.data_set
        for place in (folder / self.folder, own / self.folder, own, folder):
            if any((place / mark).is_file() for mark in self.marks):
                return place
        return next((path for path in (folder / self.remote.name, own / self.remote.name) if path.is_file()), None)

    def arrays(
        self,
        data_dir: str | os.PathLike[str] | None,
        names: Iterable[str],
        decode: Callable[[Path, Allocate], None],
    ) -> tuple[np.ndarray, ...]:
        """The decoded arrays, memory-mapped and read-only.

        Args:
            data_dir: the folder of the data sets.
            names: of the arrays to return.
            decode: called the first time with the path of the unpacked folder or of the file, whose checksum is right;
                see `neoteny.data.cache.cached`.

        Raises:
            DataError: the data set is missing, truncated or corrupt, or could not be downloaded, or the disk is too
                full.
        """
        if named_folder(data_dir) is None:
            fetched = cache_folder() / self.data_set / self.remote.name
            found = cached(
                self.data_set, self.remote.sha256, names, lambda room: decode(download(self.remote, fetched), room)
            )
            with suppress(OSError):  # it is gone already, or the cache is for reading alone
                fetched.unlink()
            return found
        path = self.find(data_dir)
        if path is None:
            source = what_named(data_dir)
            unpacked = f"neither {self.remote.name} in it nor the folder {self.folder}" if self.folder else ""
            raise DataError(
                f"{self.title} is missing: {source} names {named_folder(data_dir)}, but there is "
                f"{unpacked or f'no {self.remote.name} in it'}. Put the file there (it can be had from "
                f"{self.remote.urls[0]}), or leave {source} out to have it fetched."
            )
        if path.is_dir():
            files = self.marks if self.files is None else self.files(path)
            return cached(
                self.data_set, identity(path / name for name in files), names, lambda room: decode(path, room)
            )
        return cached(self.data_set, identity([path]), names, lambda room: decode(self._checked(path), room))

    def _checked(self, path: Path) -> Path:
        """The user's file, whose checksum must be right."""
        size, cure = path.stat().st_size, f"Fetch it again from {self.remote.urls[0]}."
        if size < self.remote.size:
            raise DataError(f"{path} is truncated: {size:,} of its {self.remote.size:,} bytes are there. {cure}")
        if (found := sha256(path)) != self.remote.sha256:
            raise DataError(f"{path} is corrupt: its SHA-256 is {found}, not {self.remote.sha256}. {cure}")
        return path


@contextmanager
def reading(path: Path, folder: str) -> Iterator[Read]:
    """A function that reads files of a data set by their names in its folder.

    Args:
        path: the unpacked folder; or an archive, zip or tar, whose checksum is right.
        folder: the folder in the archive.
    """
    if path.is_dir():
        yield lambda name: _content(path / name)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            yield lambda name: archive.read(f"{folder}/{name}")
    else:
        with tarfile.open(path) as tar:
            yield lambda name: _member(tar, f"{folder}/{name}")


def where(path: Path, name: str) -> str:
    """Where a file is, for messages."""
    return str(path / name) if path.is_dir() else f"{name} in {path}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}. Put the file there.") from None


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None  # a file, as the checksum of the archive is right
    with file:
        return file.read()
