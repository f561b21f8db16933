"""Linear targets that move: some inputs matter and their weights change, the others never do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from neoteny.errors import SettingError, UnknownNameError
from neoteny.streams.base import Stream

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LinearTracking", "Motion"]

Motion = Literal["flip", "walk"]


class LinearTracking(Stream):
    r"""Normal inputs x, and y = sum_i s_i x_i + noise over the first inputs, whose weights s move.

    Args:
        seeds: the runs' seeds. Each run has its own weights and examples.
        motion: `flip`: s_i = +-1, and every `period` examples one of them, drawn at random, changes its sign. `walk`:
            s_i begins at 0, and every `period` examples each gets a normal increment of standard deviation `drift`.
        inputs: n, standard normal numbers.
        relevant: how many of the first inputs have a weight; the others have the weight 0.
        period: examples from motion to motion.
        drift: see `walk`.
        noise: standard deviation of the noise in y.
        task_length: steps of a block; blocks differ in nothing but their draws.
        batch_size: examples a step, B.

    Shapes: x [R, steps, B, n], y [R, steps, B, 1].

    Raises:
        SettingError: a number is outside its range.
        UnknownNameError: there is no such motion.

    >>> stream = LinearTracking(seeds=[0, 1])
    >>> x, y = stream.next(25)
    >>> x.shape, y.shape
    (torch.Size([2, 25, 1, 20]), torch.Size([2, 25, 1, 1]))

    Source: Sutton, AAAI 1992 (`flip`), and Yale Workshop on Adaptive and Learning Systems, 1992 (`walk`).
    """

    def __init__(
        self,
        seeds: Sequence[int],
        motion: Motion = "flip",
        inputs: int = 20,
        relevant: int = 5,
        period: int = 20,
        drift: float = 1.0,
        noise: float = 0.0,
        task_length: int = 1_000,
        batch_size: int = 1,
    ):
        super().__init__(seeds, task_length, batch_size)
        if motion not in get_args(Motion):
            raise UnknownNameError(motion, get_args(Motion), "motion")
        if inputs < 1 or not 1 <= relevant <= inputs:
            raise SettingError(f"relevant = {relevant}, inputs = {inputs}: at least one input must be relevant.")
        if period < 1:
            raise SettingError(f"period = {period}: give the examples between two motions, at least 1.")
        if not (np.isfinite(drift) and np.isfinite(noise) and min(drift, noise) >= 0):
            raise SettingError(f"drift = {drift}, noise = {noise}: both must be finite numbers >= 0.")
        self.motion, self.inputs, self.relevant = motion, int(inputs), int(relevant)
        self.period, self.drift, self.noise = int(period), float(drift), float(noise)
        self._begun = np.zeros((self.runs, self.relevant))  # the weights at the start of the block
        self._now = self._begun

    def _begin_task(self, task: int, again: bool) -> None:
        import torch

        count, start = self.length_of(task) * self.batch_size, self.start_of(task) * self.batch_size
        if not again:
            self._begun = self._now
        x = np.empty((self.runs, count, self.inputs), np.float32)
        y, ends = np.empty((self.runs, count), np.float32), []
        moves = (np.arange(start, start + count) % self.period == 0).nonzero()[0]
        for run, seed in enumerate(self.seeds):
            rng = self._task_generator(seed, task)
            x[run] = rng.standard_normal((count, self.inputs), np.float32)
            weights, path = self._begun[run], np.empty((count, self.relevant))
            if self.motion == "flip":
                changes = np.zeros((count, self.relevant), bool)
                changes[moves, rng.integers(self.relevant, size=len(moves))] = True
                if start == 0:
                    weights = 2.0 * rng.integers(0, 2, self.relevant) - 1
                path[:] = weights * np.where(np.cumsum(changes, 0) % 2, -1, 1)
            else:
                steps = np.zeros((count, self.relevant))
                steps[moves] = self.drift * rng.standard_normal((len(moves), self.relevant))
                path[:] = weights + np.cumsum(steps, 0)
            y[run] = (path * x[run, :, : self.relevant]).sum(1) + self.noise * rng.standard_normal(count)
            ends.append(path[-1])
        self._now = np.stack(ends)
        self._x, self._y = torch.from_numpy(x), torch.from_numpy(y)

    def _take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        piece = slice(start * self.batch_size, stop * self.batch_size)
        shape = (self.runs, stop - start, self.batch_size, -1)
        return self._x[:, piece].reshape(shape), self._y[:, piece].reshape(shape)

    def _probe(self, examples: int) -> Tensor:
        import torch

        shape = (examples, self.inputs)
        drawn = [self._probe_generator(seed).standard_normal(shape, np.float32) for seed in self.seeds]
        return torch.from_numpy(np.stack(drawn))

    def _identity(self) -> dict[str, Any]:
        names = ("motion", "inputs", "relevant", "period", "drift", "noise")
        return super()._identity() | {name: getattr(self, name) for name in names}

    def _task_state(self) -> dict[str, Any]:
        return {"weights": self._begun.tolist()}

    def _load_task_state(self, state: Mapping[str, Any]) -> None:
        self._begun = np.array(state["weights"]).reshape(self.runs, self.relevant)
