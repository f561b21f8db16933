"""A user's network and its optimizers as the rules see them, and how what rules replace is written back to them."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from neoteny.attachment.changes import trained_names
from neoteny.attachment.distributed import Processes, like, local, parts
from neoteny.attachment.fresh_state import FreshState
from neoteny.attachment.wrappers import acting, within, without_trainers
from neoteny.errors import SettingError
from neoteny.methods.base import Tensors
from neoteny.units.records import Network
from neoteny.units.reset import slices_of
from neoteny.units.slices import Slices

_Held = TypeVar("_Held")
_Group = tuple[weakref.ref[torch.optim.Optimizer], dict[str, Any], list[Tensor]]


class UserNetwork:
    """A network with the optimizers that train it, seen as dicts of tensors by name.

    Args:
        model: the network, without wrappers.
        optimizers: what trains it.
        network: its units.
        processes: those that train it together.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        network: Network,
        processes: Processes,
    ):
        outer = list(map(without_trainers, optimizers))
        self.kinds = tuple(type(acting(one)).__name__ for one in outer)
        self._optimizers = [(weakref.ref(acting(one)), weakref.ref(one)) for one in outer]  # their hooks hold this
        self._keeping = [weakref.ref(held) for one in outer for held in within(one)]
        self.model, self.network, self.processes = model, network, processes
        self.bind()

    def bind(self) -> None:
        """Take the parameters and buffers that the network has now."""
        model = self.model
        self.parameters = dict(model.named_parameters())
        self._buffers = {  # moving a model to another device makes its buffers anew, but not its parameters
            ".".join(filter(None, (prefix, name))): (module, name)
            for prefix, module in model.named_modules()
            for name in module._buffers
        }
        self.parts = parts(self.parameters)
        groups, outer_of = weakref.WeakMethod(self.groups), weakref.WeakMethod(self.outer)
        self.fresh_state = FreshState(lambda: _there(groups)(), self.parameters, lambda one: _there(outer_of)(one))
        self._along: dict[tuple[str, int, Any], Slices] = {}
        self.made_once: dict[str, Any] = {}
        self._detached: Tensors = {}
        self._addresses: list[int] = []
        self._plain = all(type(p) is nn.Parameter and p.layout is torch.strided for p in self.parameters.values())
        self._grouped: list[_Group] = []
        self.grouping: dict[str, int] = {}  # of each parameter the number of its group; another dict where they change
        self.look_at_frozen()

    def look_at_frozen(self) -> None:
        """See which parameters are frozen now, or trained by no optimizer; layers that have some rest."""
        self.made_once.clear()
        trained = self.groups()
        self.frozen = frozenset(n for n, p in self.parameters.items() if not p.requires_grad or n not in trained)
        self.resting = frozenset(
            layer.name for layer in self.network.layers if any(s.name in self.frozen for s in slices_of(layer))
        )

    def along(self, slices: Slices) -> Slices:
        """The same units in a vector that runs along the slices' dimension."""
        key = (slices.name, slices.dim, slices.index)
        if key not in self._along:
            self._along[key] = Slices(slices.name, 0, slices.index)
        return self._along[key]

    def tensors(self) -> Tensors:
        """Parameters and buffers themselves, detached from any graph; of sharded ones the part that is here."""
        addresses = [p.data_ptr() for p in self.parameters.values()] if self._plain else None
        if addresses is None or addresses != self._addresses:  # else they lie where they lay
            self._detached = {name: local(parameter) for name, parameter in self.parameters.items()}
            self._addresses = addresses or []
        found = dict(self._detached)
        for name, (module, own) in self._buffers.items():
            buffer = module._buffers[own]
            if buffer is not None:
                found[name] = local(buffer)
        return found

    def grads(self, optimizer: torch.optim.Optimizer | None = None, dense: bool = False) -> Tensors:
        """Gradients of the parameters that have one and are not frozen: of all, or of those one optimizer trains.

        Args:
            optimizer: the optimizer; None: all.
            dense: lay gradients of single rows (sparse embeddings) out over the whole parameter, the others 0.
        """
        found = {
            name: grad if self._plain else local(grad)
            for name, p in self.parameters.items()
            if (grad := p.grad) is not None and name not in self.frozen
        }
        if optimizer is not None and len(self._optimizers) > 1:
            own = {id(p) for group in optimizer.param_groups for p in group["params"]}
            found = {name: grad for name, grad in found.items() if id(self.parameters[name]) in own}
        if dense:
            for name, grad in found.items():
                if grad.is_sparse:
                    found[name] = grad.to_dense()
        return found

    def groups(self) -> dict[str, tuple[torch.optim.Optimizer, dict[str, Any]]]:
        """The optimizer of each parameter that one trains, and its group there."""
        now = self.look_at_groups()
        return {name: now[number] for name, number in self.grouping.items()}

    def look_at_groups(self) -> list[tuple[torch.optim.Optimizer, dict[str, Any]]]:
        """All groups of the optimizers; see whether they hold other parameters than before, and note it."""
        now = [(optimizer, group) for optimizer in self.optimizers for group in optimizer.param_groups]
        if len(now) != len(self._grouped) or not all(map(_same_group, now, self._grouped)):
            self._grouped = [(weakref.ref(optimizer), group, list(group["params"])) for optimizer, group in now]
            of = {id(p): number for number, (_, group) in enumerate(now) for p in group["params"]}
            self.grouping = {name: of[id(p)] for name, p in self.parameters.items() if id(p) in of}
        return now

    def outer(self, optimizer: torch.optim.Optimizer) -> Any:
        """An optimizer whose steps are followed, in the wrappers that the user has around it."""
        return next(_there(outer) for own, outer in self._optimizers if own() is optimizer)

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        """The optimizers whose steps are followed.

        Raises:
            SettingError: one of them is gone.
        """
        return tuple(_there(own) for own, _ in self._optimizers)

    def is_last(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether methods act once this optimizer has stepped."""
        return self._optimizers[-1][0]() is optimizer

    def state(self, name: str) -> Mapping[str, Any]:
        """What an optimizer, and those around and within it, keep of a parameter."""
        found = self.states(name)
        return found[0] if len(found) == 1 else {key: value for state in found for key, value in state.items()}

    def states(self, name: str) -> list[dict[str, Any]]:
        """The same as the optimizers themselves have it."""
        parameter, found = self.parameters[name], dict[int, dict[str, Any]]()
        for keeping in self._keeping:
            state = getattr(keeping(), "state", {})
            if (own := state.get(parameter)) is not None:
                found[id(own)] = own
        return list(found.values())

    def laid_out(self, name: str, grad: Tensor, own: Tensor) -> Tensor:
        """A gradient of the part of a parameter that is here, of the kind of the user's own: sharded, sparse, or plain.

        Of a sparse one only the rows that the user's own has: optimizers for such gradients take no others.
        """
        if grad.dtype is not own.dtype:
            grad = grad.to(own.dtype)
        if self._plain and not own.is_sparse:
            return grad
        if own.is_sparse:
            rows, whole = own.coalesce().indices(), own.shape
            return torch.sparse_coo_tensor(rows, grad[tuple(rows)], whole, is_coalesced=True, check_invariants=False)
        return like(grad, self.parameters[name])


def _there(reference: Callable[[], _Held | None]) -> _Held:
    held = reference()
    if held is None:
        raise SettingError(
            "The optimizer that methods were attached to is gone; keep it as long as the handle, or attach again."
        )
    return held


def _same_group(
    now: tuple[torch.optim.Optimizer, dict[str, Any]], before: tuple[Any, dict[str, Any], list[Any]]
) -> bool:
    """Whether it is the same group of the same optimizer, with the same parameters."""
    optimizer, group = now
    held, kept, parameters = before
    own = group["params"]
    return held() is optimizer and group is kept and len(own) == len(parameters) and all(map(is_, own, parameters))


def trained_part(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], network: Network) -> Network:
    """The network without the layers and parameters that the optimizers do not train.

    Raises:
        SettingError: they train none of them.
    """
    trained, all_names = trained_names(model, optimizers), dict(model.named_parameters())
    if not trained:
        held = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
        cure = "give the one that was made with model.parameters()"
        if any(id(p) in held for p in all_names.values()):
            cure = "those that it holds are frozen, or complex: set requires_grad_(True) of what should learn"
        raise SettingError(f"attach: the optimizer trains none of the parameters of {type(model).__name__}; {cure}.")
    layers, skipped = [], dict(network.skipped)
    for layer in network.layers:
        others = [s.name for s in slices_of(layer) if s.name in all_names and s.name not in trained]
        if others:
            skipped[layer.name] = f"{others[0]} is not trained by this optimizer"
        else:
            layers.append(layer)
    initialisers = {name: drawn for name, drawn in network.initialisers.items() if name in trained}
    return dataclasses.replace(network, layers=tuple(layers), initialisers=initialisers, skipped=skipped)
