"""Permuted images: the same pictures in every task, their pixels in a new order, or their labels under new names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from neoteny.errors import SettingError, UnknownNameError
from neoteny.streams.base import Stream

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Permute", "PermutedImages"]

Permute = Literal["pixels", "labels"]

_BLOCK = 1024  # images scaled at once, 3 MB of MNIST: few calls, and still in a core's cache when they are permuted


class PermutedImages(Stream):
    """One pass over all images a task, in a new order, all pixels moved by a new permutation.

    In task t the s-th image of a run is x = image[order_t[s]][permutation_t] / 255, with an order and a permutation
    drawn anew for each task and run. With `permute="labels"` the pixels stay, and y = permutation_t[label[order_t[s]]].

    Args:
        images: [N, D] uint8.
        labels: [N], whole numbers.
        seeds: the runs' seeds.
        task_length: steps a task; by default as many as the images fill. A shorter task takes only the first images of
            its order; a longer one repeats the order (both as the authors do when the permutation changes every 10,000
            or every 1,000,000 examples).
        batch_size: images a step, B.
        permute: what is permuted in each task, `pixels` or `labels`.

    Shapes: x [R, steps, B, D] float32 in [0, 1], y [R, steps, B] int64.

    Raises:
        SettingError: images or labels of another shape or type.
        UnknownNameError: `permute` is none of the two.

    >>> images, labels = np.arange(12, dtype=np.uint8).reshape(4, 3), np.arange(4)
    >>> stream = PermutedImages(images, labels, seeds=[0, 1])
    >>> x, y = stream.next(4)
    >>> x.shape, sorted(y[0, :, 0].tolist())
    (torch.Size([2, 4, 1, 3]), [0, 1, 2, 3])

    Source: Dohare et al., Nature 632, 2024, Methods, "Online Permuted MNIST"; Goodfellow et al., arXiv 1312.6211.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        seeds: Sequence[int],
        task_length: int | None = None,
        batch_size: int = 1,
        permute: Permute = "pixels",
    ):
        import torch

        if permute not in get_args(Permute):
            raise UnknownNameError(permute, get_args(Permute), "permute")
        self.permute = permute
        if images.ndim != 2 or images.dtype != np.uint8 or not images.size:
            raise SettingError(f"images of shape {images.shape} and type {images.dtype}: they must be [N, D] uint8.")
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise SettingError(
                f"labels of shape {labels.shape} and type {labels.dtype}: "
                f"there must be one whole number for each of the {len(images)} images."
            )
        if task_length is None and batch_size > len(images):
            raise SettingError(
                f"batch_size = {batch_size}: there are {len(images)} images; take fewer, or a task_length."
            )
        super().__init__(seeds, len(images) // max(batch_size, 1) if task_length is None else task_length, batch_size)
        # Copied only if torch cannot share the array itself: it warns of read-only ones and may refuse strided ones.
        self._images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        self._labels = torch.from_numpy(labels.astype(np.int64))

    @property
    def inputs(self) -> int:
        """Pixels of an image, D."""
        return self._images.shape[1]

    def _data(self) -> Iterable[Tensor]:
        return self._images, self._labels

    def _begin_task(self, task: int, again: bool) -> None:
        import torch

        count, pixels = self._images.shape
        places = pixels if self.permute == "pixels" else int(self._labels.max()) + 1
        kept = min(count, self.length_of(task) * self.batch_size)
        order, permutation = np.empty((self.runs, kept), np.int32), np.empty((self.runs, places), np.int64)
        for run, seed in enumerate(self.seeds):
            rng = self._task_generator(seed, task)
            permutation[run] = rng.permutation(places)
            order[run] = rng.permutation(count)[:kept]
        self._order, self._permutation = torch.from_numpy(order), torch.from_numpy(permutation)

    def _permuted(self, chosen: Tensor) -> Tensor:
        """The images chosen, [R, n] -> [R, n, D], each run's under its permutation, scaled to [0, 1]."""
        import torch

        if self.permute == "labels":
            return self._images[chosen].float().div_(255)
        out = torch.empty(*chosen.shape, self.inputs)
        block = max(_BLOCK // self.runs, 1)
        for indices, into in zip(chosen.split(block, dim=1), out.split(block, dim=1), strict=True):
            images = self._images.index_select(0, indices.flatten()).float().div_(255).view(into.shape)
            for run, permutation in enumerate(self._permutation):
                torch.index_select(images[run], 1, permutation, out=into[run])
        return out

    def _take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        import torch

        first, last = start * self.batch_size, stop * self.batch_size
        if last <= self._order.shape[1]:
            chosen = self._order[:, first:last]
        else:
            chosen = self._order[:, torch.arange(first, last) % self._order.shape[1]]
        shape = (self.runs, stop - start, self.batch_size)
        labels = self._labels[chosen]
        if self.permute == "labels":
            labels = self._permutation.gather(1, labels)
        return self._permuted(chosen).view(*shape, -1), labels.view(shape)

    def _probe(self, examples: int) -> Tensor:
        import torch

        drawn = np.stack([self._probe_generator(seed).integers(0, len(self._images), examples) for seed in self.seeds])
        return self._permuted(torch.from_numpy(drawn))

    def _identity(self) -> dict[str, Any]:
        labels = {"permute": self.permute} if self.permute != "pixels" else {}  # absent from states saved before
        return super()._identity() | {"images": list(self._images.shape)} | labels
