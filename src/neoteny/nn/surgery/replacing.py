"""Replace the activations in a copy of a user's network, or put norms and dropout beside them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from neoteny.errors import NetworkError
from neoteny.nn.surgery.functions import functions_to_modules
from neoteny.nn.surgery.wiring import (
    ACTIVATIONS,
    OUTPUT,
    Part,
    hidden_activations,
    hidden_functions,
    own_activations,
    parts_of,
)
from neoteny.units.copying import bare_copy
from neoteny.units.inference import infer_initialisers
from neoteny.units.maps import unwrapped

__all__ = [
    "Place",
    "channels_of",
    "copy_of",
    "keep_records",
    "layer_norm",
    "parts_with_modules",
    "replace_activations",
    "runs_alike",
]


@dataclass(frozen=True)
class Place:
    """Where an activation stands.

    Attributes:
        name: its qualified name.
        value: an input of it.
        channels: the dimension of the channels in its inputs, counted from the end.
        reads: what it reads.
        calls: how often it is called in a forward pass.
    """

    name: str
    value: Tensor
    channels: int
    reads: tuple[Part, ...]
    calls: int

    @property
    def size(self) -> int:
        """The number of channels."""
        return self.value.shape[self.channels]


def replace_activations(
    model: nn.Module, example_inputs: Any, change: Callable[[nn.Module, Place], nn.Module], once: bool = False
) -> nn.Module:
    """A copy of the network with each hidden activation changed; other parameters keep names and values.

    An activation is hidden if it reads a layer and a layer reads it, directly or not. Activations at the network's
    output, such as the tanh of a policy, stay.

    Args:
        model: the network, without wrappers.
        example_inputs: a batch as the network takes it.
        change: gives the new module for an activation and its place; it may contain the activation itself.
        once: whether each place needs a module of its own.

    Raises:
        NetworkError: the network has no hidden activation, or one that is no module, or cannot be copied or run.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1), nn.Tanh())
    >>> replace_activations(net, torch.zeros(1, 3), lambda old, place: nn.ELU())
    Sequential(
      (0): Linear(in_features=3, out_features=4, bias=True)
      (1): ELU(alpha=1.0)
      (2): Linear(in_features=4, out_features=1, bias=True)
      (3): Tanh()
    )
    """
    copied = copy_of(model)
    parts = parts_with_modules(copied, example_inputs)
    for part in hidden_activations(parts):
        if once and part.calls > 1:
            raise NetworkError(
                f"{part.name!r} is called {part.calls} times in a forward pass; give each place a module of its own."
            )
        old = copied.get_submodule(part.name)
        reads = tuple(parts[name] for name in part.reads if name in parts)
        place = Place(part.name, part.values[0], channels_of(part, parts), reads, part.calls)
        new = change(old, place).train(old.training)
        copied.set_submodule(part.name, new)
    runs_alike(copied, parts, example_inputs)
    keep_records(copied)
    return copied


def layer_norm(place: Place, epsilon: float = 1e-5) -> nn.Module:
    """A layer norm for what an activation reads; for feature maps a group norm of one group."""
    own = {"eps": epsilon, "device": place.value.device, "dtype": place.value.dtype}
    return nn.LayerNorm(place.size, **own) if place.channels == -1 else nn.GroupNorm(1, place.size, **own)


def channels_of(part: Part, parts: Mapping[str, Part]) -> int:
    """The dimension of the channels in a part's input, from the end: after convolutions the first, else the last."""
    seen, ahead = {part.name}, sorted(part.reads)
    while ahead:
        read = parts.get(ahead.pop())
        if read is None or read.name in seen:
            continue
        seen.add(read.name)
        if read.kind not in ("norm", "activation"):
            spatial = len(read.module.kernel_size) if isinstance(read.module, nn.modules.conv._ConvNd) else 0
            return -1 - spatial if spatial and part.values[0].dim() == spatial + 2 else -1
        ahead += sorted(read.reads)
    return -1


def copy_of(model: nn.Module) -> nn.Module:
    """A copy in which every activation without parameters is used in one place only.

    Raises:
        NetworkError: the network is wrapped, or cannot be copied.
    """
    if unwrapped(model)[0] is not model:
        raise NetworkError(
            f"{type(model).__name__} is a wrapper: prepare the network inside it first, then compile or distribute it."
        )
    try:
        copied = copy.deepcopy(model)
    except Exception as error:  # whatever a module keeps may refuse in its own way
        raise NetworkError(
            f"{type(model).__name__} cannot be copied ({error}); remove from its modules what cannot be copied."
        ) from error
    seen: set[int] = set()
    for parent in list(copied.modules()):
        for slot, child in parent._modules.items():
            if isinstance(child, ACTIVATIONS) and next(child.parameters(), None) is None:
                if id(child) in seen:
                    parent._modules[slot] = child = copy.deepcopy(child)
                seen.add(id(child))
    return copied


def parts_with_modules(model: nn.Module, example_inputs: Any) -> dict[str, Part]:
    """The parts of a network, after every activation that it calls as a function was made a module."""
    parts = parts_of(model, example_inputs)
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):  # else torch goes on computing what it knows to be there
            module.activation_relu_or_gelu = 0
    if not hidden_functions(parts):
        return parts
    functions_to_modules(model, example_inputs, own_activations(bare_copy(model), example_inputs), ACTIVATIONS)
    return parts_of(model, example_inputs)


def runs_alike(model: nn.Module, parts: Mapping[str, Part], example_inputs: Any) -> None:
    """Refuse a changed network that no longer runs, or whose output has another shape than before."""
    was = [list(value.shape) for value in parts[OUTPUT].values]
    try:
        now = [list(value.shape) for value in parts_of(model, example_inputs)[OUTPUT].values]
    except NetworkError as error:
        raise NetworkError(
            f"{type(model).__name__} does not run any more once its activations are changed: something between its "
            f"layers expects a fixed number of channels ({error.__cause__}); let it read that number from its input."
        ) from error
    if now != was:
        raise NetworkError(
            f"{type(model).__name__} gives outputs of shape {now} instead of {was} once its activations are "
            "changed: let a layer follow the last of them."
        )


def keep_records(model: nn.Module) -> None:
    """Bring the record of initialisers up to date, in all modules that keep one."""
    keeping = {name: m for name, m in model.named_modules() if isinstance(getattr(m, "initialisers", None), dict)}
    found = infer_initialisers(model, {})[0] if keeping else {}
    for name, module in keeping.items():
        prefix = f"{name}." if name else ""
        module.initialisers = {own: found[prefix + own] for own, _ in module.named_parameters()}  # pyright: ignore
