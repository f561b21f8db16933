"""A measure of your own, which a benchmark names as `own_method.measure:spread`."""

from __future__ import annotations

from torch import Tensor


def spread(features: Tensor) -> Tensor:
    """How much the units of a layer differ: the standard deviation of their mean activations, [R].

    Args:
        features: activations of a layer, [R, examples, units, positions].
    """
    return features.mean(dim=(1, 3)).std(dim=-1)
