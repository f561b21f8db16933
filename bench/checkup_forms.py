"""Forms that the direct measure of the check-up could have, on stacks of networks.

All compare a network with new networks on the same new targets. They differ in the optimizer (the user's own, or Adam
at 1e-3), in the targets (what a random network makes of the inputs; or the user's own with another meaning: classes
exchange their names, numbers go through a random function), and in what is learned (the targets; or a change of the
present output by the squared error, whatever the user's loss). `direct` is that of `neoteny.measures.trainability`:
the user's optimizer, a random network's function, values around each network's own mean output.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from checkup_networks import Case, learn_together, order, recent
from torch import Tensor, nn

STEPS, REPEATS = 200, 5
FORMS = ("own function", "own renamed", "adam function", "adam renamed", "adam change")


def forms(case: Case, model: nn.Module, names: Sequence[str]) -> dict[str, list[list[float]]]:
    """The errors of the network in each repetition, then of new ones, by form; of each quarter of the steps."""
    x, y = recent(case)
    new = [case.build(10**8 + 1_000 * case.number + k) for k in range(REPEATS)]
    chance = torch.Generator().manual_seed(case.number)
    taught = outputs([case.build(10**9 + 1_000 * case.number + k) for k in range(REPEATS)], x)
    taught = taught - taught.mean(1, keepdim=True)
    change = taught / taught.square().mean((1, 2), keepdim=True).sqrt()
    equal = taught / (taught.square().mean(1, keepdim=True).sqrt() + 1e-9)
    function = change if y.is_floating_point() else equal.argmax(-1)
    students = [model] * REPEATS + new
    start = outputs(students, x)
    targets = {
        "direct": function, "function": function, "change": change,
        "renamed": torch.stack([renamed(y, taught.shape[-1], chance) for _ in range(REPEATS)]),
    }  # fmt: skip
    starts = {
        "change": start,
        "direct": start.mean(1, keepdim=True).expand_as(start) if y.is_floating_point() else None,
    }
    rows = torch.stack([order(len(x), STEPS, 777 + k) for k in range(REPEATS)]).repeat(2, 1, 1)

    def adam(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, 1e-3, fused=True)

    found = {}
    for name in names:
        what = name.split()[-1]
        goal, make = targets[what].repeat(2, *[1] * (targets[what].dim() - 1)), adam if "adam" in name else case.make
        course = learn_together(students, x.expand(2 * REPEATS, *x.shape), goal, rows, make, starts.get(what))
        found[name] = course.errors.view(2 * REPEATS, 4, -1).mean(-1).tolist()
    return found


def outputs(models: Sequence[nn.Module], x: Tensor) -> Tensor:
    """What networks say, [networks, examples, outputs]; norms use the statistics of the batch."""
    copies = [torch.func.replace_all_batch_norm_modules_(copy.deepcopy(model)).train() for model in models]
    with torch.no_grad():
        return torch.stack([each(x) for each in copies])


def renamed(y: Tensor, classes: int, chance: torch.Generator) -> Tensor:
    """Targets with another meaning: classes exchange their names; numbers take a random function of their rank."""
    if not y.is_floating_point():
        return torch.randperm(classes, generator=chance)[y]
    rank, waves = y.flatten().argsort().argsort() / len(y), torch.randn(3, generator=chance)
    other = torch.cos(torch.pi * rank[:, None] * torch.arange(1, 4)) @ waves
    return ((other - other.mean()) / other.std())[:, None]
