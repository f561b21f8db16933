"""Notice that a user changes the network, or what is trained of it, after methods were attached to it.

What is compared is known to the host and cheap: which modules, parameters and parameter groups there are, and of each
parameter its type, its device, and whether it is frozen. Values are not looked at.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import torch
from torch import Tensor, nn

from neoteny.attachment.distributed import is_sharded
from neoteny.errors import NetworkError
from neoteny.units.records import Network
from neoteny.units.reset import slices_of

__all__ = ["Snapshot", "refuse_unknown", "trained_names"]

_trains = attrgetter("requires_grad")
_AGAIN = "call plasticity.detach(), then neoteny.attach with the network as it is now"


@dataclass(frozen=True)
class _Kept:
    """What is kept of a parameter, to compare it later."""

    parameter: nn.Parameter
    shape: tuple[int, ...]


class Snapshot:
    """A network and its optimizers at one moment.

    Sharded networks are not compared: sharding puts other parameters into modules and takes them out again.

    Args:
        model: the network, without wrappers.
        optimizers: what trains it.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]):
        self._tables: list[Mapping[str, Any]] = []
        self.kinds = {name: type(module) for name, module in model.named_modules()}
        parameters = dict(model.named_parameters())
        if any(map(is_sharded, parameters.values())):
            parameters = {}
        else:
            for module in model.modules():
                for table in (module._modules, module._parameters):
                    if table:
                        self._tables.append(table)
        self._lengths = list(map(len, self._tables))
        self._views = [table.values() for table in self._tables]  # of what is in them at any time
        self._entries = list(chain.from_iterable(self._views))
        self.parameters = {name: _Kept(p, tuple(p.shape)) for name, p in parameters.items()}
        self._kept = [kept.parameter for kept in self.parameters.values()]
        on_cpu = all(p.is_cpu for p in self._kept)  # of which there is one: a device is an object anew for each look
        self._look = attrgetter("dtype", "is_cpu" if on_cpu else "device")
        self._looks = list(map(self._look, self._kept))
        self._train = list(map(_trains, self._kept))
        # Weakly, since a hook of the optimizer holds this.
        self._groups = [(weakref.ref(optimizer), _lengths(optimizer)) for optimizer in optimizers]

    def same(self) -> bool:
        """Whether everything is as it was."""
        return self.same_network() and self.same_training()

    def same_network(self) -> bool:
        """Whether modules and parameters are the same objects, of the same type, on the same device."""
        return (
            list(map(len, self._tables)) == self._lengths
            and all(map(is_, chain.from_iterable(self._views), self._entries))
            and list(map(self._look, self._kept)) == self._looks
        )

    def same_training(self) -> bool:
        """Whether the same parameters are frozen, and optimizers have as many parameters in their groups."""
        for held, lengths in self._groups:
            if (optimizer := held()) is None or _lengths(optimizer) != lengths:
                return False
        return list(map(_trains, self._kept)) == self._train


def _lengths(optimizer: torch.optim.Optimizer) -> list[int]:
    return [len(group["params"]) for group in optimizer.param_groups]


def trained_names(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> set[str]:
    """The parameters that the optimizers hold and that are not frozen; methods leave complex ones alone."""
    held = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    return {n for n, p in model.named_parameters() if id(p) in held and p.requires_grad and not p.is_complex()}


def refuse_unknown(
    before: Snapshot, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], units: Network
) -> list[str]:
    """Refuse changes after which the record of units no longer tells who reads whom.

    What can be followed: parameters and modules replaced by others of the same name and class, as long as every unit
    keeps its place in them. So a head may get more outputs.

    Args:
        before: the network as it was.
        model: the network as it is.
        optimizers: what trains it.
        units: the record.

    Returns:
        The parameters whose shape has changed.

    Raises:
        NetworkError: the units have to be found again, or an optimizer still holds what is no longer in the network.
    """
    now, name = dict(model.named_parameters()), type(model).__name__
    for words, names in (("has new", now.keys() - before.parameters), ("has lost", before.parameters.keys() - now)):
        if names:
            raise NetworkError(
                f"{name} {words} parameters since methods were attached, {_listed(names)}, so its units are others; "
                f"{_AGAIN}."
            )
    kinds = {of: type(module) for of, module in model.named_modules()}
    other = next((of for of, kind in before.kinds.items() if kinds.get(of) is not kind), None)
    if other is not None:
        raise NetworkError(
            f"{name}.{other} is {getattr(kinds.get(other), '__name__', 'gone')} and was "
            f"{before.kinds[other].__name__} when methods were attached, so the units may be others; {_AGAIN}."
        )
    for layer, slices in ((own, part) for own in units.layers for part in slices_of(own)):
        if slices.name in now:
            was, is_now = before.parameters[slices.name].shape, tuple(now[slices.name].shape)
            moved = was != is_now if slices.groups > 1 else was[slices.dim] != is_now[slices.dim]
            if len(was) != len(is_now) or moved:
                raise NetworkError(
                    f"{slices.name} has the shape {list(is_now)} and had {list(was)} when methods were attached, so "
                    f"layer {layer.name} has other units; {_AGAIN}."
                )
    trained = trained_names(model, optimizers)
    held = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    left = [
        of
        for of, kept in before.parameters.items()
        if now[of] is not kept.parameter and now[of].requires_grad and of not in trained and id(kept.parameter) in held
    ]
    if left:
        raise NetworkError(
            f"{_listed(left)} of {name} {'is another parameter' if len(left) == 1 else 'are other parameters'} than "
            "when methods were attached (a new layer, or load_state_dict(assign=True)), and the optimizer still holds "
            "the old: give it the new one by optimizer.add_param_group, or make a new optimizer and attach again."
        )
    return [of for of, kept in before.parameters.items() if tuple(now[of].shape) != kept.shape]


def carried_over(old: Mapping[str, Tensor], fresh: Mapping[str, Tensor], changed: set[str]) -> dict[str, Tensor]:
    """A method's state after the network has changed: as it was, in the type and on the device that it has now.

    Args:
        old: the state before.
        fresh: what the method would begin with now.
        changed: parameters whose shape has changed; what is kept of them begins anew.
    """

    def values() -> Iterator[tuple[str, Tensor]]:
        for key, new in fresh.items():
            kept = old.get(key)
            if kept is None or kept.shape != new.shape or key.rpartition("/")[0] in changed:
                yield key, new
            else:
                yield key, kept.to(new)

    return dict(values())


def _listed(names: Any) -> str:
    shown = sorted(names)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
