"""The data sets: where each one is, and how to get it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from types import MappingProxyType

from neoteny.data.cifar100 import cifar100, find_cifar100
from neoteny.data.imagenet32 import find_imagenet32, imagenet32
from neoteny.data.mnist import find_mnist, mnist

__all__ = ["DATA_SETS", "DataSet"]

DataDir = str | PathLike[str] | None


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        name: its name.
        summary: one line that describes it.
        cure: how to get it.
        find: from `data_dir` to a line on where it is; None if it is not there. Downloads and decodes nothing.
        load: from `data_dir` to a line that describes it, after it was downloaded, checked and decoded.
    """

    name: str
    summary: str
    cure: str
    find: Callable[[DataDir], str | None]
    load: Callable[[DataDir], str]


def _shown(path: PathLike[str] | None) -> str | None:
    return None if path is None else str(path)


def _find_imagenet32(data_dir: DataDir) -> str | None:
    layout = find_imagenet32(data_dir)
    return layout and f"{layout.folder}: {layout.kind}, {len(layout.files):,} files"


def _load_mnist(data_dir: DataDir) -> str:
    train, test = (mnist(data_dir, train)[0].shape for train in (True, False))
    return f"{train[0]:,} + {test[0]:,} images of 28x28 in 10 classes"


def _load_cifar100(data_dir: DataDir) -> str:
    train, test = (cifar100(data_dir, train)[0].shape for train in (True, False))
    return f"{train[0]:,} + {test[0]:,} images of 3x32x32 in 100 classes"


def _load_imagenet32(data_dir: DataDir) -> str:
    return f"{imagenet32(data_dir).source} of 3x32x32"


_ALL = (
    DataSet(
        "mnist",
        "handwritten digits: 60,000 + 10,000 images of 28x28 in 10 classes",
        "`neoteny data mnist` fetches it (12 MB)",
        lambda data_dir: _shown(find_mnist(data_dir)),
        _load_mnist,
    ),
    DataSet(
        "cifar100",
        "things and animals: 50,000 + 10,000 images of 3x32x32 in 100 classes",
        "`neoteny data cifar100` fetches it (169 MB)",
        lambda data_dir: _shown(find_cifar100(data_dir)),
        _load_cifar100,
    ),
    DataSet(
        "imagenet32",
        "ImageNet at 3x32x32, as many classes as there are",
        "download it from https://image-net.org/download-images (needs a registration); give its folder by --data-dir",
        _find_imagenet32,
        _load_imagenet32,
    ),
)

DATA_SETS: Mapping[str, DataSet] = MappingProxyType({data_set.name: data_set for data_set in _ALL})
"""Every data set by its name."""
