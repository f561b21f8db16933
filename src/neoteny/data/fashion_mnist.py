"""Fashion-MNIST: 70,000 pictures of clothes, as large as MNIST's digits (Xiao, Rasul and Vollgraf 2017)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from neoteny.data.idx_set import IdxFile, IdxSet

if TYPE_CHECKING:
    import numpy as np

__all__ = ["fashion_mnist", "find_fashion_mnist"]

# The checksums and sizes of the gzipped files are those of tensorflow/datasets, url_checksums/fashion_mnist.txt; the
# checksums also those of pytorch/vision, prototype/datasets/_builtin/mnist.py. The checksums of the contents are
# computed from Debian's package, whose gzipped files differ in their headers; their MD5s are those that the authors'
# files have when they are unpacked.
_FASHION_MNIST = IdxSet(
    "fashion-mnist",
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    train=(
        IdxFile(
            "train-images-idx3-ubyte.gz",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            26_421_880,
        ),
        IdxFile(
            "train-labels-idx1-ubyte.gz",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            29_515,
        ),
    ),
    test=(
        IdxFile(
            "t10k-images-idx3-ubyte.gz",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            4_422_102,
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte.gz",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            5_148,
        ),
    ),
    installed=(Path("/usr/share/datasets/fashion-mnist"),),  # Debian's package dataset-fashion-mnist
)


def fashion_mnist(data_dir: str | os.PathLike[str] | None = None, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of Fashion-MNIST.

    The files are read from the folder `fashion-mnist` in `data_dir`, or else in the folder that the environment
    variable `NEOTENY_DATA` names; or from where Debian's package `dataset-fashion-mnist` puts them; or from the named
    folder itself. Without a named folder and the package they are downloaded once into the cache. The checksum of the
    uncompressed content is checked whenever it is read.

    Args:
        data_dir: the folder of the data sets.
        train: whether to give the 60,000 training images or the 10,000 test images.

    Returns:
        Images [N, 784] uint8, row by row, 0 is the background; labels [N] int64: T-shirt, trousers, pullover, dress,
        coat, sandal, shirt, sneaker, bag, ankle boot.

    Raises:
        DataError: a file is missing, truncated, corrupt, or could not be downloaded; the message names it and the cure.

    Source: https://github.com/zalandoresearch/fashion-mnist; Xiao, Rasul & Vollgraf, arXiv 1708.07747, 2017.

    >>> images, labels = fashion_mnist()  # doctest: +SKIP
    >>> images.shape, labels[:5]  # doctest: +SKIP
    ((60000, 784), array([9, 0, 0, 3, 0]))
    """
    return _FASHION_MNIST.read(data_dir, train)


def find_fashion_mnist(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder with all four files, in the user's folder, from Debian's package or in the cache, or None."""
    return _FASHION_MNIST.find(data_dir)
