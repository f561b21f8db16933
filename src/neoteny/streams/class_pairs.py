"""A sequence of binary tasks, each with two other classes of images to tell apart.

Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024, Methods (Continual ImageNet).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from neoteny.errors import SettingError, UnknownNameError
from neoteny.streams.base import Stream
from neoteny.streams.images import as_floats

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ClassPairs", "Order"]

Order = Literal["fresh", "repeated"]


class ClassPairs(Stream):
    """Two classes a task, learned in several passes over their images, tested on images that are kept back.

    The classes are drawn without replacement until at most one is left, then from all again. Each pass goes through the
    images of both classes in an order of its own. A task has a fixed number of steps: with fewer images a class than
    asked for there are more passes, not fewer updates.

    Args:
        images: for each class its images, bytes [n, 3, H, W]; memory-mapped arrays are read task by task.
        seeds: the runs' seeds.
        task_length: steps a task.
        batch_size: images a step.
        train: images of a class to learn from, the first ones; fewer where a class has fewer.
        test: images of a class to test with, the last ones.
        pixels: how bytes become numbers, one of `neoteny.streams.images.PIXELS`.
        order: `fresh` draws a new order of the classes each time that all have been used; `repeated` takes the first
            one again, as the authors' code does, so that the same pairs come back.
        source: what the images are, for the provenance.

    Raises:
        SettingError: fewer than two classes, or a class without images to learn from or to test with.
        UnknownNameError: `order` is none of the two.

    >>> import numpy as np
    >>> images = [np.full((5, 3, 4, 4), k, dtype=np.uint8) for k in range(4)]
    >>> x, y = ClassPairs(images, [0], task_length=6, batch_size=2, train=3, test=2).next(6)
    >>> x.shape, y.flatten().sort().values
    (torch.Size([1, 6, 2, 3, 4, 4]), tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]))
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        seeds: Sequence[int],
        task_length: int,
        batch_size: int = 100,
        *,
        train: int = 600,
        test: int = 100,
        pixels: str = "bytes",
        order: Order = "fresh",
        source: str = "",
    ):
        super().__init__(seeds, task_length, batch_size)
        if min(train, test) < 1:
            raise SettingError(f"train = {train}, test = {test}: take at least one image of a class for each.")
        least = min((len(each) for each in images), default=0)
        if len(images) < 2 or least <= test:
            raise SettingError(
                f"{len(images)} classes with {least} images or more each: a task needs two classes, and more images of "
                f"each than the {test} that are tested with. Give more images, or a smaller test_images_per_class."
            )
        if order not in get_args(Order):
            raise UnknownNameError(order, get_args(Order), "order")
        self._images, self._pixels, self._fresh, self._source = images, pixels, order == "fresh", source
        self._asked, self._test = train, test
        self.train = min(train, least - test)

    def pair(self, seed: int, task: int) -> tuple[int, int]:
        """The two classes of a task, labelled 0 and 1."""
        pairs = len(self._images) // 2
        again, place = divmod(task, pairs)
        order = self._problem_generator(seed, *([again] if self._fresh else [])).permutation(len(self._images))
        return int(order[2 * place]), int(order[2 * place + 1])

    def describe(self) -> dict[str, Any]:
        """The data, and how a task was adapted to it."""
        said: dict[str, Any] = {
            "source": self._source or f"{len(self._images)} classes of images",
            "classes": len(self._images),
            "images_per_class": self.train,
            "test_images_per_class": self._test,
            "passes_per_task": round(self.length_of(0) * self.batch_size / (2 * self.train), 2),
        }
        if self.train < self._asked:
            said["adapted"] = (
                f"{self.train} images of a class instead of {self._asked}: as many updates a task, in more passes"
            )
        return said

    def held_out(self, split: str, task: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of the task's two classes that are tested with, as one block."""
        import torch

        if split != "test":
            yield from super().held_out(split, task)
        images = torch.stack([self._both(seed, task, slice(-self._test, None)) for seed in self.seeds])
        labels = torch.arange(2, device=self.device).repeat_interleave(self._test)
        yield as_floats(images, self._pixels), labels.expand(self.runs, -1)

    def _data(self) -> Iterable[np.ndarray]:
        return self._images

    def _both(self, seed: int, task: int, rows: slice) -> Tensor:
        """Some images of both classes, bytes [2 n, 3, H, W]."""
        import torch

        found = np.concatenate([np.asarray(self._images[label][rows]) for label in self.pair(seed, task)])
        return torch.from_numpy(found).to(self.device)

    def _begin_task(self, task: int, again: bool) -> None:
        import torch

        count, needed = 2 * self.train, self.length_of(task) * self.batch_size
        passes = np.tile(np.arange(count, dtype=np.int32), (-(-needed // count), 1))
        order = np.stack([self._task_generator(s, task).permuted(passes, axis=1).ravel()[:needed] for s in self.seeds])
        self._order = torch.from_numpy(order).to(self.device)
        self._table = torch.stack([self._both(seed, task, slice(self.train)) for seed in self.seeds])

    def _take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        chosen = self._order[:, start * self.batch_size : stop * self.batch_size]
        labels = (chosen >= self.train).long()
        return self._floats(chosen, (stop - start, self.batch_size)), labels.unflatten(1, (-1, self.batch_size))

    def _probe(self, examples: int) -> Tensor:
        import torch

        drawn = np.stack([self._probe_generator(s).integers(0, 2 * self.train, examples) for s in self.seeds])
        return self._floats(torch.from_numpy(drawn).to(self.device), (examples,))

    def _floats(self, chosen: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The images chosen, [R, n] -> [R, *shape, 3, H, W]."""
        import torch

        count = self._table.shape[1]
        rows = chosen + count * torch.arange(self.runs, device=self.device, dtype=chosen.dtype).unsqueeze(1)
        picked = self._table.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, chosen.shape)
        return as_floats(picked.unflatten(1, shape), self._pixels)

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {
            "classes": len(self._images),
            "train": self.train,
            "test": self._test,
            "pixels": self._pixels,
            "order": "fresh" if self._fresh else "repeated",
        }
