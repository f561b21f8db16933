"""Shares of inactive units: dead, dormant, and dormant by ReDo's score.

Features are activations [..., examples, units], for feature maps with positions [..., examples, units, positions].
There may be leading dimensions (a stack of runs).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from neoteny.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["dead_units", "dormant_score", "dormant_units", "saturated_units"]


def dead_units(features: Tensor, positions: bool = False) -> Tensor:
    """Share of units that are zero on every example (and at every position).

    Args:
        features: activations on the probe set, [..., examples, units].
        positions: whether a further dimension of positions follows, [..., examples, units, positions].

    Returns:
        [...], in [0, 1].

    >>> import torch
    >>> dead_units(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, -2.0]]))
    tensor(0.3333)

    Source: Dohare et al., Nature 632, 2024, Fig. 2 ("dead units").
    """
    return _share(rows_of(features, positions).eq(0).all(dim=-2))


def dormant_units(features: Tensor, p: float = 0.01, positions: bool = False) -> Tensor:
    """Share of units that are active, that is not zero, on less than a share `p` of the examples (and positions).

    Args:
        features: activations on the probe set, [..., examples, units].
        p: the share of examples; 0.01 in the paper.
        positions: whether a further dimension of positions follows, [..., examples, units, positions].

    Returns:
        [...], in [0, 1].

    Raises:
        SettingError: `p` is outside [0, 1].

    >>> import torch
    >>> dormant_units(torch.eye(200)[:, :3])  # each active on one example of 200
    tensor(1.)

    Source: Dohare et al., Nature 632, 2024, Fig. 3 and 4 ("dormant units").
    """
    if not 0 <= p <= 1:
        raise SettingError(f"p = {p}: the share of examples must lie in [0, 1].")
    active = rows_of(features, positions).ne(0)
    # Counts, not means: a unit active on exactly a share p must not count as dormant because of rounding.
    return _share(active.sum(dim=-2) < math.ceil(p * active.shape[-2] - 1e-9))


def dormant_score(features: Tensor, tau: float = 0.025, positions: bool = False) -> Tensor:
    """Share of units with s_i <= tau, where s_i = mean |h_i| / (mean over the layer of mean |h| + 1e-9).

    Args:
        features: activations on the probe set, [..., examples, units].
        tau: the threshold; 0.025 in ReDo, where scores average to 1 in a layer.
        positions: whether a further dimension of positions follows, [..., examples, units, positions].

    Returns:
        [...], in [0, 1].

    Raises:
        SettingError: `tau` is negative or not a number.

    >>> import torch
    >>> dormant_score(torch.tensor([[1.0, 0.01], [1.0, -0.01]]))
    tensor(0.5000)

    Source: Sokar et al., ICML 2023, Eq. 1 and Definition 3.1.
    """
    import torch

    if not tau >= 0:
        raise SettingError(f"tau = {tau}: the threshold must be a number from 0.")
    # In half precision the 1e-9 would be 0, and a dead layer have no score.
    precise = torch.promote_types(features.dtype, torch.float32)
    size = rows_of(features, positions).abs().mean(dim=-2, dtype=precise)
    return _share(size / (size.mean(dim=-1, keepdim=True) + 1e-9) <= tau)


def saturated_units(features: Tensor, p: float = 0.75, positions: bool = False) -> Tensor:
    """Share of units that are near a bound of their activation function on a share `p` of the examples or more.

    The bounds are the largest and the smallest activation of the layer, and near is within 5% of their distance. They
    count as bounds where at least 1% of all the layer's activations are near each, and at least ten numbers: so of tanh
    and sigmoid, but not of functions without an upper bound. Numbers that are exactly zero do not count: they are those
    of dead units.

    Args:
        features: activations on the probe set, [..., examples, units].
        p: the share of examples.
        positions: whether a further dimension of positions follows, [..., examples, units, positions].

    Returns:
        [...], in [0, 1].

    Raises:
        SettingError: `p` is outside [0, 1].

    >>> import torch
    >>> x = torch.linspace(-1, 1, 100).unsqueeze(1)
    >>> saturated_units(torch.tanh(torch.cat([100 * x, x, x], 1)))
    tensor(0.3333)

    Source: Glorot & Bengio, AISTATS 2010, Section 3 (saturation); the definition on activations alone is ours.
    """
    if not 0 <= p <= 1:
        raise SettingError(f"p = {p}: the share of examples must lie in [0, 1].")
    h = rows_of(features, positions)
    high, low = h.amax((-2, -1), keepdim=True), h.amin((-2, -1), keepdim=True)
    margin = 0.05 * (high - low)
    near = [(h >= high - margin) & (h != 0), (h <= low + margin) & (h != 0)]
    # of few numbers 1% is one or two, which are near the largest of any distribution
    least = max(0.01, 10 / max(h.shape[-2] * h.shape[-1], 1))
    bounded = (near[0].float().mean((-2, -1)) >= least) & (near[1].float().mean((-2, -1)) >= least)
    share = (near[0] | near[1]).float().mean(-2)
    return _share(share >= p) * bounded


def rows_of(features: Tensor, positions: bool) -> Tensor:
    """Activations as rows [..., examples * positions, units]."""
    return features.movedim(-1, -2).flatten(-3, -2) if positions else features


def _share(units: Tensor) -> Tensor:
    return units.float().mean(dim=-1)
