"""Hourly electricity demand: how much will it be in 24 hours?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neoteny.errors import SettingError
from neoteny.streams.feature_stream import FeatureStream

__all__ = ["ElectricityDemand"]

_WEEK = 168


class ElectricityDemand(FeatureStream):
    """The demand `horizon` hours from now, whose value becomes known then.

    Features: the hour of the day as three harmonics (6 numbers), the day of the week (7), the demand of the last 24
    hours (24) and that of one week before the hour that is predicted, all demands less the mean so far and divided by
    the standard deviation so far. The target is scaled by the same two numbers, those of the hour in which it is
    predicted. The first week only fills the features.

    Args:
        demand: [T], hourly, beginning at midnight on a Sunday.
        seeds: the runs' seeds.
        horizon: hours, 1 to 167.
        task_length: hours of a task.
        first: hours at the beginning, after the first week, that are left out.

    Shapes: inputs [R, steps, 1, 38], targets [R, steps, 1, 1].

    Raises:
        SettingError: a horizon out of range, a series that is too short, or an hour that is not a finite number.

    >>> hours = np.arange(500)
    >>> stream = ElectricityDemand(5000 + 1000 * np.sin(hours / 4), [0])
    >>> x, y, latest, truth = stream.next(10)
    >>> later = stream.next(24)[0]  # hours 10 to 34
    >>> x.shape, bool((latest == later[:, 14:24]).all())
    (torch.Size([1, 10, 1, 38]), True)
    """

    inputs = 38

    def __init__(
        self, demand: np.ndarray, seeds: Sequence[int], horizon: int = 24, task_length: int = 168, first: int = 0
    ):
        demand = np.asarray(demand, np.float64)
        if not 1 <= horizon < _WEEK:
            raise SettingError(f"horizon = {horizon}: it must be 1 to {_WEEK - 1} hours.")
        if demand.ndim != 1 or len(demand) <= _WEEK + 2 * horizon:
            raise SettingError(
                f"demand of shape {demand.shape}: it must be a list of more than {_WEEK + 2 * horizon} hours, a week "
                "and twice the horizon."
            )
        if not np.isfinite(demand).all():
            gap = int(np.argmin(np.isfinite(demand)))
            raise SettingError(
                f"demand: hour {gap} is {demand[gap]}, and all features after it would be no numbers: fill gaps in "
                "first, such as by the hour before."
            )
        now = np.arange(_WEEK, len(demand) - horizon)  # the hours in which something is predicted
        counts = np.arange(1, len(demand) + 1)
        mean = np.cumsum(demand) / counts
        deviation = np.sqrt(np.maximum(np.cumsum((demand - mean[-1]) ** 2) / counts - (mean - mean[-1]) ** 2, 1e-12))

        def scaled(hours: np.ndarray) -> np.ndarray:
            return (demand[hours] - mean[now]) / deviation[now]

        super().__init__(seeds, scaled(now + horizon), horizon, task_length, first)
        angle = 2 * np.pi * ((now + horizon) % 24) / 24
        waves = [wave(k * angle) for k in (1, 2, 3) for wave in (np.sin, np.cos)]
        days = [(now + horizon) // 24 % 7 == day for day in range(7)]
        lags = [scaled(now - lag) for lag in range(24)]
        columns = [*waves, *days, *lags, scaled(now + horizon - _WEEK)]
        self._features = np.stack(columns, 1).astype(np.float32)

    def features(self, start: int, stop: int) -> np.ndarray:
        """The features of the hours [start, stop), counted from the second week."""
        return self._features[start:stop]
