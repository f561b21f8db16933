"""Streaming agents whose step is written by hand in C++ (`kernel.cpp`), for one example after the other on a CPU.

What TorchInductor makes of a step goes through the weights more often than needed, and computes gradients of hidden
units anew for every weight: for an actor and a critic of 128-128 units a step takes four times as long. The kernel
works on the tensors of the laboratory's carry, so everything else stays as it is; a test holds it to the formulas.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, float32, nn

from neoteny import compiling
from neoteny.lab.step import Carry, TrainingStep
from neoteny.optim import ObGD
from neoteny.rl.experience import Experience
from neoteny.rl.stream_settings import StreamSettings

__all__ = ["kernel_of", "read_chain"]

SOURCE = Path(__file__).with_name("kernel.cpp")
_RECORDED = ("effective_step", "trace_norm", "bounded")
_SLOPE, _EPS = 0.01, 1e-5


def read_chain(module: nn.Module) -> list[dict[str, Any]] | None:
    """The layers of a network as the kernel takes them, by the names of their parameters; None if it cannot.

    It takes linear layers, each but the last followed by a leaky ReLU with a plain layer norm in front or without, and
    in front of them all a convolution of kernel 3 on a square. The network must do nothing else: what goes past a layer
    is seen when it is tried.

    >>> from neoteny.nn import MLP
    >>> [layer["in"] for layer in read_chain(MLP(5, [4], 2, "leaky_relu", "sparse", "plain_layer"))]
    [5, 4]
    """
    found: list[dict[str, Any]] = []
    activated, grid, leaves = True, (), []
    for name, layer in module.named_modules():
        if next(layer.children(), None) is not None:
            continue
        leaves.append(layer)
        if isinstance(layer, nn.Flatten):
            continue
        if isinstance(layer, nn.Unflatten) and not found:
            grid = tuple(layer.unflattened_size)
        elif type(layer) is nn.Linear and layer.bias is not None and activated and (found or not grid):
            sizes = {"in": layer.in_features, "out": layer.out_features, "side": 0, "channels": 0}
            found.append({**sizes, "name": name, "norm": False})
            activated = False
        elif type(layer) is nn.Conv2d and grid and not found and layer.bias is not None:
            usual = (layer.kernel_size, layer.stride, layer.padding, layer.groups) == ((3, 3), (1, 1), (0, 0), 1)
            if not usual or layer.dilation != (1, 1) or grid != (layer.in_channels, grid[-1], grid[-1]):
                return None
            sizes = {"in": 9 * layer.in_channels, "out": layer.out_channels, "side": grid[-1]}
            found.append({**sizes, "channels": layer.in_channels, "name": name, "norm": False})
            activated = False
        elif isinstance(layer, nn.LayerNorm | nn.GroupNorm) and found and not activated and not found[-1]["norm"]:
            side = found[-1]["side"]
            units = found[-1]["out"] * ((side - 2) ** 2 if side else 1)
            grouped = isinstance(layer, nn.GroupNorm)
            whole = layer.num_groups == 1 if grouped else math.prod(layer.normalized_shape) == units
            own = type(layer) in (nn.LayerNorm, nn.GroupNorm)
            if not (own and whole and layer.weight is None and layer.eps == _EPS):
                return None
            found[-1]["norm"] = True
        elif isinstance(layer, nn.LeakyReLU) and layer.negative_slope == _SLOPE and not activated:
            activated = True
        else:
            return None
    usual = found and not activated and not found[-1]["norm"] and not found[-1]["side"]
    return found if usual and _is_chain(module, leaves, math.prod(grid) if grid else found[0]["in"]) else None


@torch.no_grad()
def _is_chain(module: nn.Module, leaves: Sequence[nn.Module], size: int) -> bool:
    """Whether a module calls its parts one after the other, and nothing else."""
    x = torch.arange(1.0, size + 1).sin().unsqueeze(0).to(next(module.parameters()))
    own = x
    for leaf in leaves:
        own = leaf(own)
    return torch.equal(own, module(x))


def kernel_of(
    step: TrainingStep, module: nn.Module, networks: Sequence[str], reals: Sequence[float], flags: Mapping[str, bool]
) -> Callable[[Carry], Callable[..., None]] | None:
    """What makes the step of an agent out of its carry, or None where the kernel does not suit.

    Args:
        step: the step that it does.
        module: the networks.
        networks: the names of critic and actor, or "" for the only one, which gives values of actions.
        reals: the entropy's weight, and the greatest length of an episode.
        flags: `clips` and `before`; see `kernel.cpp`.
    """
    experience, phases = step.objective.interaction, step.objective.phases
    chains = [read_chain(module.get_submodule(name) if name else module) for name in networks]
    usual = all(type(phase.optimizer) is ObGD for phase in phases) and not step.methods and not step.watch_updates
    kinds = {parameter.dtype for parameter in module.parameters()}
    if not usual or any(chain is None for chain in chains) or kinds != {float32}:
        return None
    owned = {
        f"{name}.{layer['name']}.{part}".lstrip(".")
        for name, chain in zip(networks, chains, strict=True)
        for layer in chain or ()
        for part in ("weight", "bias")
    }
    if owned != set(step.parameters):  # some are shared, not trained, or of no layer
        return None
    assert isinstance(experience, Experience)
    library = compiling.optional(SOURCE)
    if library is None:
        return None
    library.neoteny_agent.restype = ctypes.c_void_p
    library.neoteny_agent.argtypes = [ctypes.c_void_p] * 2
    library.neoteny_agent_step.argtypes = [ctypes.c_void_p] * 4
    library.neoteny_agent_free.argtypes = [ctypes.c_void_p]
    settings: StreamSettings = experience.settings

    def make(carry: Carry) -> Callable[..., None]:
        state, own = carry["interaction"], []
        values = len(networks) == 1
        whole = [experience.size, experience.inputs, len(state["action"]) if not values else 0, values]
        whole += [settings.normalise_observations, settings.normalise_rewards, settings.reward_moment == "mean"]
        whole += [settings.time_input, settings.bootstrap_timeouts, flags["clips"], flags["before"]]
        bounds = getattr(experience, "bounds", (None, None))
        own += [state["seen"], None if values else state["action"], state.get("given"), state.get("time"), *bounds]
        own += [state["action"] if values else None, carry["count"]]
        own += [state.get(f"observations.{name}") for name in ("mean", "squares", "count")]
        own += [state.get(f"rewards.{name}") for name in ("sum", "mean", "squares", "count")]
        sums = []
        for phase in phases:
            names = [phase.loss_name, *phase.metrics]
            told = {here: name for name, here in phase.optimizer_metrics.items()}
            sums += [carry["sums"][name] for name in (*names, *(told[each] for each in _RECORDED))]
        own += [*sums, *[None] * (10 - len(sums))]
        whole += [_address(tensor) for tensor in own]
        for name, chain in zip(networks, chains, strict=True):
            assert chain is not None
            whole.append(len(chain))
            for layer in chain:
                whole += [layer[key] for key in ("in", "out", "side", "channels", "norm")]
                full = [f"{name}.{layer['name']}.{part}".lstrip(".") for part in ("weight", "bias")]
                tensors = [carry["tensors"][each] for each in full] + [carry["optim"][each]["trace"] for each in full]
                whole += [_address(tensor) for tensor in tensors]
        rules = [(phase.optimizer.step_size, phase.optimizer.kappa) for phase in phases]  # pyright: ignore
        numbers = [settings.gamma, settings.gamma * settings.trace_lambda, *reals, *np.ravel(rules), 0.0, 0.0]
        given = np.array(whole, np.int64), np.array(numbers, np.float64)
        agent = library.neoteny_agent(*(array.ctypes.data for array in given))
        advance = library.neoteny_agent_step

        def call(observations: Tensor, outcomes: Tensor, lots: Tensor, kept: Sequence[Any] = own) -> None:
            advance(agent, observations.data_ptr(), outcomes.data_ptr(), lots.data_ptr())

        weakref.finalize(call, library.neoteny_agent_free, agent)
        return call

    return make


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
