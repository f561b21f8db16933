"""The user's cache: decoded data sets as memory-mapped arrays that processes share, each written once.

    CACHE/DATA_SET/KEY/NAME.npy

An entry is written into a temporary folder, under a lock, and renamed when it is complete. The cache can be deleted at
any time.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike

from neoteny.errors import DataError

__all__ = ["CACHE_VARIABLE", "Allocate", "cache_folder", "cached", "entry", "identity", "locked", "require_room"]

CACHE_VARIABLE = "NEOTENY_CACHE"
"""The environment variable that names the folder of the cache; by default it is the system's folder for caches."""

_CURE = f"Check the disk, or name another folder with {CACHE_VARIABLE}."
_VERSION = 1  # of the decoded format; entries of another version are not read

Allocate = Callable[[Mapping[str, tuple[tuple[int, ...], DTypeLike]]], dict[str, np.ndarray]]
"""Makes the arrays of an entry from their shapes and types, writable and filled with zeros."""


def cache_folder() -> Path:
    """The folder of the cache: the one that `NEOTENY_CACHE` names, or else the system's folder for caches."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("neoteny"))


def identity(files: Iterable[Path]) -> str:
    """A key that changes when a file is replaced, changed or moved: from paths, sizes and times, not from contents.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            found = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}. Put the file there.") from None
        digest.update(f"{path.absolute()}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def entry(data_set: str, key: str) -> Path:
    """The folder of an entry; it exists if it was decoded before."""
    return cache_folder() / data_set / f"{key[:24]}-{_VERSION}"


def cached(data_set: str, key: str, names: Iterable[str], decode: Callable[[Allocate], None]) -> tuple[np.ndarray, ...]:
    """The arrays of an entry, decoded the first time and memory-mapped from then on.

    Several processes may call this at once: one decodes, the others wait for it.

    Args:
        data_set: the data set's name.
        key: identifies its contents (`identity`, or a checksum).
        names: of the arrays to return.
        decode: called as `decode(allocate)` if there is no such entry; it calls `allocate` once to make the arrays, and
            fills them.

    Returns:
        Read-only arrays in the order of `names`.

    Raises:
        DataError: the disk is too full for the arrays, or the cache cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> from unittest import mock
    >>> def decode(allocate):
    ...     allocate({"squares": ((5,), np.int64)})["squares"][:] = np.arange(5) ** 2
    >>> with TemporaryDirectory() as folder, mock.patch.dict(os.environ, {CACHE_VARIABLE: folder}):
    ...     cached("example", "1", ["squares"], decode)
    (array([ 0,  1,  4,  9, 16]),)
    """
    names = tuple(names)
    folder = entry(data_set, key)
    if (found := _open(folder, names)) is not None:
        return found
    with locked(folder):
        if (found := _open(folder, names)) is not None:  # another process has decoded it meanwhile
            return found
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed, as the lock was free
        try:
            decode(lambda arrays: _allocate(part, arrays, data_set))
            _to_disk(part)
            shutil.rmtree(folder, ignore_errors=True)  # an incomplete one
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    found = _open(folder, names)
    assert found is not None, f"what was just decoded has none of {names}"
    return found


def require_room(folder: Path, need: int, what: str) -> None:
    """Check that the disk has room before something is written.

    Raises:
        DataError: fewer than `need` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < need:
        raise DataError(
            f"{folder} has too little room for {what}: it needs {need / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are "
            f"free. Make room, or name a folder on a larger disk with {CACHE_VARIABLE}."
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on a path, which other processes then wait for; makes the folder around it.

    Raises:
        DataError: nothing can be written there.
    """
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        lock.acquire()
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}. {_CURE}") from None
    try:
        yield
    finally:
        lock.release()


def _open(folder: Path, names: Iterable[str]) -> tuple[np.ndarray, ...] | None:
    """The arrays, or None if there is no entry or a file is shorter than its header says."""
    try:
        return tuple(open_memmap(folder / f"{name}.npy", mode="r").view(np.ndarray) for name in names)
    except (OSError, ValueError):
        return None


def _allocate(
    folder: Path, arrays: Mapping[str, tuple[tuple[int, ...], DTypeLike]], data_set: str
) -> dict[str, np.ndarray]:
    require_room(
        folder.parent,
        sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in arrays.values()),
        f"the decoded {data_set}",
    )
    made = {}
    try:
        folder.mkdir()
        for name, (shape, dtype) in arrays.items():
            path = folder / f"{name}.npy"
            made[name] = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
            _reserve(path)
    except OSError as error:  # another process may have filled the disk meanwhile
        raise DataError(f"{folder.parent} cannot be written: {error}. {_CURE}") from None
    return made


def _reserve(path: Path) -> None:
    """Reserve the disk space of a mapped file: writing to a map on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in (
                    errno.EOPNOTSUPP,
                    errno.EINVAL,
                    errno.ENOSYS,
                ):  # not everywhere
                    raise


def _to_disk(folder: Path) -> None:
    """Write the files to the disk, so that the entry is complete even after a power cut."""
    for path in folder.iterdir():
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
