"""The measures by name, as settings and files use them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from neoteny.errors import SettingError, UnknownNameError
from neoteny.measures import ranks, units

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FEATURE_MEASURES", "SHARES", "WEIGHT_MEASURES", "of_features"]

_SHARES = {
    "dead_units": units.dead_units,
    "dormant_units": units.dormant_units,
    "dormant_score": units.dormant_score,
    "saturated_units": units.saturated_units,
}
_THRESHOLDS = {"dormant_units": "p", "dormant_score": "tau", "saturated_units": "p"}
_NAME = re.compile(r"(?P<name>\w+)(\((?P<threshold>[^()]+)\))?")

FEATURE_MEASURES = (*_SHARES, *ranks.FROM_SINGULAR_VALUES)
"""Measures of a layer's features. `dormant_units(0.05)` and `dormant_score(0.1)` have another threshold."""

SHARES = tuple(_SHARES)
"""Those that are a share of the units; several layers together have their mean, weighted by numbers of units."""

WEIGHT_MEASURES = (
    "weight_magnitude",
    "weight_change",
    "distance_from_init",
    "gradient_norm",
    "step_size",
    "hessian_rank",
)
"""Measures of weights, gradients and curvature; the functions of these names are in `neoteny.measures`. `step_size` is
the laboratory's: quantiles of the step sizes that an optimizer has for each weight."""


def of_features(names: Sequence[str], features: Tensor) -> dict[str, Tensor]:
    """Several measures of one layer's features; the singular values for the ranks are computed once.

    Args:
        names: from `FEATURE_MEASURES`; a threshold may follow in brackets.
        features: activations on the probe set, [..., examples, units, positions], as `neoteny.units` reads them.

    Returns:
        A tensor [...] for each name.

    Raises:
        UnknownNameError: there is no such measure.
        SettingError: a threshold that is no number or out of range, or on a measure that has none.

    >>> import torch
    >>> features = torch.eye(4)[..., None]  # four units, each active on one example of four
    >>> of_features(["dead_units", "dormant_units(0.3)", "srank_99"], features)
    {'dead_units': tensor(0.), 'dormant_units(0.3)': tensor(1.), 'srank_99': tensor(4.)}
    """
    functions = {name: _parse(name) for name in names}
    ranked = [name for name in names if name in ranks.FROM_SINGULAR_VALUES]
    sigma = ranks.singular_values(features, positions=True) if ranked else features
    return {name: function(sigma if name in ranked else features) for name, function in functions.items()}


def _parse(text: str) -> Callable[[Tensor], Tensor]:
    match = _NAME.fullmatch(text)
    name, threshold = (match["name"], match["threshold"]) if match else (text, None)
    if name not in FEATURE_MEASURES:
        raise UnknownNameError(text, FEATURE_MEASURES, "measure")
    function = ranks.FROM_SINGULAR_VALUES.get(name) or partial(_SHARES[name], positions=True)
    if threshold is None:
        return function
    if name not in _THRESHOLDS:
        raise SettingError(f"{text}: {name} has no threshold; leave out the brackets.")
    try:
        return partial(function, **{_THRESHOLDS[name]: float(threshold)})
    except ValueError:
        raise SettingError(f"{text}: {threshold!r} is not a number.") from None
