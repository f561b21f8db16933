"""CIFAR-10: 60,000 colour images of 32x32 in 10 classes (Krizhevsky 2009)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from neoteny.data.cifar import Cifar
from neoteny.data.download import Remote
from neoteny.data.packed import Packed

if TYPE_CHECKING:
    import numpy as np

__all__ = ["cifar10", "find_cifar10"]

_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_CIFAR10 = Cifar(
    Packed(
        "cifar10",
        "CIFAR-10",
        Remote(
            "cifar-10-python.tar.gz",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
            # of pytorch/vision, prototype/datasets/_builtin/cifar.py, and of keras, datasets/cifar10.py
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            170_498_071,
        ),
        "cifar-10-batches-py",
        (*_BATCHES["train"], *_BATCHES["test"]),
    ),
    "labels",
    10,
    _BATCHES,
    {"train": 5_000, "test": 1_000},
)


def cifar10(data_dir: str | os.PathLike[str] | None = None, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of CIFAR-10.

    `data_dir`, or else the folder that the environment variable `NEOTENY_DATA` names, must contain the official archive
    `cifar-10-python.tar.gz` or the folder `cifar-10-batches-py` that it unpacks to (directly, or in a folder
    `cifar10`). Without such a folder the archive is downloaded once. It is decoded once into the cache, which all
    processes share.

    Args:
        data_dir: the folder of the data sets.
        train: whether to give the 50,000 training images or the 10,000 test images.

    Returns:
        Images [N, 3, 32, 32] uint8, memory-mapped and read-only; labels [N] int64, the classes in alphabetical order.

    Raises:
        DataError: a file is missing, truncated, corrupt, unsafe or of another shape, could not be downloaded, or the
            disk is too full; the message names it and the cure.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html

    >>> images, labels = cifar10()  # doctest: +SKIP
    >>> images.shape, labels[:5]  # doctest: +SKIP
    ((50000, 3, 32, 32), array([6, 9, 9, 4, 1]))
    """
    return _CIFAR10.read(data_dir, train)


def find_cifar10(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The path of the unpacked folder or the archive in the user's folder, or else of the decoded download.

    None if there is none; nothing is downloaded or decoded.
    """
    return _CIFAR10.packed.find(data_dir)
