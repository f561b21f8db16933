"""What CIFAR-10 and CIFAR-100 have in common: colour images of 32x32 in pickled batches (Krizhevsky 2009)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from neoteny.data.cache import Allocate
from neoteny.data.packed import Packed, Read, reading, where
from neoteny.data.pickles import labelled_images, read_pickle
from neoteny.errors import DataError

__all__ = ["Cifar"]


@dataclass(frozen=True)
class Cifar:
    """One of the two.

    Attributes:
        packed: the archive.
        labels: the key of the labels in a batch.
        classes: how many there are.
        batches: files of the training images (`train`) and of the test images (`test`).
        per_class: images of a class in each of both.
        check: called with each batch, its labels and where it is, for what else must hold; raises DataError.
    """

    packed: Packed
    labels: str
    classes: int
    batches: Mapping[str, tuple[str, ...]]
    per_class: Mapping[str, int]
    check: Callable[[dict[str, Any], np.ndarray, str], None] = lambda batch, labels, place: None

    def read(self, data_dir: str | os.PathLike[str] | None, train: bool) -> tuple[np.ndarray, np.ndarray]:
        """Images [N, 3, 32, 32] uint8, memory-mapped and read-only; labels [N] int64.

        Raises:
            DataError: a file is missing, truncated, corrupt, unsafe or of another shape, could not be downloaded, or
                the disk is too full.
        """
        part = "train" if train else "test"
        images, labels = self.packed.arrays(data_dir, [f"{part}_images", f"{part}_labels"], self._decode)
        return images, np.array(labels)

    def _decode(self, path: Path, allocate: Allocate) -> None:
        decoded = {}
        with reading(path, self.packed.folder) as read:
            for part in self.batches:
                decoded[f"{part}_images"], decoded[f"{part}_labels"] = self._part(part, path, read)
        for name, array in allocate({name: (array.shape, array.dtype) for name, array in decoded.items()}).items():
            array[:] = decoded[name]

    def _part(self, part: str, path: Path, read: Read) -> tuple[np.ndarray, np.ndarray]:
        cure = f"Fetch {self.packed.remote.name} again from {self.packed.remote.urls[0]}."
        files, per_class = self.batches[part], self.per_class[part]
        count = self.classes * per_class
        every_image, every_label = [], []
        for name in files:
            place = where(path, name)
            batch = read_pickle(BytesIO(read(name)), place)
            images, labels = labelled_images(batch, self.labels, place, cure, count // len(files))
            if len(labels) == len(images):  # what is wrong with them otherwise is said below
                self.check(batch, labels, place)
            every_image.append(images)
            every_label.append(labels)
        images, labels = np.concatenate(every_image), np.concatenate(every_label)
        if sorted(labels.tolist()) != np.repeat(np.arange(self.classes), per_class).tolist():
            raise DataError(
                f"{where(path, ', '.join(files))}: {self.labels!r} are not {per_class} of each of the classes 0 to "
                f"{self.classes - 1}, {count:,} in all. {cure}"
            )
        return images.reshape(-1, 3, 32, 32), labels
