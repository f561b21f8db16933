"""Between a user's network and the pure rules: what the rules see of it, and how what they replaced gets back.

Imports torch; only `neoteny.methods.attach` needs it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.methods.base import Step, Tensors
from neoteny.units.records import Network


class Bridge:
    """A network with its optimizer, seen as dicts of tensors by name.

    Args:
        model: the network, without wrappers.
        optimizer: what trains it.
        network: its units.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, network: Network):
        self.optimizer, self.network = optimizer, network
        self.parameters = dict(model.named_parameters())
        self._live: dict[str, Tensor] = {**self.parameters, **dict(model.named_buffers())}

    def tensors(self) -> Tensors:
        """Parameters and buffers themselves, without their gradients' history."""
        return {name: tensor.detach() for name, tensor in self._live.items()}

    def grads(self) -> Tensors:
        """Gradients of the parameters that have one."""
        return {name: p.grad for name, p in self.parameters.items() if p.grad is not None}

    def groups(self) -> dict[str, dict[str, Any]]:
        """The optimizer's group of each parameter that it trains."""
        of = {id(p): group for group in self.optimizer.param_groups for p in group["params"]}
        return {name: of[id(p)] for name, p in self.parameters.items() if id(p) in of}

    def view(self, grads: Tensors, features: Tensors, since: Tensors, key: Tensor) -> View:
        """A step as the rules see it."""
        optim: dict[str, Tensors] = {}
        for name, parameter in self.parameters.items():
            state = self.optimizer.state.get(parameter)
            if state:
                optim[name] = {key: value for key, value in state.items() if isinstance(value, Tensor)}
                if isinstance(state.get("step"), (int, float)):
                    optim[name]["step"] = torch.tensor(state["step"])
        groups = self.groups()
        step = Step(
            network=self.network,
            tensors=self.tensors(),
            grads=grads,
            optim=optim,
            features=features,
            since=dict(since),
            key=key,
            step_size=self.optimizer.param_groups[0]["lr"],
            step_sizes={name: group["lr"] for name, group in groups.items()},
        )
        return View(step)

    def write_back(self, view: View) -> None:
        """Put into the network and the optimizer what the rules replaced, and leave everything else untouched."""
        groups = self.groups()
        for name, key, old, new in view.changed():
            if key is None:
                self._live[name].copy_(new)
                continue
            state = self.optimizer.state[self.parameters[name]]
            if isinstance(state[key], Tensor):
                start = _initial(self.optimizer, groups.get(name, {}), key)
                state[key].copy_(torch.where((new == 0) & (old != 0), start, new) if start else new)
            else:
                state[key] = type(state[key])(new)


class View:
    """A `Step` that remembers what it was made of: rules replace entries of its dicts and never write into tensors."""

    def __init__(self, step: Step):
        self.step = step
        self._tensors, self._since = dict(step.tensors), dict(step.since)
        self._optim = {name: dict(state) for name, state in step.optim.items()}

    def changed(self) -> Iterator[tuple[str, str | None, Tensor, Tensor]]:
        """What was replaced: parameter or buffer, name of the optimizer's state or None, old and new tensor."""
        for name, new in self.step.tensors.items():
            if new is not self._tensors[name]:
                yield name, None, self._tensors[name], new
        for name, state in self.step.optim.items():
            for key, new in state.items():
                if new is not self._optim[name][key]:
                    yield name, key, self._optim[name][key], new

    def reset_layers(self) -> list[str]:
        """Layers some of whose units may have been made new."""
        return [layer for layer, since in self.step.since.items() if since is not self._since[layer]]

    def map_changed(self, function: Any) -> None:
        """Replace everything that was replaced by `function` of it."""
        for name, key, _, new in list(self.changed()):
            if key is None:
                self.step.tensors[name] = function(new)
            else:
                self.step.optim[name][key] = function(new)
        for layer in self.reset_layers():
            self.step.since[layer] = function(self.step.since[layer])


def _initial(optimizer: torch.optim.Optimizer, group: Mapping[str, Any], key: str) -> float:
    """What an optimizer's state begins with: 0, except for Rprop's step sizes and, on request, Adagrad's sums."""
    if isinstance(optimizer, torch.optim.Rprop) and key == "step_size":
        return float(group["lr"])
    if isinstance(optimizer, torch.optim.Adagrad) and key == "sum":
        return float(group["initial_accumulator_value"])
    return 0.0


def trained_part(model: nn.Module, optimizer: torch.optim.Optimizer, network: Network) -> Network:
    """The network without the layers and parameters that the optimizer does not train.

    Raises:
        SettingError: it trains none of them.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    trained = {name for name, p in model.named_parameters() if id(p) in held}
    if not trained:
        raise SettingError(
            f"attach: the optimizer trains none of the parameters of {type(model).__name__}; give the one that was "
            "made with model.parameters()."
        )
    layers, skipped = [], dict(network.skipped)
    for layer in network.layers:
        others = [s.name for s in (*layer.incoming, *layer.outgoing, *layer.biases) if s.name not in trained]
        if others:
            skipped[layer.name] = f"{others[0]} is not trained by this optimizer"
        else:
            layers.append(layer)
    initialisers = {name: drawn for name, drawn in network.initialisers.items() if name in trained}
    return dataclasses.replace(network, layers=tuple(layers), initialisers=initialisers, skipped=skipped)
