"""A problem of your own: the sum of a few inputs, which change in every task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neoteny.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor


class ChangingSum(Stream):
    """x is drawn from a normal distribution, y is the sum of the three inputs that count in this task.

    All random numbers come from generators made from a run's seed and the number of the task, so a run can be stopped
    anywhere and resumed.

    Args:
        seeds: the seed of each run.
        task_length: steps of a task.
        inputs: size of x.

    Shapes: x [R, steps, 1, inputs], y [R, steps, 1, 1].
    """

    def __init__(self, seeds: Sequence[int], task_length: int, inputs: int):
        super().__init__(seeds, task_length)
        self.inputs = inputs

    def _begin_task(self, task: int, again: bool) -> None:
        length = self.length_of(task)
        self._x = np.empty((self.runs, length, 1, self.inputs), np.float32)
        self._y = np.empty((self.runs, length, 1, 1), np.float32)
        for run, seed in enumerate(self.seeds):
            rng = self._task_generator(seed, task)
            counting = rng.choice(self.inputs, 3, replace=False)
            self._x[run, :, 0] = rng.standard_normal((length, self.inputs))
            self._y[run, :, 0, 0] = self._x[run, :, 0][:, counting].sum(axis=-1)

    def _take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        import torch

        return torch.from_numpy(self._x[:, start:stop]), torch.from_numpy(self._y[:, start:stop])

    def _probe(self, examples: int) -> Tensor:
        import torch

        drawn = [self._probe_generator(seed).standard_normal((examples, self.inputs)) for seed in self.seeds]
        return torch.from_numpy(np.stack(drawn).astype(np.float32))
