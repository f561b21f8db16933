"""CIFAR-100: 60,000 colour images of 32x32 in 100 classes, which form 20 superclasses (Krizhevsky 2009)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from neoteny.data.cifar import Cifar
from neoteny.data.download import Remote
from neoteny.data.packed import Packed
from neoteny.data.pickles import whole_numbers
from neoteny.errors import DataError

__all__ = ["SUPERCLASSES", "cifar100", "cifar100_superclasses", "find_cifar100"]

SUPERCLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
        "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
        "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
        "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
        "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
        "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
        "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
        "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
        "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
        "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
        "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
        "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
        "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
        "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
        "people": ("baby", "boy", "girl", "man", "woman"),
        "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
        "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
        "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
        "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
        "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
    }
)
"""The classes of each superclass, both in alphabetical order, which is that of the labels. Source: the table on
https://www.cs.toronto.edu/~kriz/cifar.html."""

_SUPERCLASS_OF = np.array(
    [number for _, number in sorted((name, number) for number, row in enumerate(SUPERCLASSES.values()) for name in row)]
)


def _check_superclasses(batch: dict[str, Any], labels: np.ndarray, place: str) -> None:
    """The file's own superclasses must be those of the table; some copies of the data set have none."""
    if "coarse_labels" not in batch or not ((labels >= 0) & (labels < len(_SUPERCLASS_OF))).all():
        return
    coarse, ours = whole_numbers(batch["coarse_labels"]), _SUPERCLASS_OF[labels]
    if not np.array_equal(coarse, ours):
        other = np.flatnonzero(coarse != ours) if len(coarse) == len(ours) else []
        what = f"image {other[0]} of class {labels[other[0]]} has {coarse[other[0]]}" if len(other) else "it has others"
        raise DataError(
            f"{place}: 'coarse_labels' are not the superclasses of 'fine_labels': {what}. Fetch the file again from "
            f"{_CIFAR100.packed.remote.urls[0]}."
        )


_CIFAR100 = Cifar(
    Packed(
        "cifar100",
        "CIFAR-100",
        Remote(
            "cifar-100-python.tar.gz",
            ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            169_001_437,
        ),
        "cifar-100-python",
        ("train", "test"),
    ),
    "fine_labels",
    100,
    {"train": ("train",), "test": ("test",)},
    {"train": 500, "test": 100},
    _check_superclasses,
)


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
    return _CIFAR100.read(data_dir, train)


def cifar100_superclasses(
    data_dir: str | os.PathLike[str] | None = None, train: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The images of CIFAR-100 with the labels of its 20 superclasses: a data set of CIFAR-10's size.

    The superclass of an image is that of its class in `SUPERCLASSES`. Where a file has superclasses of its own, they
    must be the same.

    Args:
        data_dir: as for `cifar100`.
        train: as for `cifar100`.

    Returns:
        Images [N, 3, 32, 32] uint8, memory-mapped and read-only; labels [N] int64 below 20.

    Raises:
        DataError: as for `cifar100`; or a file's own superclasses are others.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html

    >>> list(SUPERCLASSES)[11]
    'large_omnivores_and_herbivores'
    >>> images, labels = cifar100_superclasses()  # doctest: +SKIP
    >>> labels[:5]  # doctest: +SKIP
    array([11, 15,  4, 14,  1])
    """
    images, labels = cifar100(data_dir, train)
    return images, _SUPERCLASS_OF[labels]


def find_cifar100(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The path of the unpacked folder or the archive in the user's folder, or else of the decoded download.

    None if there is none; nothing is downloaded or decoded.
    """
    return _CIFAR100.packed.find(data_dir)
