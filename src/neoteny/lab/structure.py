"""What a learner's network is made of, as a method tells the backbone from the fringe: sizes, ages, shares, step sizes.

A method that does so keeps for each layer, beside what it needs itself,

- `<layer>/backbone`, bool `[units]`: which units belong to the backbone; the others are the fringe;
- `<layer>/age`, `[units]`: steps since a unit was made new;
- `<layer>/utility`, `[units]`: by how much a unit reduces the error, or would reduce it; if it is a running average
  that began at 0, `<layer>/share` is what its weights add up to;
- `<layer>/promoted` and `<layer>/demoted`, int `[]`: how many units have changed sides so far;
- `<layer>/disturbance`, `[]`: by how much the output has changed as units were replaced, a sum of mean squares.

What is missing is not recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from neoteny.lab.learner import Learner
    from neoteny.units.records import UnitLayer

__all__ = ["STRUCTURE", "structure"]

_SINCE = ("promoted", "demoted", "disturbance")
_READ = ("age", "utility", "share", *_SINCE)
STRUCTURE = (
    "backbone_size",
    "fringe_size",
    "backbone_age",
    "fringe_age",
    "backbone_share",
    "backbone_step_size",
    "fringe_step_size",
    *_SINCE,
)
"""What is recorded: numbers of units, mean ages, the backbone's share of all positive utility, medians of the step
sizes of incoming weights (where the optimizer has them), and counts and sums since the beginning."""


@torch.no_grad()
def structure(learner: Learner) -> dict[tuple[str, str], Tensor]:
    """The measures in `STRUCTURE` by name and layer, float64 [R] each; none where no method has a backbone.

    A mean over no unit is NaN.
    """
    carry = learner.strategy.carry()
    found: dict[tuple[str, str], Tensor] = {}
    for layer in learner.network.layers:
        for state in carry["methods"]:
            if f"{layer.name}/backbone" in state:
                own = {what: state.get(f"{layer.name}/{what}") for what in _READ}
                sizes = _incoming_step_sizes(learner, carry, layer)
                measured = _of_layer(state[f"{layer.name}/backbone"].bool(), sizes, own)
                found |= {(name, layer.name): value.double() for name, value in measured.items()}
    return found


def _of_layer(backbone: Tensor, step_sizes: Tensor | None, own: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """The measures of one layer from its state, [R, units] or [R] each."""
    found = {"backbone_size": backbone.sum(1), "fringe_size": (~backbone).sum(1)}
    sides = {"backbone": backbone, "fringe": ~backbone}
    if (age := own["age"]) is not None:
        found |= {f"{side}_age": _chosen(age.double(), mask).nanmean(1) for side, mask in sides.items()}
    if (utility := own["utility"]) is not None:
        gain = utility.double().clamp(min=0)
        if (share := own["share"]) is not None:
            gain = gain / share.double().clamp(min=1e-30)
        found["backbone_share"] = (gain * backbone).sum(1) / gain.sum(1)
    if step_sizes is not None:
        for side, mask in sides.items():
            units = mask.unsqueeze(-1).expand_as(step_sizes)
            found[f"{side}_step_size"] = _chosen(step_sizes.double(), units).flatten(1).nanmedian(1).values
    found |= {name: count for name in _SINCE if (count := own[name]) is not None}
    return found


def _chosen(values: Tensor, mask: Tensor) -> Tensor:
    """The values, NaN outside the mask."""
    return torch.where(mask, values, torch.nan)


def _incoming_step_sizes(learner: Learner, carry: Any, layer: UnitLayer) -> Tensor | None:
    """The step sizes of each unit's incoming weights, [R, units, weights]; None where they have one in common."""
    slices = layer.incoming[0]
    for phase in learner.objective.phases:
        if phase.trains(slices.name) and slices.name in carry["optim"]:
            sizes = phase.optimizer.step_sizes(carry["optim"][slices.name])
            if sizes is not None and sizes.dim() > 1 and sizes.shape[1] == layer.size:
                return sizes.flatten(2) if sizes.dim() > 2 else sizes.unsqueeze(-1)
    return None
