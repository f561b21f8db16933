"""Measures a learner's units and weights with `neoteny.measures`, for each run and layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from neoteny.errors import UnknownNameError
from neoteny.measures.catalogue import FEATURE_MEASURES, SHARES, of_features
from neoteny.measures.curvature import hessian_rank
from neoteny.measures.weights import distance_from_init, weight_magnitude
from neoteny.registry import import_target

if TYPE_CHECKING:
    from neoteny.lab.learner import Learner

__all__ = ["measure"]

_OF_WEIGHTS = ("weight_magnitude", "distance_from_init", "step_size", "hessian_rank")
_QUANTILES = {"step_size_10": 0.1, "step_size_50": 0.5, "step_size_90": 0.9}

_CURVED = 32
"""Examples that the rank of the curvature is of."""
_JACOBIAN = 2**27
"""Numbers in the largest Jacobian that it is computed from, for one run."""


@torch.no_grad()
def measure(names: Sequence[str], learner: Learner, probe: Any) -> tuple[dict[tuple[str, str], np.ndarray], np.ndarray]:
    """Measure every run.

    Args:
        names: measures of features (see `neoteny.measures.FEATURE_MEASURES`), `weight_magnitude`,
            `distance_from_init`, `step_size` (recorded as `step_size_10`, `_50` and `_90`: quantiles of each
            parameter's, where the optimizer has one for each weight); or your own, as `module:function`: it maps a
            layer's features [R, E, units, positions] to [R] and is recorded under the function's name.
        learner: R runs.
        probe: [R, E, ...], each run's probe inputs; for several networks by name.

    Returns:
        For each measure and layer (`""` is the whole network) the values [R]; and bool [R], the runs whose weights or
        activations are no longer finite; their values mean nothing.

    Raises:
        UnknownNameError: a measure that cannot be taken here.
    """
    own = {name.rpartition(":")[2]: import_target(name) for name in names if ":" in name}
    names = [name for name in names if ":" not in name]
    for name in names:
        if name not in _OF_WEIGHTS and name.partition("(")[0] not in FEATURE_MEASURES:
            raise UnknownNameError(name, {*FEATURE_MEASURES, *_OF_WEIGHTS}, "measure")
    weights = learner.weights()
    matrices = {
        name: value for name, value in weights.items() if value.dim() > 2
    }  # [R, out, in, ...]: no biases, norms
    broken = ~learner.finite()
    found: dict[tuple[str, str], Tensor] = {}
    asked = [name for name in names if name not in _OF_WEIGHTS]
    units: dict[str, int] = {}
    for layer, features in learner.features(probe).items() if asked or own else ():
        broken |= ~_finite(features)
        units[layer] = features.shape[2]
        found |= {(name, layer): value for name, value in of_features(asked, features).items()}
        found |= {(name, layer): function(features) for name, function in own.items()}
    for name in asked if len(units) > 1 else ():
        if name.partition("(")[0] in SHARES:
            shares = [found[name, layer] * size for layer, size in units.items()]
            found[name, ""] = torch.stack(shares).sum(0) / sum(units.values())
    if "weight_magnitude" in names:
        for name, value in matrices.items():
            found["weight_magnitude", name.removesuffix(".weight")] = weight_magnitude(value, leading=1)
        found["weight_magnitude", ""] = weight_magnitude(matrices.values(), leading=1)
    if "distance_from_init" in names:
        initial = [learner.initial_weights[name] for name in weights]
        found["distance_from_init", ""] = distance_from_init(weights.values(), initial, leading=1)
    if "step_size" in names:
        found |= _step_sizes(learner)
    if "hessian_rank" in names and isinstance(probe, Tensor):
        found |= _hessian_rank(learner, probe[:, :_CURVED])
    return {key: value.double().cpu().numpy() for key, value in found.items()}, broken.cpu().numpy()


def _hessian_rank(learner: Learner, inputs: Tensor) -> dict[tuple[str, str], Tensor]:
    """The rank of the curvature of the weights that learn, [R]; nothing for networks that are too large for it."""
    module, tensors = learner.module(""), learner.tensors("")
    outputs = learner.outputs(inputs[:, :1]).shape[-1]
    size = sum(parameter.numel() for parameter in module.parameters())
    if size * outputs * inputs.shape[1] > _JACOBIAN:
        return {}
    inputs = inputs.to(learner.device)
    ranks = [
        hessian_rank(module, inputs[run], {name: value[run] for name, value in tensors.items()})
        for run in range(learner.runs)
    ]
    return {("hessian_rank", ""): torch.stack(ranks)}


def _step_sizes(learner: Learner) -> dict[tuple[str, str], Tensor]:
    """Quantiles of the step sizes that the optimizers have for each weight, by parameter, [R] each."""
    state, found = learner.strategy.carry()["optim"], {}
    for phase in learner.objective.phases:
        for name, own in state.items():
            sizes = phase.optimizer.step_sizes(own) if phase.trains(name) else None
            if sizes is not None:
                for metric, share in _QUANTILES.items():
                    found[metric, name.removesuffix(".weight")] = sizes.flatten(1).float().quantile(share, dim=1)
    return found


def _finite(values: Tensor) -> Tensor:
    """Which runs of [R, ...] have only finite values."""
    return torch.isfinite(values).flatten(1).all(dim=1)
