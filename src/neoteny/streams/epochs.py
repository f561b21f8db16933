"""The base of streams that go through sets of images in epochs: order, augmentation, and what is kept back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from neoteny.seeds import DATA, generator
from neoteny.streams.base import Stream
from neoteny.streams.picking import picked

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.streams.augment import Augmentation

__all__ = ["Epochs"]

_AUGMENT = 4  # which of a run's generators for data
_BLOCK = 500  # images a run that are tested at once


class Epochs(Stream):
    """In each task every run goes through a set of images in epochs, each in an order of its own.

    An epoch is a whole number of steps. Where batches do not divide the set, the images that are left over at its end
    wait for the next epoch, which has another order. Runs may have sets of different sizes. Subclasses say which images
    a task has (`_set`) and which are kept back (`_kept_back`).

    Args:
        seeds: the runs' seeds.
        task_length: steps of each task.
        batch_size: images a step, B.
        images: bytes [N, C, H, H].
        augmentation: how images are changed at random; None leaves them as they are.
        pixels: how bytes become numbers, one of `neoteny.streams.images.PIXELS`.
        source: what the images are, for the provenance.
        flat: give images row by row, as multi-layer perceptrons take them.

    Shapes: x [R, steps, B, C, H, H] (or [R, steps, B, C * H * H]) float32, y [R, steps, B] int64.
    """

    SPLITS: ClassVar[tuple[str, ...]] = ("test",)
    """What is kept back."""

    def __init__(
        self,
        seeds: Sequence[int],
        task_length: Sequence[int],
        batch_size: int,
        *,
        images: Tensor,
        augmentation: Augmentation | None = None,
        pixels: str = "unit",
        source: str = "",
        flat: bool = False,
    ):
        super().__init__(seeds, task_length, batch_size)
        import torch

        from neoteny.units.random import key

        self._images, self._augmentation, self._pixels, self._source = images, augmentation, pixels, source
        self._flat = flat
        roots = [key(int(generator(seed, DATA, _AUGMENT).integers(2**62))) for seed in self.seeds]
        self._roots = torch.stack(roots)  # of the augmentation's keys, [R, 2]
        self._orders: dict[int, tuple[tuple[int, int], np.ndarray, np.ndarray]] = {}  # the epoch that is prepared

    @abstractmethod
    def _set(self, run: int, task: int) -> tuple[np.ndarray, np.ndarray]:
        """The images that a run learns from in a task, as rows of `images`, and their labels, [n] each."""

    @abstractmethod
    def _kept_back(self, run: int, split: str, task: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """The images that a split takes its examples from, their rows there, and their labels, [n] each."""

    def to(self, device: Any) -> Epochs:
        """Keep the images on a device."""
        self._images, self._roots = self._images.to(device), self._roots.to(device)
        return super().to(device)

    def held_out(self, split: str, task: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The images to validate or test with, a block at once."""
        import torch

        if split not in self.SPLITS:
            yield from super().held_out(split, task)
        sets = [self._kept_back(run, split, task) for run in range(self.runs)]
        rows, labels = (np.stack([each[place] for each in sets]) for place in (1, 2))
        for start in range(0, rows.shape[1], _BLOCK):
            part = slice(start, start + _BLOCK)
            yield (
                self._shaped(self._gather(sets[0][0], rows[:, part])),
                torch.from_numpy(labels[:, part]).to(self.device),
            )

    def _begin_task(self, task: int, again: bool) -> None:
        """Nothing: orders are drawn epoch by epoch."""

    def _take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        import torch

        task, shape = self.task, (self.runs, stop - start, self.batch_size)
        taken = [self._of_run(run, task, start, stop) for run in range(self.runs)]
        rows, labels = (np.stack([each[place] for each in taken]).reshape(shape) for place in (0, 1))
        keys = None if self._augmentation is None else self._keys(self.start_of(task) + start, stop - start)
        x = self._gather(self._images, rows, keys)
        return self._shaped(x), torch.from_numpy(labels).to(self.device)

    def _of_run(self, run: int, task: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and labels of a run's steps of a task, [steps * B]."""
        size, rows, labels = self.batch_size, [], []
        while start < stop:
            (_, epoch), order, names = self._prepared(run, task, start)
            steps = len(order) // size
            first = start - epoch * steps
            last = min(first + stop - start, steps)
            rows.append(order[first * size : last * size])
            labels.append(names[first * size : last * size])
            start += last - first
        return np.concatenate(rows), np.concatenate(labels)

    def _prepared(self, run: int, task: int, step: int) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
        """The epoch that a step of a task belongs to: its task and number, its rows and labels in order."""
        known = self._orders.get(run)
        if known is not None and known[0][0] == task and known[0][1] == step // (len(known[1]) // self.batch_size):
            return known
        rows, labels = self._set(run, task)
        whole = len(rows) // self.batch_size * self.batch_size
        epoch = step // (whole // self.batch_size)
        order = self._task_generator(self.seeds[run], task, epoch + 1).permutation(len(rows))[:whole]
        self._orders[run] = (task, epoch), rows[order], labels[order].astype(np.int64)
        return self._orders[run]

    def _keys(self, first: int, steps: int) -> Tensor:
        """A key of the augmentation for each run and step, [R, steps, 2]."""
        import torch

        from neoteny.units.random import fold_in

        at = torch.arange(first, first + steps, dtype=torch.int32, device=self.device)
        return fold_in(self._roots.unsqueeze(1).expand(-1, steps, 2), at)

    def _probe(self, examples: int) -> Tensor:
        """Images of the task's set, without augmentation."""
        drawn = []
        for run, seed in enumerate(self.seeds):
            rows, _ = self._probed(run)
            drawn.append(self._probe_generator(seed).permutation(np.resize(rows, max(examples, len(rows))))[:examples])
        return self._shaped(self._gather(self._images, np.stack(drawn)))

    def _probed(self, run: int) -> tuple[np.ndarray, np.ndarray]:
        """What the probe is drawn from."""
        return self._set(run, self.task)

    def _gather(self, images: Tensor, rows: np.ndarray, keys: Tensor | None = None) -> Tensor:
        """Images [R, ...] as floats; moved by keys, where there are any."""
        import torch

        chosen = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64)).to(self.device)
        return picked(images, chosen, self._pixels, self._augmentation, keys)

    def _shaped(self, images: Tensor) -> Tensor:
        return images.flatten(-3) if self._flat else images

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {
            "images": list(self._images.shape),
            "pixels": self._pixels,
            "augmentation": repr(self._augmentation),
        }
