"""Classification of more and more classes: each increment adds some, and keeps the images of those before.

Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024, Methods (class-incremental CIFAR-100).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from neoteny.errors import SettingError
from neoteny.streams.epochs import Epochs
from neoteny.streams.images import shrink

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.streams.augment import Augmentation

__all__ = ["ClassIncrements"]


class ClassIncrements(Epochs):
    """Increment k (from 0) is learned from the first (k + 1) c classes of the run's own order, in whole epochs.

    Of each class the first `validation` images are kept back to choose the best weights with, and the next `train` ones
    are learned from. An epoch goes through the training images of all classes seen so far, in an order of its own, each
    changed at random (`augmentation`). Labels count the classes in the order in which they come, so the classes seen so
    far are the first outputs.

    Args:
        images: bytes [N, 3, H, H] to learn from and validate with.
        labels: their classes, [N].
        test_images: bytes to test with.
        test_labels: their classes.
        seeds: the runs' seeds.
        increments: number of increments.
        classes: classes that each increment adds, c.
        epochs: passes of an increment.
        batch_size: images a step; a divisor of the images that an increment adds.
        train: images of a class to learn from.
        validation: images of a class to validate with.
        test: images of a class to test with, the first ones.
        side: pixels of a side, to which the images are shrunk.
        augmentation: how images are changed at random; None leaves them as they are.
        pixels: how bytes become numbers, one of `neoteny.streams.images.PIXELS`.
        source: what the images are, for the provenance.

    Raises:
        SettingError: there are fewer classes or images of a class than asked for, or batches do not fill an epoch; or
            the images are no bytes.
    """

    SPLITS: ClassVar[tuple[str, ...]] = ("test", "validation")

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        test_images: np.ndarray,
        test_labels: np.ndarray,
        seeds: Sequence[int],
        *,
        increments: int = 20,
        classes: int = 5,
        epochs: int = 200,
        batch_size: int = 90,
        train: int = 450,
        validation: int = 50,
        test: int = 100,
        side: int = 32,
        augmentation: Augmentation | None = None,
        pixels: str = "cifar100",
        source: str = "",
    ):
        if classes * train % batch_size:
            raise SettingError(
                f"batch_size = {batch_size} does not divide the {classes * train} images that an increment adds: "
                "give a divisor, so that an epoch is a whole number of steps."
            )
        steps = [classes * train * (k + 1) // batch_size * epochs for k in range(increments)]
        import torch

        super().__init__(
            seeds,
            steps,
            batch_size,
            images=shrink(torch.from_numpy(np.array(images)), side),
            augmentation=augmentation,
            pixels=pixels,
            source=source,
        )
        self._classes, self._validation, self._train, self._test = classes, validation, train, test
        known, wanted = np.unique(labels), increments * classes
        self._rows = _rows_by_class(labels, known, validation + train, wanted, "to learn from and validate with")
        self._test_rows = _rows_by_class(test_labels, known, test, wanted, "to test with")
        self._test_images = shrink(torch.from_numpy(np.array(test_images)), side)
        self._class_orders = [self._problem_generator(seed).permutation(len(self._rows)) for seed in self.seeds]

    def class_order(self, run: int) -> list[int]:
        """The classes in the order in which they come to a run."""
        return self._class_orders[run].tolist()

    def to(self, device: Any) -> ClassIncrements:
        """Keep the images on a device."""
        self._test_images = self._test_images.to(device)
        super().to(device)
        return self

    def describe(self) -> dict[str, Any]:
        """The data."""
        return {
            "source": self._source or f"{len(self._rows)} classes of images",
            "images_per_class": self._train,
            "validation_images_per_class": self._validation,
            "test_images_per_class": self._test,
            "pixels": f"{self._images.shape[-1]}x{self._images.shape[-1]}",
        }

    def _of_classes(
        self, run: int, by_class: list[np.ndarray], rows: slice, first: int, last: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Some images of each of a run's classes from `first` to `last`, and their labels."""
        found = [by_class[label][rows] for label in self._class_orders[run][first:last]]
        return np.concatenate(found), np.repeat(np.arange(first, first + len(found)), [len(each) for each in found])

    def _set(self, run: int, task: int) -> tuple[np.ndarray, np.ndarray]:
        learned = slice(self._validation, self._validation + self._train)
        return self._of_classes(run, self._rows, learned, 0, self._classes * (task + 1))

    def _kept_back(self, run: int, split: str, task: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Images of all classes up to the task's."""
        seen = self._classes * (task + 1)
        if split == "test":
            return self._test_images, *self._of_classes(run, self._test_rows, slice(self._test), 0, seen)
        return self._images, *self._of_classes(run, self._rows, slice(self._validation), 0, seen)

    def _data(self) -> Iterable[np.ndarray | Tensor]:
        return self._images.cpu(), self._test_images.cpu(), *self._rows, *self._test_rows

    def _probed(self, run: int) -> tuple[np.ndarray, np.ndarray]:
        """Images of the classes that the task adds."""
        learned, new = slice(self._validation, self._validation + self._train), self._classes * self.task
        return self._of_classes(run, self._rows, learned, new, new + self._classes)

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {
            "classes": self._classes,
            "train": self._train,
            "validation": self._validation,
        }


def _rows_by_class(labels: np.ndarray, known: np.ndarray, images: int, classes: int, purpose: str) -> list[np.ndarray]:
    """For each of the known classes the rows of its images."""
    rows = [np.flatnonzero(labels == label) for label in known]
    if len(rows) < classes:
        raise SettingError(f"{classes} classes were asked for, but there are {len(rows)}: make fewer increments.")
    least = min(map(len, rows))
    if least < images:
        raise SettingError(f"{images} images of a class {purpose} were asked for, but one has {least}: ask for fewer.")
    return rows
