"""A measure of one's own, which a benchmark names as `own_method.measure:spread`."""

from __future__ import annotations

from torch import Tensor


def spread(features: Tensor) -> Tensor:
    """How differently the units of a layer act: the deviation of their mean activations, [R].

    Args:
        features: of a layer, [R, examples, units, positions].
    """
    return features.mean(dim=(1, 3)).std(dim=-1)
