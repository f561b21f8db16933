"""The rule by which hyper-parameters are chosen.

Every point of a row's grid is run with the tuning seeds, none of which is among those that are reported. A run's score
is the mean of the benchmark's metric over its whole stream. The point with the best mean score is chosen. A run
that turned non-finite is worse than any that did not. Of equal points the first in the grid, the weakest, is chosen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from neoteny.errors import SettingError

__all__ = ["TUNING_SEED", "best_point"]

TUNING_SEED = 1000
"""The first of the tuning seeds; those that are reported are smaller."""


def best_point(scores: ArrayLike, higher_is_better: bool) -> int:
    """The number of the point that is chosen.

    Args:
        scores: [points, seeds]; the score of a run that turned non-finite is non-finite.
        higher_is_better: true for accuracies, false for losses.

    Raises:
        SettingError: there is no score.

    Points with non-finite scores are ordered by how many of these they have, then by their other scores:

    >>> best_point([[0.5, 0.5], [0.9, 0.9], [0.9, 0.9], [1.0, float("nan")]], higher_is_better=True)
    1
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise SettingError(f"Scores have the shape {table.shape}, not [points, seeds]: run the tuning first.")
    finite = np.isfinite(table)
    sums = np.where(finite, table, 0.0).sum(axis=1) * (-1 if higher_is_better else 1)
    ended = (~finite).sum(axis=1)
    return min(range(len(table)), key=lambda point: (ended[point], sums[point], point))
