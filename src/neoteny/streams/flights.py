"""US flights in time order: how late will this one arrive?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neoteny.streams.feature_stream import FeatureStream, online_standardised

if TYPE_CHECKING:
    from neoteny.data.flights import Flights

__all__ = ["FlightDelays"]

_DAY, _WEEK = 24 * 60, 7 * 24 * 60
_OVERALL, _OF_AIRPORT = 0.01, 0.1  # rates of the running means of delays


class FlightDelays(FeatureStream):
    """The delay of each flight, before it departs.

    Features: the minute of the day as two harmonics (4 numbers), the day of the week (7), the distance, and how late
    flights have been of late: running means of the known delays, of all flights (rate 0.01), of those from the same
    origin and of those to the same destination (rate 0.1 each). These four are standardised by what came before. Then
    the origin and the destination as one of the `airports` with most flights, or another (2 (airports + 1) numbers).

    The target is the delay in units of half an hour, cut off at -1 and 3 hours.

    Args:
        flights: of `neoteny.data.flights`.
        seeds: the runs' seeds.
        delay: flights until the delay of one is known; 2,000 are about three hours.
        task_length: flights of a task; 16,575 are a day on average.
        airports: airports that have a feature of their own.
        first: flights at the beginning that are left out.

    Shapes: inputs [R, steps, 1, 15 + 2 (airports + 1)], targets [R, steps, 1, 1].

    Raises:
        SettingError: as `FeatureStream`.
    """

    def __init__(
        self,
        flights: Flights,
        seeds: Sequence[int],
        delay: int = 2_000,
        task_length: int = 16_575,
        airports: int = 60,
        first: int = 0,
    ):
        late = np.clip(flights.delay, -60, 180) / np.float32(30)
        super().__init__(seeds, late, delay, task_length, first)
        self.airports, self._minute = int(airports), flights.minute
        counts = np.bincount(flights.origin, minlength=len(flights.airports))
        places = np.full(len(flights.airports), self.airports)
        busiest = np.argsort(-counts, kind="stable")[: self.airports]
        places[busiest] = np.arange(len(busiest))
        self._origin, self._destination = places[flights.origin], places[flights.destination]
        known = [
            _known_mean(late, np.zeros(len(late), np.int16), delay, _OVERALL),
            _known_mean(late, flights.origin, delay, _OF_AIRPORT),
            _known_mean(late, flights.destination, delay, _OF_AIRPORT),
        ]
        self._numbers = online_standardised(np.stack([flights.distance, *known], 1)).astype(np.float32)

    @property
    def inputs(self) -> int:
        """Features of a flight."""
        return 15 + 2 * (self.airports + 1)

    def features(self, start: int, stop: int) -> np.ndarray:
        """The features of the flights [start, stop)."""
        rows, minute = np.arange(stop - start), self._minute[start:stop]
        found = np.zeros((stop - start, self.inputs), np.float32)
        angle = 2 * np.pi * (minute % _DAY) / _DAY
        for column, harmonic in enumerate((np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle))):
            found[:, column] = harmonic
        found[rows, 4 + minute % _WEEK // _DAY] = 1
        found[:, 11:15] = self._numbers[start:stop]
        found[rows, 15 + self._origin[start:stop]] = 1
        found[rows, 16 + self.airports + self._destination[start:stop]] = 1
        return found


def _known_mean(late: np.ndarray, group: np.ndarray, delay: int, rate: float) -> np.ndarray:
    """For each flight the running mean of the delays in its group that are known by then, float64 [T].

    m <- m + rate (late - m), from 0; the flight at t sees what flights up to t - max(delay, 1) made of it.
    """
    from scipy.signal import lfilter

    found = np.zeros(len(late))
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        means = np.concatenate([[0.0], lfilter([rate], [1.0, rate - 1.0], late[members].astype(np.float64))])
        found[members] = means[np.searchsorted(members, members - max(delay, 1), side="right")]
    return found
