"""Features as a user has them, checked: a vector, or the numbers and values of those that are not 0."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from neoteny.checks import shown
from neoteny.errors import SettingError

__all__ = ["Sparse", "dense", "finite", "sparse"]


class Sparse(NamedTuple):
    """The features that are not 0.

    Args:
        indices: which ones, `[m]`, each once, whole numbers from 0.
        values: their values `[m]`; None means that all are 1.
    """

    indices: Any
    values: Any = None


def finite(value: Any, what: str) -> float:
    """A finite number.

    Raises:
        SettingError: it is none.

    >>> finite(np.float32(0.5), "cumulant")
    0.5
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise SettingError(f"{what} = {value!r} is not a finite number, and every weight would become like it: leave "
                           "the step out, or put the number right.")  # fmt: skip
    return number


def dense(x: Any, features: int) -> np.ndarray:
    """Features as a vector `[n]`, float64.

    Raises:
        SettingError: another shape, a number that is not finite, an index out of range or given twice.

    >>> dense(Sparse([2]), 3)
    array([0., 0., 1.])
    """
    if not isinstance(x, Sparse):
        return _numbers(x, (features,), "features")
    indices, values = sparse(x, features)
    if len(np.unique(indices)) < len(indices):
        raise SettingError(twice(indices))
    found = np.zeros(features)
    found[indices] = values
    return found


def sparse(x: Any, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Features as the indices, int64 `[m]`, and values, float64 `[m]`, of those that are not 0.

    Raises:
        SettingError: another shape, a number that is not finite, an index out of range.

    >>> sparse([0.0, 0.5, 0.0], 3)
    (array([1]), array([0.5]))
    """
    if not isinstance(x, Sparse):
        vector = _numbers(x, (features,), "features")
        indices = np.flatnonzero(vector)
        return indices, vector[indices]
    indices = np.asarray(_fetched(x.indices))
    if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
        raise SettingError(
            f"indices of shape {indices.shape} and type {indices.dtype}: give a list of whole numbers, one for each "
            "feature that is not 0."
        )
    indices = np.ascontiguousarray(indices, np.int64)
    if indices.size and not 0 <= indices.min() <= indices.max() < features:
        raise SettingError(
            f"indices from {indices.min()} to {indices.max()}: features are numbered 0 to {features - 1}."
        )
    return indices, np.ones(len(indices)) if x.values is None else _numbers(x.values, indices.shape, "values")


def twice(indices: np.ndarray) -> str:
    """The message about a feature that is given more than once."""
    found, counts = np.unique(indices, return_counts=True)
    return f"indices: feature {found[counts > 1][0]} is given more than once; give each feature once, with its sum."


def _numbers(given: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    try:
        numbers = np.ascontiguousarray(_fetched(given), np.float64)
    except (TypeError, ValueError):
        raise SettingError(f"{what} = {shown(given)}: they are no numbers; give an array or a list of them.") from None
    if numbers.shape != shape:
        raise SettingError(f"{what} of shape {numbers.shape}: this learner takes {shape}, the same in every step.")
    if not np.isfinite(numbers).all():
        raise SettingError(f"{what}: there are numbers that are not finite, and weights would become like them.")
    return numbers


def _fetched(given: Any) -> Any:
    """A tensor of torch as NumPy takes it, without its history; anything else as it is."""
    if not hasattr(given, "detach"):
        return given
    found = given.detach().cpu()
    return found.double() if found.is_floating_point() else found
