"""SVHN: house numbers seen from the street, 99,289 digits cut out to 32x32 (Netzer et al. 2011)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from neoteny.data.cache import Allocate
from neoteny.data.download import Remote
from neoteny.data.packed import Packed

__all__ = ["find_svhn", "svhn"]

_SERVER = "http://ufldl.stanford.edu/housenumbers/"


def _packed(name: str, sha256: str, size: int) -> Packed:
    return Packed("svhn", "SVHN", Remote(name, (_SERVER + name,), sha256, size))


# Checksums and sizes are those of tensorflow/datasets, url_checksums/svhn_cropped.txt; the checksums also those of
# pytorch/vision, prototype/datasets/_builtin/svhn.py.
_TRAIN = _packed("train_32x32.mat", "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8", 182_040_794)
_TEST = _packed("test_32x32.mat", "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b", 64_275_384)


def svhn(data_dir: str | os.PathLike[str] | None = None, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of SVHN's cropped digits.

    `data_dir`, or else the folder that the environment variable `NEOTENY_DATA` names, must contain the official file
    `train_32x32.mat` or `test_32x32.mat` (directly, or in a folder `svhn`). Without such a folder the file is
    downloaded once. It is decoded once into the cache, which all processes share. The `extra` images are not read.

    Args:
        data_dir: the folder of the data sets.
        train: whether to give the 73,257 training images or the 26,032 test images.

    Returns:
        Images [N, 3, 32, 32] uint8, memory-mapped and read-only; labels [N] int64, the digits 0 to 9. Digits are not
        equally frequent.

    Raises:
        DataError: a file is missing, truncated or corrupt, could not be downloaded, or the disk is too full; the
            message names it and the cure.

    Source: http://ufldl.stanford.edu/housenumbers

    >>> images, labels = svhn()  # doctest: +SKIP
    >>> images.shape, labels[:5]  # doctest: +SKIP
    ((73257, 3, 32, 32), array([1, 9, 2, 3, 2]))
    """
    images, labels = (_TRAIN if train else _TEST).arrays(data_dir, ["images", "labels"], _decode)
    return images, np.array(labels)


def find_svhn(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder of both files in the user's folder, or of both decoded downloads; None if one is not there."""
    found = [packed.find(data_dir) for packed in (_TRAIN, _TEST)]
    return found[0].parent if found[0] is not None and found[1] is not None else None


def _decode(path: Path, allocate: Allocate) -> None:
    from scipy.io import loadmat

    found = loadmat(path, variable_names=["X", "y"])
    images, labels = found["X"], found["y"]  # [rows, columns, colours, N] and [N, 1], where 10 is the digit 0
    shape = (images.shape[3], images.shape[2], *images.shape[:2])
    arrays = allocate({"images": (shape, np.uint8), "labels": (shape[:1], np.int64)})
    arrays["images"][:] = images.transpose(3, 2, 0, 1)
    arrays["labels"][:] = labels[:, 0] % 10
