"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges 1998)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from neoteny.data.idx_set import IdxFile, IdxSet

if TYPE_CHECKING:
    import numpy as np

__all__ = ["find_mnist", "mnist"]

_MNIST = IdxSet(
    "mnist",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    train=(
        IdxFile(
            "train-images-idx3-ubyte.gz",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            9_912_422,
        ),
        IdxFile(
            "train-labels-idx1-ubyte.gz",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            28_881,
        ),
    ),
    test=(
        IdxFile(
            "t10k-images-idx3-ubyte.gz",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            1_648_877,
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte.gz",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            4_542,
        ),
    ),
)


def mnist(data_dir: str | os.PathLike[str] | None = None, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of MNIST.

    The files are read from `data_dir`, or else from the folder that the environment variable `NEOTENY_DATA` names
    (directly, or in its folder `mnist`). Without such a folder they are downloaded once into the cache. The checksum of
    the uncompressed content is checked whenever it is read.

    Args:
        data_dir: the folder of the data sets.
        train: whether to give the 60,000 training images or the 10,000 test images.

    Returns:
        Images [N, 784] uint8, row by row, 0 is the background; labels [N] int64.

    Raises:
        DataError: a file is missing, truncated, corrupt, or could not be downloaded; the message names it and the cure.

    >>> images, labels = mnist()  # doctest: +SKIP
    >>> images.shape, labels[:5]  # doctest: +SKIP
    ((60000, 784), array([5, 0, 4, 1, 9]))
    """
    return _MNIST.read(data_dir, train)


def find_mnist(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder with all four files, in the user's folder or else in the cache; None if there is none."""
    return _MNIST.find(data_dir)
