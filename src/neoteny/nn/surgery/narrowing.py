"""Put activations that double the channels into a network, and make its layers narrower in return."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, Literal

from torch import nn

from neoteny.errors import NetworkError
from neoteny.nn.activation_modules import Concatenated
from neoteny.nn.surgery.replacing import channels_of, copy_of, keep_records, parts_with_modules, runs_alike
from neoteny.nn.surgery.sizes import (
    Shapes,
    at_size,
    fans_of,
    outputs_of,
    scaling_rules,
    set_shapes,
    shapes_at,
    size_of,
)
from neoteny.nn.surgery.wiring import INPUT, OUTPUT, Part, hidden_activations
from neoteny.units.inference import infer_initialisers

__all__ = ["Match", "double"]

Match = Literal["parameters", "features"]
"""What stays as it was: the number of parameters, or the number of inputs of each layer (with half as many units)."""


def double(
    model: nn.Module, example_inputs: Any, activation: Callable[[int], Concatenated], match: Match = "parameters"
) -> nn.Module:
    """A copy of the network with activations that give two channels for one, and narrower layers.

    The widths of all layers are multiplied by one factor s in (0, 1] and rounded. s is chosen so that the number of
    parameters is as near as possible to what it was. The network's outputs stay as they are, and so do layers whose
    outputs are added to those of others: a residual stream keeps its width. Layers whose shape changes are drawn anew
    from torch's global generator, by the rule by which they were drawn.

    Args:
        model: the network, without wrappers.
        example_inputs: a batch as the network takes it.
        activation: makes the activation, given the dimension of the channels, counted from the end.
        match: what stays as it was.

    Raises:
        NetworkError: something whose size cannot change, such as a sum of layers, reads an activation; the message
            names it.

    >>> import torch
    >>> from neoteny.nn.activation_modules import CReLU
    >>> net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    >>> new = double(net, torch.zeros(1, 20), CReLU)
    >>> new[:3]
    Sequential(
      (0): Linear(in_features=20, out_features=47, bias=True)
      (1): CReLU(dim=-1)
      (2): Linear(in_features=94, out_features=47, bias=True)
    )
    >>> [sum(p.numel() for p in n.parameters()) for n in (net, new)]
    [5569, 5547]
    """
    copied = copy_of(model)
    parts = parts_with_modules(copied, example_inputs)
    plan = _Plan(parts)
    _resize(copied, plan, plan.widths(plan.factor(match)))
    for part in plan.hidden:
        old = copied.get_submodule(part.name)
        copied.set_submodule(part.name, activation(channels_of(part, parts)).train(old.training))
    runs_alike(copied, parts, example_inputs)
    keep_records(copied)
    return copied


class _Plan:
    """Which layers may become narrower, and what shapes all tensors then have.

    Raises:
        NetworkError: the network cannot be rewired.
    """

    def __init__(self, parts: Mapping[str, Part]):
        self.parts = parts
        self.hidden = hidden_activations(parts)
        self._doubling = {part.name for part in self.hidden}
        self._readers: dict[str, list[Part]] = {name: [] for name in (*parts, INPUT)}
        for part in parts.values():
            for read in part.reads:
                self._readers[read].append(part)
        self._check()
        layers = [part for part in parts.values() if part.kind == "layer" and self._readers[part.name]]
        self.scaled = {part.name: outputs_of(part.there) for part in layers if self._obstacle(part.name) is None}
        if not self.scaled:
            raise NetworkError(
                "No layer of the network can be made narrower, as all add their outputs to others or give the "
                "network's output; put a layer of its own in front of each activation."
            )

    def _check(self) -> None:
        for part in self.hidden:
            if isinstance(part.module, Concatenated):
                raise NetworkError(f"{part.name!r} doubles its channels already; prepare a network once only.")
            if len(part.reads) > 1:
                raise NetworkError(
                    f"The activation {part.name!r} reads the sum or the concatenation of {_listed(part.reads)}, "
                    "whose number of channels has to stay; let every activation read a single layer, as in a residual "
                    "network whose blocks add what their last layer gives."
                )
            obstacle = self._obstacle(part.name)
            if obstacle is not None:
                raise NetworkError(
                    f"What the activation {part.name!r} gives would have twice the channels, but {obstacle}; let "
                    "layers (nn.Linear, or convolutions of one group) read it and nothing else beside it."
                )

    def _obstacle(self, name: str) -> str | None:
        """Why the number of channels that a part gives cannot change; None where it can."""
        for reader in self._readers[name]:
            if reader.name == OUTPUT:
                return "the network's output reads it"
            if len(reader.reads) > 1:
                return f"{reader.name!r} reads it together with {_listed(reader.reads - {name})}"
            if reader.kind not in ("layer", "norm", "activation"):
                return f"{reader.name!r} ({type(reader.module).__name__}) has a size that cannot follow"
            if reader.kind != "layer" and reader.name not in self._doubling:
                obstacle = self._obstacle(reader.name)
                if obstacle is not None:
                    return obstacle
        return None

    def factor(self, match: Match) -> float:
        """The factor s of all widths."""
        if match == "features":
            return 0.5
        steps = sorted({(unit + 0.5) / size for size in self.scaled.values() for unit in range(1, size)} | {0.0, 1.0})
        middles = [(a + b) / 2 for a, b in pairwise(steps)]  # each stands for all s that round alike
        changing = [part.there for part in self.parts.values() if part.kind in ("layer", "norm") or part in self.hidden]
        goal = sum(p.numel() for module in changing for p in module.parameters())

        @cache
        def more(number: int) -> int:
            """Parameters beyond those that there were."""
            shapes = self.shapes(self.widths(middles[number])).values()
            return sum(math.prod(of[name]) for _, of in shapes for name in ("weight", "bias") if name in of) - goal

        above = bisect.bisect_left(range(len(middles)), 0, key=more)
        nearest = min({max(above - 1, 0), min(above, len(middles) - 1)}, key=lambda number: abs(more(number)))
        return middles[nearest]

    def widths(self, factor: float) -> dict[str, int]:
        """The width of each layer that can change."""
        return {name: max(1, math.floor(factor * size + 0.5)) for name, size in self.scaled.items()}

    def shapes(self, widths: Mapping[str, int]) -> dict[str, tuple[int, Shapes]]:
        """Inputs of each layer and norm and its tensors' shapes, given the widths of the layers that can change."""
        given: dict[str, tuple[int, int]] = {}  # for each part the channels that it gave and gives
        found: dict[str, tuple[int, Shapes]] = {}
        for name, part in self.parts.items():
            read = next(iter(part.reads)) if len(part.reads) == 1 else ""
            before, now = given.get(read, (1, 1))
            if part.kind in ("layer", "norm"):
                channels = channels_of(part, self.parts)
                size = size_of(part.there, channels)
                if size is not None:
                    if size * now % before:
                        raise NetworkError(
                            f"{name!r} has {size} inputs, which {before} channels do not divide: something between it "
                            f"and {read!r} mixes channels. Let it read all of them, as nn.Flatten leaves them."
                        )
                    inputs = size * now // before
                    found[name] = inputs, shapes_at(part.there, channels, inputs, widths.get(name))
            if part.kind == "layer":
                before = outputs_of(part.there)
                now = widths.get(name, before)
            given[name] = before, 2 * now if name in self._doubling else now
        return found


def _resize(model: nn.Module, plan: _Plan, widths: Mapping[str, int]) -> None:
    """Give layers and norms their new shapes; layers whose shape changes are drawn anew."""
    initialisers, _ = infer_initialisers(model, {})
    fans = {name: fans_of(part.there) for name, part in plan.parts.items() if part.kind == "layer"}
    weights = {name: (initialisers[f"{name}.weight"], of) for name, of in fans.items()}
    rule = scaling_rules(weights)
    for name, (inputs, shapes) in plan.shapes(widths).items():
        module, channels = model.get_submodule(name), channels_of(plan.parts[name], plan.parts)
        same = all(getattr(module, own).shape == shape for own, shape in shapes.items())
        if same and size_of(module, channels) == inputs:
            continue
        set_shapes(module, shapes, channels, inputs)
        if name in fans:
            drawn = {
                own: at_size(initialisers[f"{name}.{own}"], rule[name], fans[name], fans_of(module)) for own in shapes
            }
            for own, initialiser in drawn.items():
                initialiser.fill_(module.get_parameter(own))
            module.initialisers = drawn  # pyright: ignore[reportArgumentType] # now known, not to be guessed


def _listed(names: Iterable[str]) -> str:
    return " and ".join(name if name == INPUT else repr(name) for name in sorted(names))
