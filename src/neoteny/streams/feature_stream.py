"""Real series as examples for online regression: features of a moment, and a number that becomes known later."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neoteny.errors import SettingError
from neoteny.streams.base import Stream

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FeatureStream", "online_standardised"]


def online_standardised(columns: np.ndarray) -> np.ndarray:
    """Each column less its mean so far, divided by its standard deviation so far, that moment included.

    Nothing of what comes later is used. Where a column has not varied yet, it is 0.

    Args:
        columns: [T, n].

    >>> online_standardised(np.array([[1.0], [3.0], [2.0]])).round(2).ravel().tolist()
    [0.0, 1.0, 0.0]
    """
    counts = np.arange(1, len(columns) + 1)[:, None]
    shift = columns[:1]  # sums of squares of large numbers lose digits
    centred = columns - shift
    mean = np.cumsum(centred, 0) / counts
    variance = np.maximum(np.cumsum(centred**2, 0) / counts - mean**2, 0.0)
    deviation = np.sqrt(variance)
    apart = deviation > 1e-9 * (1 + np.abs(shift))
    return np.where(apart, (centred - mean) / np.where(apart, deviation, 1.0), 0.0)


class FeatureStream(Stream):
    """One real series, the same for every run, whose labels become known `delay` examples later.

    Step s predicts example s + delay, and learns from example s, whose label has just become known. So the step's
    parts are `inputs` and `targets` of example s, and, where there is a delay, `latest` and `truth` of example
    s + delay. A subclass says what the features of examples are.

    Args:
        seeds: the runs' seeds.
        targets: [T], numbers.
        delay: d >= 0.
        task_length: steps of a task; tasks are stretches of the series.
        first: examples at the beginning of the series that are left out; features still know of them.

    Shapes: inputs [R, steps, 1, n], targets [R, steps, 1, 1].

    Raises:
        SettingError: a delay or `first` below 0, or none of the examples left.
    """

    def __init__(self, seeds: Sequence[int], targets: np.ndarray, delay: int, task_length: int, first: int = 0):
        super().__init__(seeds, task_length)
        if not 0 <= delay < len(targets):
            raise SettingError(f"delay = {delay}: it must be at least 0 and less than the {len(targets)} examples.")
        if not 0 <= first < len(targets) - delay:
            raise SettingError(
                f"first = {first}: it must be at least 0 and less than the {len(targets) - delay} steps of the series."
            )
        self.delay, self.first = int(delay), int(first)
        self._targets = np.asarray(targets, np.float32)
        if delay:
            self.PARTS = ("inputs", "targets", "latest", "truth")

    @property
    def most(self) -> int:
        """Steps that the series lasts."""
        return len(self._targets) - self.delay - self.first

    @abstractmethod
    def features(self, start: int, stop: int) -> np.ndarray:
        """The features of the examples [start, stop), float32 [stop - start, n]."""

    def _begin_task(self, task: int, again: bool) -> None:
        pass

    def _take(self, start: int, stop: int) -> tuple[Tensor, ...]:
        begin, end = (self.start_of(self.task) + step for step in (start, stop))
        if end > self.most:
            raise SettingError(
                f"the series has {self.most} steps with a delay of {self.delay}, and step {end} was asked for: take "
                "fewer or shorter tasks."
            )
        parts = self._examples(begin, end)
        return parts if not self.delay else (*parts, *self._examples(begin + self.delay, end + self.delay))

    def _examples(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        import torch

        start, stop = start + self.first, stop + self.first
        pair = (self.features(start, stop), self._targets[start:stop, None])
        # copies, since what is handed out is the caller's; moved before they are repeated for each run
        tensors = (torch.from_numpy(np.array(each)).to(self.device) for each in pair)
        inputs, targets = (each[None, :, None].expand(self.runs, -1, -1, -1) for each in tensors)
        return inputs, targets

    def _probe(self, examples: int) -> Tensor:
        import torch

        start = self.first + self.start_of(self.task)
        if start >= len(self._targets):  # the series ends with the last task
            start -= self.length_of(self.task)
        stop = min(start + self.length_of(self.task), len(self._targets))
        found = self.features(start, stop)[np.linspace(0, stop - start - 1, examples).astype(int)]
        return torch.from_numpy(found).expand(self.runs, -1, -1)

    def _data(self) -> Iterable[np.ndarray]:
        return (self._targets,)

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "delay": self.delay, "first": self.first, "examples": len(self._targets)}
