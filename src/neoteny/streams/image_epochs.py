"""The same images in every task, with permuted pixels or with new labels, learned in several epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from neoteny.errors import SettingError, UnknownNameError
from neoteny.streams.permuted_images import PermutedImages

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Change", "ImageEpochs"]

Change = Literal["pixels", "labels"]


class ImageEpochs(PermutedImages):
    """A fixed subset of the images, learned in several epochs a task; every task can be learned.

    Each run draws `count` images once. A task then changes either
        `pixels`: x = image[permutation_t] / 255 with a new permutation of the pixels, labels as they are; or
        `labels`: every image has a new label, drawn uniformly from the classes, which can only be memorised.
    An epoch goes through all of the subset in an order of its own.

    Args:
        images: [N, D] uint8.
        labels: [N], whole numbers; their distinct values are what new labels are drawn from.
        seeds: the runs' seeds.
        change: what a new task changes.
        epochs: passes over the subset in a task.
        count: images in the subset; all by default.
        batch_size: images a step, B; a divisor of `count`.

    Shapes: x [R, steps, B, D] float32 in [0, 1], y [R, steps, B] int64.

    Raises:
        SettingError: images or labels of another shape or type, fewer images than asked for, no epoch, or batches that
            do not fill one.
        UnknownNameError: `change` is none of the above.

    >>> images, labels = np.arange(24, dtype=np.uint8).reshape(8, 3), np.arange(8)
    >>> stream = ImageEpochs(images, labels, seeds=[0], change="labels", epochs=3, count=4, batch_size=2)
    >>> x, y = stream.next(6)  # a task of three epochs of two batches
    >>> x.shape, sorted(y[0, :2].flatten().tolist()) == sorted(y[0, 2:4].flatten().tolist())
    (torch.Size([1, 6, 2, 3]), True)

    Source: Lyle et al., ICML 2023, section 3 (labels); Kumar, Marklund & Van Roy, arXiv 2308.11958, 2023 (both).
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        seeds: Sequence[int],
        change: Change = "pixels",
        epochs: int = 1,
        count: int | None = None,
        batch_size: int = 1,
    ):
        import torch

        count = len(images) if count is None else int(count)
        if change not in get_args(Change):
            raise UnknownNameError(change, get_args(Change), "change")
        if not 1 <= count <= len(images):
            raise SettingError(
                f"{count} images of {len(images)}: ask for at least one, and for no more than there are."
            )
        if batch_size < 1 or count % batch_size or epochs < 1:
            raise SettingError(
                f"batch_size = {batch_size} and epochs = {epochs} for {count} images: take one epoch or more, and a "
                "divisor of the images, so that an epoch is a whole number of steps."
            )
        super().__init__(images, labels, seeds, epochs * count // batch_size, batch_size)
        self.change, self.epochs = change, int(epochs)
        chosen = [self._problem_generator(seed).permutation(len(images))[:count] for seed in self.seeds]
        self._subset = torch.from_numpy(np.stack(chosen))
        self._classes = np.unique(labels)

    def _begin_task(self, task: int, again: bool) -> None:
        import torch

        count = self._subset.shape[1]
        each = np.tile(np.arange(count, dtype=np.int32), (self.epochs, 1))
        order, permutation, names = [], [], self._labels[self._subset].numpy()
        for run, seed in enumerate(self.seeds):
            rng = self._task_generator(seed, task)
            moved = rng.permutation(self.inputs) if self.change == "pixels" else np.arange(self.inputs)
            permutation.append(moved.astype(np.int64))
            if self.change == "labels":
                names[run] = rng.choice(self._classes, count)
            order.append(rng.permuted(each, axis=1).ravel())
        self._order, self._permutation = torch.from_numpy(np.stack(order)), torch.from_numpy(np.stack(permutation))
        self._names = torch.from_numpy(names)

    def _take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        place = self._order[:, start * self.batch_size : stop * self.batch_size].long()
        shape = (self.runs, stop - start, self.batch_size)
        return self._permuted(self._subset.gather(1, place)).view(*shape, -1), self._names.gather(1, place).view(shape)

    def _probe(self, examples: int) -> Tensor:
        import torch

        count = self._subset.shape[1]
        drawn = np.stack([self._probe_generator(seed).integers(0, count, examples) for seed in self.seeds])
        return self._permuted(self._subset.gather(1, torch.from_numpy(drawn)))

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {"change": self.change, "epochs": self.epochs, "count": self._subset.shape[1]}
