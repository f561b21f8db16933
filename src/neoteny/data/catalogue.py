"""The data sets by name: where each one is, how to get it, and its images and labels in one shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from neoteny.data.cifar10 import cifar10, find_cifar10
from neoteny.data.cifar100 import cifar100, cifar100_superclasses, find_cifar100
from neoteny.data.electricity import electricity, find_electricity
from neoteny.data.fashion_mnist import fashion_mnist, find_fashion_mnist
from neoteny.data.flights import find_flights, flights
from neoteny.data.imagenet32 import find_imagenet32, imagenet32
from neoteny.data.mnist import find_mnist, mnist
from neoteny.data.svhn import find_svhn, svhn
from neoteny.data.tiny_imagenet import find_tiny_imagenet, tiny_imagenet
from neoteny.errors import UnknownNameError

__all__ = ["DATA_SETS", "DataSet", "Labelled", "labelled"]

DataDir = str | PathLike[str] | None
_HELD_OUT = 11
"""Of ImageNet32, which has no test images of its own, the last of so many images of each class are held out."""


class Labelled(NamedTuple):
    """Labelled images to train on and to test on.

    Attributes:
        train_images: [N, channels, side, side] uint8, 1 or 3 channels; often memory-mapped and read-only.
        train_labels: [N] int64.
        test_images: [M, channels, side, side] uint8.
        test_labels: [M] int64.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def classes(self) -> int:
        """How many classes there are; labels are below it."""
        return int(self.train_labels.max()) + 1


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        name: its name.
        summary: one line that describes it.
        cure: how to get it.
        find: from `data_dir` to a line on where it is; None if it is not there. Downloads and decodes nothing.
        load: from `data_dir` to a line that describes it, after it was downloaded, checked and decoded.
        labelled: from `data_dir` to its images and labels; None where there are none.
    """

    name: str
    summary: str
    cure: str
    find: Callable[[DataDir], str | None]
    load: Callable[[DataDir], str]
    labelled: Callable[[DataDir], Labelled] | None = None


def labelled(name: str, data_dir: DataDir = None) -> Labelled:
    """Images and labels of a data set, to train on and to test on.

    The split is the official one. For Tiny-ImageNet the official validation images are the test images. ImageNet32 has
    no split: the last eleventh of each class, rounded down, one image at least, is held out (50 of 550); its images are
    copied into memory.

    Args:
        name: one of `DATA_SETS`: `mnist`, `fashion-mnist`, `cifar10`, `cifar100`, `cifar100-superclasses`, `svhn`,
            `tiny-imagenet`, `imagenet32`.
        data_dir: the folder of the data sets; see the function of that name in `neoteny.data`.

    Raises:
        UnknownNameError: there is no such data set.
        DataError: it is missing, truncated or corrupt, or could not be downloaded.

    >>> found = labelled("cifar100-superclasses")  # doctest: +SKIP
    >>> found.train_images.shape, found.classes  # doctest: +SKIP
    ((50000, 3, 32, 32), 20)
    """
    readers = {known: data_set.labelled for known, data_set in DATA_SETS.items() if data_set.labelled is not None}
    if name not in readers:
        raise UnknownNameError(name, readers, "data set of images")
    return readers[name](data_dir)


_Reader = Callable[[DataDir, bool], tuple[np.ndarray, np.ndarray]]


def _split(
    name: str, summary: str, size: str, find: Callable[[DataDir], PathLike[str] | None], read: _Reader
) -> DataSet:
    """A data set that is downloaded, with an official split, of square images."""

    def both(data_dir: DataDir) -> Labelled:
        (train_images, train_labels), (test_images, test_labels) = read(data_dir, True), read(data_dir, False)
        return Labelled(_as_images(train_images), train_labels, _as_images(test_images), test_labels)

    def load(data_dir: DataDir) -> str:
        found = both(data_dir)
        counts, shape = (len(found.train_labels), len(found.test_labels)), found.train_images.shape[1:]
        return f"{counts[0]:,} + {counts[1]:,} images of {'x'.join(map(str, shape))} in {found.classes} classes"

    def place(data_dir: DataDir) -> str | None:
        return _shown(find(data_dir))

    return DataSet(name, summary, f"`neoteny data {name}` fetches it ({size})", place, load, both)


def _as_images(images: np.ndarray) -> np.ndarray:
    """Grey images row by row, [N, pixels], as [N, 1, side, side]; others as they are."""
    side = round(images.shape[1] ** 0.5)
    return images.reshape(-1, 1, side, side) if images.ndim == 2 else images


def _find_imagenet32(data_dir: DataDir) -> str | None:
    layout = find_imagenet32(data_dir)
    return layout and f"{layout.folder}: {layout.kind}, {len(layout.files):,} files"


def _shown(path: PathLike[str] | None) -> str | None:
    return None if path is None else str(path)


def _imagenet32(data_dir: DataDir) -> Labelled:
    images = imagenet32(data_dir).images
    out = [max(1, len(own) // _HELD_OUT) for own in images]
    classes = np.arange(len(images))
    return Labelled(
        np.concatenate([own[:-n] for own, n in zip(images, out, strict=True)]),
        classes.repeat([len(own) - n for own, n in zip(images, out, strict=True)]),
        np.concatenate([own[-n:] for own, n in zip(images, out, strict=True)]),
        classes.repeat(out),
    )


_ALL = (
    _split("mnist", "handwritten digits: 60,000 + 10,000 images of 28x28 in 10 classes", "12 MB", find_mnist, mnist),
    _split(
        "fashion-mnist",
        "clothes: 60,000 + 10,000 images of 28x28 in 10 classes",
        "31 MB",
        find_fashion_mnist,
        fashion_mnist,
    ),
    _split(
        "cifar10",
        "animals and vehicles: 50,000 + 10,000 images of 3x32x32 in 10 classes",
        "170 MB",
        find_cifar10,
        cifar10,
    ),
    _split(
        "cifar100",
        "things and animals: 50,000 + 10,000 images of 3x32x32 in 100 classes",
        "169 MB",
        find_cifar100,
        cifar100,
    ),
    _split(
        "cifar100-superclasses",
        "the same images in 20 classes",
        "169 MB, with cifar100",
        find_cifar100,
        cifar100_superclasses,
    ),
    _split("svhn", "house numbers: 73,257 + 26,032 digits of 3x32x32 in 10 classes", "246 MB", find_svhn, svhn),
    _split(
        "tiny-imagenet",
        "ImageNet at 3x64x64: 100,000 + 10,000 images in 200 classes",
        "248 MB; reading it needs Pillow",
        find_tiny_imagenet,
        tiny_imagenet,
    ),
    DataSet(
        "imagenet32",
        "ImageNet at 3x32x32, as many classes as there are",
        "download it from https://image-net.org/download-images (needs a registration); give its folder by --data-dir",
        _find_imagenet32,
        lambda data_dir: f"{imagenet32(data_dir).source} of 3x32x32",
        _imagenet32,
    ),
    DataSet(
        "flights",
        "3,000,000 US flights of 2001 in time order: delay, distance, airports",
        "`neoteny data flights` fetches it (13 MB)",
        lambda data_dir: _shown(find_flights(data_dir)),
        lambda data_dir: f"{len(flights(data_dir).delay):,} flights between {len(flights(data_dir).airports)} airports",
    ),
    DataSet(
        "electricity",
        "hourly electricity demand of Victoria in 2012: 3,600 values",
        "pip install statsmodels, which has it",
        lambda data_dir: _shown(find_electricity(data_dir)),
        lambda data_dir: f"{len(electricity(data_dir)):,} hours",
    ),
)

DATA_SETS: Mapping[str, DataSet] = MappingProxyType({data_set.name: data_set for data_set in _ALL})
"""Every data set by its name."""
