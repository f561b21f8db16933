"""CIFAR-100: 60,000 colour images of 32x32 in 100 classes (Krizhevsky 2009)."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from neoteny.data.cache import Allocate, cache_folder, cached, entry, identity
from neoteny.data.download import Remote, download, sha256
from neoteny.data.files import named_folder, what_named
from neoteny.data.pickles import labelled_images, read_pickle
from neoteny.errors import DataError

__all__ = ["cifar100", "find_cifar100"]

_ARCHIVE = Remote(
    "cifar-100-python.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    169_001_437,
)
_FOLDER = "cifar-100-python"  # in the archive
_CLASSES = 100
_IMAGES = {"train": 500, "test": 100}  # images of a class


def cifar100(data_dir: str | os.PathLike[str] | None = None, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The images and fine labels of CIFAR-100.

    `data_dir`, or else the folder that the environment variable `NEOTENY_DATA` names, must contain the official archive
    `cifar-100-python.tar.gz` or the folder that it unpacks to (directly, or in a folder `cifar100`). Without such a
    folder the archive is downloaded once. It is decoded once into the cache, which all processes share.

    Args:
        data_dir: the folder of the data sets.
        train: whether to give the 50,000 training images or the 10,000 test images.

    Returns:
        Images [N, 3, 32, 32] uint8, memory-mapped and read-only; labels [N] int64, the classes in alphabetical order.

    Raises:
        DataError: a file is missing, truncated, corrupt, unsafe or of another shape, could not be downloaded, or the
            disk is too full; the message names it and the cure.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html

    >>> images, labels = cifar100()  # doctest: +SKIP
    >>> images.shape, labels[:5]  # doctest: +SKIP
    ((50000, 3, 32, 32), array([19, 29,  0, 11,  1]))
    """
    folder, path = named_folder(data_dir), find_cifar100(data_dir)
    archive = cache_folder() / "cifar100" / _ARCHIVE.name
    if folder is None:
        key, parts = _ARCHIVE.sha256, _from_server(archive)
    elif path is None:
        source = what_named(data_dir)
        raise DataError(
            f"CIFAR-100 is missing: {source} names {folder}, but there is neither {_ARCHIVE.name} in it nor the folder "
            f"{_FOLDER}. Put the archive there (it can be had from {_ARCHIVE.urls[0]}), or leave {source} out to have "
            "it fetched."
        )
    elif path.is_dir():
        key, parts = identity(path / part for part in _IMAGES), _from_folder(path)
    else:
        key, parts = identity([path]), _from_archive(path)
    part = "train" if train else "test"
    images, labels = cached("cifar100", key, [f"{part}_images", f"{part}_labels"], lambda room: _decode(parts, room))
    if folder is None:
        archive.unlink(missing_ok=True)  # only the decoded arrays are needed from now on
    return images, np.array(labels)


def find_cifar100(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The path of the unpacked folder or the archive in the user's folder, or else of the decoded download.

    None if there is none; nothing is downloaded or decoded.
    """
    folder = named_folder(data_dir)
    if folder is None:
        fetched = entry("cifar100", _ARCHIVE.sha256)
        return fetched if fetched.is_dir() else None
    for place in (folder / _FOLDER, folder / "cifar100" / _FOLDER, folder / "cifar100", folder):
        if any((place / part).is_file() for part in _IMAGES):
            return place
    archives = (folder / _ARCHIVE.name, folder / "cifar100" / _ARCHIVE.name)
    return next((path for path in archives if path.is_file()), None)


_Parts = Iterable[tuple[str, Path, dict[str, Any]]]  # name, where it was read from, its pickle


def _from_server(archive: Path) -> _Parts:
    yield from _unpacked(download(_ARCHIVE, archive))


def _from_archive(path: Path) -> _Parts:
    size, cure = path.stat().st_size, f"Fetch it again from {_ARCHIVE.urls[0]}."
    if size < _ARCHIVE.size:
        raise DataError(f"{path} is truncated: {size:,} of its {_ARCHIVE.size:,} bytes are there. {cure}")
    if (found := sha256(path)) != _ARCHIVE.sha256:
        raise DataError(f"{path} is corrupt: its SHA-256 is {found}, not {_ARCHIVE.sha256}. {cure}")
    yield from _unpacked(path)


def _unpacked(archive: Path) -> _Parts:
    with tarfile.open(archive) as tar:
        for part in _IMAGES:
            file = tar.extractfile(f"{_FOLDER}/{part}")
            assert file is not None  # the checksum says so
            with file:
                yield part, archive, read_pickle(file, f"{part} in {archive}")


def _from_folder(folder: Path) -> _Parts:
    for part in _IMAGES:
        with open(folder / part, "rb") as file:
            yield part, folder / part, read_pickle(file, folder / part)


def _decode(parts: _Parts, allocate: Allocate) -> None:
    decoded = {}
    for part, path, found in parts:
        decoded[f"{part}_images"], decoded[f"{part}_labels"] = _checked(found, _IMAGES[part], path)
    for name, array in allocate({name: (array.shape, array.dtype) for name, array in decoded.items()}).items():
        array[:] = decoded[name]


def _checked(found: dict[str, Any], per_class: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    cure = f"Fetch {_ARCHIVE.name} again from {_ARCHIVE.urls[0]}."
    count = _CLASSES * per_class
    images, labels = labelled_images(found, "fine_labels", path, cure, count)
    if sorted(labels.tolist()) != np.repeat(np.arange(_CLASSES), per_class).tolist():
        raise DataError(
            f"{path}: 'fine_labels' are not {per_class} of each of the classes 0 to {_CLASSES - 1}, {count:,} in "
            f"all. {cure}"
        )
    return images.reshape(-1, 3, 32, 32), labels
