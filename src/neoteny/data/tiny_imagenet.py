"""Tiny-ImageNet: 110,000 pictures of 64x64 in 200 classes of ImageNet (Stanford's course CS231n, 2015)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from neoteny.data.cache import Allocate
from neoteny.data.download import Remote
from neoteny.data.packed import Packed, Read, reading, where
from neoteny.data.pictures import decoders, picture
from neoteny.errors import DataError
from neoteny.progress import bar

__all__ = ["find_tiny_imagenet", "tiny_imagenet"]

_SIDE, _CLASSES = 64, 200
_PER_CLASS = {"train": 500, "test": 50}
_NAMES, _TEST_LABELS = "wnids.txt", "val/val_annotations.txt"
_CHUNK = 500  # pictures that are read before they are decoded
_FOLDER = "tiny-imagenet-200"


def _files(folder: Path) -> Iterator[str]:
    with reading(folder, _FOLDER) as read:
        found = _pictures(read, folder)
    yield from (_NAMES, _TEST_LABELS)
    for pictures in found.values():
        yield from (name for name, _ in pictures)


_TINY_IMAGENET = Packed(
    "tiny-imagenet",
    "Tiny-ImageNet",
    Remote(
        "tiny-imagenet-200.zip",
        ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
        # No library has a SHA-256. This one is in several public repositories that check their download with it, and
        # the size is reported beside the MD5 that the loaders of others check, 90528d7ca1a48142e341f4ef8d21d0de.
        "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
        248_100_043,
    ),
    _FOLDER,
    (_NAMES, _TEST_LABELS),
    _files,
)


def tiny_imagenet(data_dir: str | os.PathLike[str] | None = None, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of Tiny-ImageNet; reading it needs Pillow.

    `data_dir`, or else the folder that the environment variable `NEOTENY_DATA` names, must contain the official archive
    `tiny-imagenet-200.zip` or the folder `tiny-imagenet-200` that it unpacks to (directly, or in a folder
    `tiny-imagenet`). Without such a folder the archive is downloaded once. It is decoded once into the cache, which all
    processes share: 1.4 GB.

    Args:
        data_dir: the folder of the data sets.
        train: whether to give the 100,000 training images or the 10,000 test images. The latter are the official
            validation images, since the labels of the official test images were never published.

    Returns:
        Images [N, 3, 64, 64] uint8, memory-mapped and read-only; labels [N] int64, the classes in the order of their
        WordNet ids. Training images are sorted by class. The few grey pictures have three equal colours.

    Raises:
        DataError: a file is missing, truncated, corrupt or of another size, could not be downloaded, the disk is too
            full, or Pillow is not installed; the message names it and the cure.

    Source: http://cs231n.stanford.edu; Le & Yang, "Tiny ImageNet visual recognition challenge", 2015.

    >>> images, labels = tiny_imagenet()  # doctest: +SKIP
    >>> images.shape, labels[::25_000]  # doctest: +SKIP
    ((100000, 3, 64, 64), array([  0,  50, 100, 150]))
    """
    part = "train" if train else "test"
    images, labels = _TINY_IMAGENET.arrays(data_dir, [f"{part}_images", f"{part}_labels"], _decode)
    return images, np.array(labels)


def find_tiny_imagenet(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The path of the unpacked folder or the archive in the user's folder, or else of the decoded download.

    None if there is none; nothing is downloaded or decoded.
    """
    return _TINY_IMAGENET.find(data_dir)


def _pictures(read: Read, path: Path) -> dict[str, list[tuple[str, int]]]:
    """The name and label of each picture, of both parts."""
    classes = sorted(set(read(_NAMES).decode(errors="replace").split()))
    if len(classes) != _CLASSES:
        raise DataError(f"{where(path, _NAMES)} has {len(classes)} classes, not {_CLASSES}. {_cure()}")
    train = [
        (f"train/{name}/images/{name}_{number}.JPEG", label)
        for label, name in enumerate(classes)
        for number in range(_PER_CLASS["train"])
    ]
    lines = [line.split("\t") for line in read(_TEST_LABELS).decode(errors="replace").splitlines()]
    known = {name: label for label, name in enumerate(classes)}
    test = [(f"val/images/{line[0]}", known[line[1]]) for line in lines if len(line) > 1 and line[1] in known]
    counts = np.bincount([label for _, label in test], minlength=_CLASSES)
    if len(test) != len(lines) or (counts != _PER_CLASS["test"]).any():
        raise DataError(
            f"{where(path, _TEST_LABELS)} does not name {_PER_CLASS['test']} pictures of each of the {_CLASSES} "
            f"classes, {_PER_CLASS['test'] * _CLASSES:,} in all. {_cure()}"
        )
    return {"train": train, "test": test}


def _decode(path: Path, allocate: Allocate) -> None:
    with decoders(path) as pool, reading(path, _FOLDER) as read:
        found = _pictures(read, path)
        arrays = allocate(
            {f"{part}_images": ((len(every), 3, _SIDE, _SIDE), np.uint8) for part, every in found.items()}
            | {f"{part}_labels": ((len(every),), np.int64) for part, every in found.items()}
        )
        with bar("decoding images", sum(map(len, found.values()))) as advance:
            for part, every in found.items():
                arrays[f"{part}_labels"][:] = [label for _, label in every]
                for begin in range(0, len(every), _CHUNK):
                    chunk = [(where(path, name), read(name)) for name, _ in every[begin : begin + _CHUNK]]
                    for number, image in enumerate(pool.map(_image, chunk), begin):
                        arrays[f"{part}_images"][number] = image
                    advance(len(chunk))


def _image(file: tuple[str, bytes]) -> np.ndarray:
    """[3, 64, 64]."""
    place, content = file
    image = picture(BytesIO(content), place)
    if image.size != (_SIDE, _SIDE):
        raise DataError(f"{place} has {image.size[0]}x{image.size[1]} pixels, not {_SIDE}x{_SIDE}. {_cure()}")
    return np.asarray(image).transpose(2, 0, 1)


def _cure() -> str:
    return f"Fetch {_TINY_IMAGENET.remote.name} again from {_TINY_IMAGENET.remote.urls[0]}."
