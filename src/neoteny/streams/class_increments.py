"""Classification of more and more classes: each increment adds some, and keeps the images of those before.

Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024, Methods (class-incremental CIFAR-100).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neoteny.errors import SettingError
from neoteny.seeds import DATA, generator
from neoteny.streams.base import Stream
from neoteny.streams.images import as_floats, shrink

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.streams.augment import Augmentation

__all__ = ["ClassIncrements"]

_AUGMENT = 4  # which of a run's generators for data
_BLOCK = 500  # images a run that are tested at once


class ClassIncrements(Stream):
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
        SettingError: there are fewer classes or images of a class than asked for, or batches do not fill an epoch.
    """

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
        self._epoch_steps = [classes * train * (k + 1) // batch_size for k in range(increments)]
        super().__init__(seeds, [steps * epochs for steps in self._epoch_steps], batch_size)
        import torch

        from neoteny.units.random import key

        self._classes, self._validation, self._train, self._test = classes, validation, train, test
        self._augmentation, self._pixels, self._source = augmentation, pixels, source
        self._rows = _rows_by_class(labels, validation + train, increments * classes, "to learn from and validate with")
        self._test_rows = _rows_by_class(test_labels, test, increments * classes, "to test with")
        self._images = shrink(torch.from_numpy(np.array(images)), side)
        self._test_images = shrink(torch.from_numpy(np.array(test_images)), side)
        self._orders = [self._problem_generator(seed).permutation(len(self._rows)) for seed in self.seeds]
        seeds = [int(generator(seed, DATA, _AUGMENT).integers(2**62)) for seed in self.seeds]
        self._roots = torch.stack([key(seed) for seed in seeds])  # of the augmentation's keys, [R, 2]
        self._epoch: tuple[int, int] | None = None  # the task and epoch whose order is prepared

    def class_order(self, run: int) -> list[int]:
        """The classes in the order in which they come to a run."""
        return self._orders[run].tolist()

    def to(self, device: Any) -> ClassIncrements:
        """Keep the images on a device."""
        self._images, self._test_images = self._images.to(device), self._test_images.to(device)
        self._roots = self._roots.to(device)
        self._epoch = None
        return super().to(device)

    def describe(self) -> dict[str, Any]:
        """The data."""
        return {
            "source": self._source or f"{len(self._rows)} classes of images",
            "images_per_class": self._train,
            "validation_images_per_class": self._validation,
            "test_images_per_class": self._test,
            "pixels": f"{self._images.shape[-1]}x{self._images.shape[-1]}",
        }

    def held_out(self, split: str, task: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The images to validate or test with, of all classes up to the task's, `_BLOCK` at once."""
        if split not in ("test", "validation"):
            yield from super().held_out(split, task)
        if split == "test":
            images, by_class, rows = self._test_images, self._test_rows, slice(self._test)
        else:
            images, by_class, rows = self._images, self._rows, slice(self._validation)
        seen = range(self._classes * (task + 1))
        chosen = np.stack([np.concatenate([by_class[order[k]][rows] for k in seen]) for order in self._orders])
        labels = np.repeat(np.array(seen), chosen.shape[1] // len(seen))
        for start in range(0, chosen.shape[1], _BLOCK):
            piece = self._gather(images, chosen[:, start : start + _BLOCK])
            yield piece, self._tensor(labels[start : start + _BLOCK]).expand(self.runs, -1)

    def _data(self) -> Iterable[np.ndarray | Tensor]:
        return self._images.cpu(), self._test_images.cpu(), *self._rows, *self._test_rows

    def _begin_task(self, task: int, again: bool) -> None:
        """Nothing: orders are drawn epoch by epoch."""

    def _take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        import torch

        task, pieces = self.task, []
        while start < stop:
            epoch, first = divmod(start, self._epoch_steps[task])
            last = min(first + stop - start, self._epoch_steps[task])
            self._begin_epoch(task, epoch)
            part = slice(first * self.batch_size, last * self.batch_size)
            x = self._gather(self._images, self._chosen[:, part]).unflatten(1, (-1, self.batch_size))
            if self._augmentation is not None:
                x = self._augmentation(x, self._keys(self.start_of(task) + start, last - first))
            pieces.append((x, self._labels[:, part].unflatten(1, (-1, self.batch_size))))
            start += last - first
        if len(pieces) == 1:
            return pieces[0]
        inputs, labels = zip(*pieces, strict=True)
        return torch.cat(inputs, dim=1), torch.cat(labels, dim=1)

    def _begin_epoch(self, task: int, epoch: int) -> None:
        """Prepare an epoch's order: images and labels [R, n]."""
        if self._epoch == (task, epoch):
            return
        rows = slice(self._validation, self._validation + self._train)
        chosen, labels = [], []
        for seed, order in zip(self.seeds, self._orders, strict=True):
            images = np.concatenate([self._rows[label][rows] for label in order[: self._classes * (task + 1)]])
            shuffled = self._task_generator(seed, task, epoch + 1).permutation(len(images))
            chosen.append(images[shuffled])
            labels.append(shuffled // self._train)
        self._chosen, self._labels = np.stack(chosen), self._tensor(np.stack(labels))
        self._epoch = (task, epoch)

    def _keys(self, first: int, steps: int) -> Tensor:
        """A key of the augmentation for each run and step, [R, steps, 2]."""
        import torch

        from neoteny.units.random import fold_in

        at = torch.arange(first, first + steps, dtype=torch.int32, device=self.device)
        return fold_in(self._roots.unsqueeze(1).expand(-1, steps, 2), at)

    def _probe(self, examples: int) -> Tensor:
        """Images of the classes that the task adds, without augmentation."""
        rows, new = slice(self._validation, self._validation + self._train), self._classes * self.task
        drawn = []
        for seed, order in zip(self.seeds, self._orders, strict=True):
            images = np.concatenate([self._rows[label][rows] for label in order[new : new + self._classes]])
            drawn.append(
                self._probe_generator(seed).permutation(np.resize(images, max(examples, len(images))))[:examples]
            )
        return self._gather(self._images, np.stack(drawn))

    def _gather(self, images: Tensor, chosen: np.ndarray) -> Tensor:
        """Images [R, n] as floats."""
        picked = images.index_select(0, self._tensor(chosen.ravel())).unflatten(0, chosen.shape)
        return as_floats(picked, self._pixels)

    def _tensor(self, values: np.ndarray) -> Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(self.device)

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {
            "images": list(self._images.shape),
            "classes": self._classes,
            "train": self._train,
            "validation": self._validation,
            "pixels": self._pixels,
            "augmentation": repr(self._augmentation),
        }


def _rows_by_class(labels: np.ndarray, images: int, classes: int, purpose: str) -> list[np.ndarray]:
    """For each class, in the order of the labels, the rows of its images."""
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if len(rows) < classes:
        raise SettingError(f"{classes} classes were asked for, but there are {len(rows)}: make fewer increments.")
    least = min(map(len, rows))
    if least < images:
        raise SettingError(f"{images} images of a class {purpose} were asked for, but one has {least}: ask for fewer.")
    return rows
