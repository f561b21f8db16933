"""The parts of a learner: networks drawn from the seeds of the runs, their units, settings that differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from neoteny import seeds as randomness
from neoteny.errors import NetworkError, SettingError
from neoteny.lab.objective import Objective
from neoteny.methods.base import Method
from neoteny.methods.shared.combining import prepare, prepared
from neoteny.optim.base import Optimizer
from neoteny.units import find
from neoteny.units.joining import find_each
from neoteny.units.records import Network

__all__ = [
    "FEW",
    "REFERENCES",
    "by_network",
    "largest",
    "past",
    "seeded",
    "settings_of_runs",
    "tensors_of",
    "units_of",
    "use_products",
]

REFERENCES = 32
"""How many examples before the present batch are the reference batch of methods that need one."""
FEW = 2
"""For up to this many vectors, a broadcast product and a sum are faster than a matrix product (`use_products`)."""


def seeded(build_network: Callable[[], nn.Module], methods: Sequence[Method], example: Any, seed: int) -> nn.Module:
    """A network, changed as the methods need, drawn from the run's own seed; torch's global generator does not change.

    Raises:
        SettingError: a method changes networks, and there are several, of which none was prepared for it.
    """
    changing = [method.name for method in methods if method.prepares]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(int(randomness.generator(seed, randomness.WEIGHTS).integers(2**62)))
        model = build_network()
        if not isinstance(example, Mapping):
            return prepare(model, methods, example) if changing else model
    done = {name for module in model.modules() for name in prepared(module)}
    missing = next((name for name in changing if name not in done), None)
    if missing is not None:
        raise SettingError(
            f"{missing} changes the network, and this learner has several ({', '.join(example)}): call neoteny.prepare "
            "on the networks that it should change where you build them."
        )
    return model


def past(examples: Tensor) -> Tensor:
    """`REFERENCES` examples for each run out of `[R, E, ...]`, repeated if there are fewer."""
    times = -(-REFERENCES // examples.shape[1])
    return examples.repeat(1, times, *[1] * (examples.dim() - 2))[:, :REFERENCES].clone()


def units_of(module: nn.Module, example: Any, chain: bool, needed: bool) -> Network:
    """The networks' units; there may be none if no method acts on units."""
    if isinstance(example, Mapping):
        found = find_each(module, example, chain=chain, only_preserving=False, verify=False, allow_none=True)
        if needed and not found.layers:
            why = "; ".join(f"{name!r}: {reason}" for name, reason in found.skipped.items())
            raise NetworkError(f"None of {', '.join(example)} has hidden units that can be made new ({why}).")
        return found
    try:
        return find(module, example, chain=chain, only_preserving=False, verify=False)
    except NetworkError:
        if needed:
            raise
        return find(module, example, chain=chain, only_preserving=False, verify=False, allow_none=True)


def by_network(inputs: Any) -> Mapping[str, Any]:
    """Inputs by the network's name; a single network has the name ''."""
    return inputs if isinstance(inputs, Mapping) else {"": inputs}


def largest(example: Any) -> Tensor:
    """The example's largest tensor: it tells how much a step computes."""
    return max(tree_leaves(example), key=Tensor.numel)


def tensors_of(module: nn.Module, device: torch.device) -> dict[str, Tensor]:
    """Copies of parameters and buffers by name."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: value.detach().clone().to(device) for name, value in named}


def settings_of_runs(
    varied: Mapping[str, Sequence[float]],
    objective: Objective,
    methods: Sequence[Method],
    runs: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """Settings that differ between runs as tensors, `[R]`, by `owner.setting`."""
    hyper = {}
    owners: dict[str, Optimizer | Method] = {phase.settings_name: phase.optimizer for phase in objective.phases}
    owners |= {method.name: method for method in methods}
    for name, values in varied.items():
        owner, _, setting = name.rpartition(".")
        owner = owner or "optimizer"
        if owner not in owners or setting not in owners[owner].varies:
            can = [f"{who}.{what}" for who, it in owners.items() for what in it.varies]
            raise SettingError(f"{name} cannot differ between the runs of one stack; these can: {', '.join(can)}.")
        if len(values) != runs:
            raise SettingError(f"{name} has {len(values)} values for {runs} runs; give one for each run.")
        hyper[f"{owner}.{setting}"] = torch.tensor(values, dtype=torch.float32, device=device)
    return hyper


class _Product(nn.Linear):
    """A linear layer as a broadcast product and a sum.

    For one example (or a few) this compiles into one kernel with the operations around it. A batched matrix product of
    one row is a call of its own, and twenty times slower for a stack of runs.
    """

    def forward(self, input: Tensor) -> Tensor:
        product = (input.unsqueeze(-2) * self.weight).sum(-1)
        return product if self.bias is None else product + self.bias


def use_products(module: nn.Module, example: Tensor) -> None:
    """Turn the linear layers of the laboratory's own copy into `_Product` if a batch is one or two vectors."""
    if example.shape[0] <= FEW and example.dim() == 2 and example.device.type == "cpu":
        for child in module.modules():
            if type(child) is nn.Linear:
                child.__class__ = _Product
