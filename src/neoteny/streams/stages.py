"""The same images in stages: first few of them, or with wrong labels, then all of them, clean.

Ash & Adams, "On warm-starting neural network training", NeurIPS 2020 (half of the images, then all); Lee et al., "Slow
and steady wins the race", ICML 2024 (a share of the images with a share of wrong labels, then all, clean).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neoteny.errors import SettingError
from neoteny.streams.epochs import Epochs
from neoteny.streams.images import shrink

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.streams.augment import Augmentation

__all__ = ["StagedImages"]


class StagedImages(Epochs):
    """In each stage a run learns from a share of its images, of which a share has wrong labels, in epochs.

    Each run has its images in an order of its own; a stage has the first of them, so that a later, larger stage holds
    what an earlier one had. A wrong label is drawn uniformly from the other classes, once a run. With more noise more
    labels are wrong, and those that were wrong with less noise still are, in the same way.

    Args:
        images: bytes [N, C, H, H] to learn from.
        labels: their classes, [N], numbered from 0.
        test: images and labels to test with; or None: of `images` a random third, of each run its own, is kept back.
        seeds: the runs' seeds.
        shares: share of the images that each stage has, in (0, 1]; [S], or [R, S] with a row for each run.
        noises: share of its labels that are wrong, in [0, 1]; likewise.
        steps: steps of each stage, [S].
        batch_size: images a step.
        count: how many of the images a run uses, drawn by each for itself; None: all.
        side: pixels of a side, to which the images are shrunk.
        augmentation: how images are changed at random; None leaves them as they are.
        pixels: how bytes become numbers, one of `neoteny.streams.images.PIXELS`.
        source: what the images are, for the provenance.
        flat: give images row by row.

    Raises:
        SettingError: shares or noises out of range or of another shape, a stage with fewer images than a batch, images
            that are no bytes, or labels that do not fit them.

    >>> images, labels = np.zeros((40, 1, 4, 4), np.uint8), np.arange(40) % 4
    >>> stream = StagedImages(images, labels, None, [0], shares=[0.5, 1], noises=[0.5, 0], steps=[8, 8], batch_size=4)
    >>> x, y = stream.next(16)  # 40 images, of which a third is kept back: 26, then half of them
    >>> x.shape, len(stream.learned(0, 0)[0]), len(stream.learned(0, 1)[0])
    (torch.Size([1, 16, 4, 1, 4, 4]), 13, 26)
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        test: tuple[np.ndarray, np.ndarray] | None,
        seeds: Sequence[int],
        *,
        shares: Sequence[float] | np.ndarray,
        noises: Sequence[float] | np.ndarray,
        steps: Sequence[int],
        batch_size: int,
        count: int | None = None,
        side: int | None = None,
        augmentation: Augmentation | None = None,
        pixels: str = "unit",
        source: str = "",
        flat: bool = False,
    ):
        import torch

        if labels.shape != images.shape[:1] or not labels.size or not 0 <= labels.min() < labels.max():
            raise SettingError(
                f"labels of shape {labels.shape}: there must be one for each of the {len(images)} images, numbered "
                "from 0, of two classes or more."
            )
        side = int(images.shape[-1]) if side is None else side
        super().__init__(
            seeds,
            steps,
            batch_size,
            images=shrink(torch.from_numpy(np.array(images)), side),
            augmentation=augmentation,
            pixels=pixels,
            source=source,
            flat=flat,
        )
        self._labels, self._classes = labels.astype(np.int64), int(labels.max()) + 1
        self._split = test is None
        self._test_images = self._images if test is None else shrink(torch.from_numpy(np.array(test[0])), side)
        self._test_labels = self._labels if test is None else test[1].astype(np.int64)
        self._used = len(images) if count is None else count
        if not 1 <= self._used <= len(images):
            raise SettingError(f"count = {count}: there are {len(images)} images; ask for at least 1 and no more.")
        self._count = self._used * 2 // 3 if test is None else self._used
        shape = (self.runs, len(steps))
        self._shares = _of_runs("shares", shares, shape, least=np.nextafter(0, 1))
        self._noises = _of_runs("noises", noises, shape, least=0)
        self._sizes = np.rint(self._shares * self._count).astype(int)
        if self._sizes.min() < batch_size:
            raise SettingError(
                f"shares: a stage has {self._sizes.min()} of the {self._count} images, and a batch has {batch_size}: "
                "give a larger share or a smaller batch_size."
            )
        self._order, self._wrong, self._rank = [], [], []
        for seed in self.seeds:
            rng = self._problem_generator(seed)
            self._order.append(rng.permutation(len(images)))
            self._wrong.append((self._labels + rng.integers(1, self._classes, len(images))) % self._classes)
            self._rank.append(rng.permutation(len(images)))  # the first of them are wrong first

    def to(self, device: Any) -> StagedImages:
        """Keep the images on a device."""
        super().to(device)
        self._test_images = self._images if self._split else self._test_images.to(device)
        return self

    def learned(self, run: int, stage: int) -> tuple[np.ndarray, np.ndarray]:
        """The images of a run's stage, as rows, and the labels it is told, [n] each."""
        rows = self._order[run][: self._sizes[run, stage]]
        labels = self._labels[rows]
        wrong = np.argsort(self._rank[run][rows])[: round(self._noises[run, stage] * len(rows))]
        labels[wrong] = self._wrong[run][rows[wrong]]
        return rows, labels

    def describe(self) -> dict[str, Any]:
        """The data."""
        return {
            "source": self._source or f"{self._classes} classes of images",
            "images": self._count,
            "test_images": self._used - self._count if self._split else len(self._test_images),
            "pixels": f"{self._images.shape[-1]}x{self._images.shape[-1]}",
        }

    def _set(self, run: int, task: int) -> tuple[np.ndarray, np.ndarray]:
        return self.learned(run, task)

    def _kept_back(self, run: int, split: str, task: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
        rows = self._order[run][self._count : self._used] if self._split else np.arange(len(self._test_labels))
        return self._test_images, rows, self._test_labels[rows]

    def _data(self) -> Iterable[np.ndarray | Tensor]:
        tests = () if self._split else (self._test_images.cpu(), self._test_labels)
        return self._images.cpu(), self._labels, *tests

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {
            "count": self._used,
            "shares": self._shares.tolist(),
            "noises": self._noises.tolist(),
        }


def _of_runs(name: str, values: Sequence[float] | np.ndarray, shape: tuple[int, int], least: float) -> np.ndarray:
    """Values for each run and stage."""
    given = np.asarray(values, dtype=float)
    if given.shape not in (shape, shape[1:]) or not (given >= least).all() or not (given <= 1).all():
        raise SettingError(
            f"{name} = {values}: give a share for each of the {shape[1]} stages, {'in [0' if least == 0 else 'in (0'}, "
            f"1], or a row of them for each of the {shape[0]} runs."
        )
    return np.broadcast_to(given, shape)
