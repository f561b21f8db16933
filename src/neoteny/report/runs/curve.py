"""Curves over bins of examples (of agents: steps), and bins joined to larger ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neoteny.errors import SettingError

__all__ = ["FIRST", "LAST", "Curve", "Window", "rebin", "spacing"]

Window = tuple[float, float]
"""A part of a run, as shares of it."""
FIRST, LAST = (0.0, 0.1), (0.9, 1.0)


@dataclass(frozen=True, eq=False)
class Curve:
    """One metric of one series: runs by bins.

    Attributes:
        steps: examples seen at the end of each bin, [bins].
        values: [runs, bins]; NaN after a run has ended.
        bin_size: examples a bin; the spacing of the recordings for a measure.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    bin_size: int

    def inside(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which bins lie wholly in (start, stop], [bins]; the last one of a stream may be shorter than the others.

        >>> Curve(np.array([10, 20, 30, 35]), np.zeros((1, 4)), 10).inside(15, 35)
        array([False, False,  True,  True])
        """
        begins = np.maximum(self.steps - self.bin_size, np.concatenate([[0], self.steps[:-1]]))
        return (begins >= start) & (self.steps <= stop)

    def over(self, window: Window) -> NDArray[np.float64]:
        """The mean of each run over a window, [runs]; where nothing was recorded in it, what is nearest to its middle.

        >>> Curve(np.array([10, 20, 30, 40]), np.array([[1.0, 2.0, 3.0, 5.0]]), 10).over((0.5, 1.0))
        array([4.])
        """
        last = int(self.steps[-1])
        start, stop = ((share + 1e-12) * last for share in window)  # 30 / 110 * 110 is a little less than 30
        inside = (self.steps > start) & (self.steps <= stop)
        if not inside.any():
            inside[np.argmin(np.abs(self.steps - (start + stop) / 2))] = True
        return self.values[:, inside].mean(axis=1)


def spacing(steps: NDArray[np.int64]) -> int:
    """The commonest distance between recordings: the last bin of a stream may be shorter.

    >>> spacing(np.array([100, 200, 300, 350]))
    100
    """
    if not len(steps):
        return 0
    distances, counts = np.unique(np.diff(steps, prepend=0), return_counts=True)
    keep = distances > 0  # a measure may be taken before the first example
    return int(distances[keep][np.argmax(counts[keep])]) if keep.any() else 0


def rebin(curve: Curve, bin_size: int, metric: str) -> Curve:
    """Join bins to larger ones: each a whole number of recorded ones, a remainder at the end is left out.

    Raises:
        SettingError: the size is not a multiple of the recorded one.
    """
    if curve.bin_size == 0 or bin_size == curve.bin_size:
        return curve
    if bin_size < curve.bin_size or bin_size % curve.bin_size:
        raise SettingError(
            f"A bin size of {bin_size!r} cannot be made of the recorded bins of {curve.bin_size} of {metric}: "
            f"give a multiple, such as {max(1, round(bin_size / curve.bin_size)) * curve.bin_size}."
        )
    bins, column, counts = np.unique((curve.steps - 1) // bin_size, return_inverse=True, return_counts=True)
    # what is left over at the end is no bin; a measure may have been taken once more at the beginning
    full = np.flatnonzero(counts >= bin_size // curve.bin_size)
    values = np.full((len(curve.values), len(full)), np.nan)
    for place, index in enumerate(full):
        values[:, place] = curve.values[:, column == index].mean(axis=1)  # NaN for a run that ended inside the bin
    return Curve((bins[full] + 1) * bin_size, values, bin_size)
