"""How fast is learned again what had gone away and comes back?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neoteny.errors import SettingError

__all__ = ["after_returns", "relearning"]


def after_returns(errors: ArrayLike, bin_size: int, period: int, window: int) -> NDArray[np.float64]:
    """The mean error over the first `window` examples of each stretch in which a part of the problem is present.

    The part is present in the first `period` examples, absent in the next, and so on: the `period` of
    `neoteny.streams.threshold_features.ThresholdFeatures`.

    Args:
        errors: in bins, [..., bins].
        bin_size: examples of a bin.
        period: examples of presence and of absence.
        window: examples after a return that count.

    Returns:
        Means [..., stretches]; the first is not a return: there the part is learned for the first time.

    Raises:
        SettingError: bins do not fit into the period or the window, or the part never comes back.

    >>> after_returns([4.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0], bin_size=10, period=20, window=10).tolist()
    [4.0, 3.0]
    """
    values = np.asarray(errors, dtype=np.float64)
    if period % bin_size or window % bin_size or not 0 < window <= period:
        raise SettingError(
            f"bin_size = {bin_size}, period = {period}, window = {window}: bins must divide the window and the period, "
            "and the window lies within a period."
        )
    length, count = period // bin_size, window // bin_size
    begins = [first for first in range(0, values.shape[-1], 2 * length) if first + count <= values.shape[-1]]
    if len(begins) < 2:
        raise SettingError(f"{values.shape[-1]} bins of {bin_size} examples: with period = {period} nothing returns.")
    return np.stack([values[..., first : first + count].mean(-1) for first in begins], -1)


def relearning(errors: ArrayLike, bin_size: int, period: int, window: int) -> NDArray[np.float64]:
    """The error after returns beside that of the first time, [...]: below 1 what was learned had been kept.

    Args:
        errors: in bins, [..., bins].
        bin_size: examples of a bin.
        period: examples of presence and of absence.
        window: examples after a return that count.

    Raises:
        SettingError: as `after_returns`.

    >>> float(relearning([4.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0], bin_size=10, period=20, window=10))
    0.75
    """
    found = after_returns(errors, bin_size, period, window)
    return found[..., 1:].mean(-1) / found[..., 0]
