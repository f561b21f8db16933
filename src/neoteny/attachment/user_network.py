"""A user's network and its optimizers as the rules see them, and how what rules replace is written back to them."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import is_
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from neoteny.attachment.changes import trained_names
from neoteny.attachment.distributed import Processes, like, local, parts
from neoteny.attachment.fresh_state import FreshState
from neoteny.attachment.wrappers import acting, within, without_trainers
from neoteny.errors import SettingError
from neoteny.methods.base import Step, Tensors
from neoteny.units.activations import Activations
from neoteny.units.noise import normals
from neoteny.units.random import eager, fold_in
from neoteny.units.records import Network, UnitLayer
from neoteny.units.reset import slices_of
from neoteny.units.rewrite import make_new_in_place
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
        """See which parameters are frozen now; layers that have some rest."""
        self.made_once.clear()
        self.frozen = frozenset(name for name, p in self.parameters.items() if not p.requires_grad)
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


class UserStep(Step):
    """A step of a user's network. What rules replace is written back by `finish`; units are made new in place.

    Args:
        user: the network and its optimizers.
        grads: gradients, by name.
        features: what units did, by layer.
        since: updates since each unit was made new, by layer.
        key: random key.
        skipped: bool `[]` on the device, whether the optimizer left out this step: then nothing is changed.

    Attributes:
        made: for each layer that was acted on the mask of its units that were made new, and how many at most.
    """

    def __init__(
        self,
        user: UserNetwork,
        grads: Tensors,
        features: Mapping[str, Activations],
        since: Tensors,
        key: Tensor,
        skipped: Tensor | None = None,
    ):
        self._own = user.tensors()
        self._optim: dict[str, Tensors] | None = None
        self._optim_before: dict[str, Tensors] = {}
        self._user, self._skipped, self._since = user, skipped, dict(since)
        self._drawn: Tensor | None = None
        self._sizes: dict[str, float | Tensor] | None = None
        self._folded: tuple[Tensor, tuple[int, ...]] = (key, ())
        self.made: dict[str, tuple[Tensor, int]] = {}
        super().__init__(
            network=user.network,
            tensors=dict(self._own),
            grads=grads,
            optim={},
            features=features,
            since=dict(since),
            key=key,
            newborn=user.fresh_state,
        )

    @property
    def step_size(self) -> float | Tensor:
        """The step size of the first parameters; asked of the optimizer only where a rule asks for it."""
        return _step_size(self._user.optimizers[0].param_groups[0])

    @step_size.setter
    def step_size(self, value: float | Tensor) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        assert not value  # the optimizers hold it, so it cannot be set

    @property
    def step_sizes(self) -> Mapping[str, float | Tensor]:
        """The step size of every parameter."""
        if self._sizes is None:
            self._sizes = {name: _step_size(group) for name, (_, group) in self._user.groups().items()}
        return self._sizes

    @step_sizes.setter
    def step_sizes(self, value: Mapping[str, Any]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        assert not value

    def fold(self, root: Tensor, *numbers: int) -> None:
        """Set the key to these numbers, folded into a root one after the other. It is computed when a rule asks for it.

        Most rules never draw, and a key costs as much as a small network's step.
        """
        self._folded, self._drawn = (root, numbers), None

    def normals(self, count: int) -> Tensor:
        """Standard normal numbers, without a key that is computed only for them."""
        root, numbers = self._folded if self._drawn is None else (self._drawn, ())
        return normals(root, count, numbers)[0]

    @property
    def key(self) -> Tensor:
        """The random key."""
        if self._drawn is None:
            root, numbers = self._folded
            for number in numbers:
                root = fold_in(root, number)
            self._drawn = root
        return self._drawn

    @key.setter
    def key(self, value: Tensor) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._drawn = value

    @property
    def optim(self) -> dict[str, Tensors]:
        """The optimizers' state, by parameter and name; put together only where a rule asks for it."""
        if self._optim is None:
            self._optim = {}
            for name in self._user.parameters:
                state = self._user.state(name)
                if state:
                    self._optim[name] = {key: local(v) for key, v in state.items() if isinstance(v, Tensor)}
                    if isinstance(state.get("step"), (int, float)):
                        self._optim[name]["step"] = torch.tensor(state["step"])
            self._optim_before = {name: dict(state) for name, state in self._optim.items()}
        return self._optim

    @optim.setter
    def optim(self, value: dict[str, Tensors]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        assert not value  # the optimizers hold it, so it cannot be set

    def once(self, what: str, make: Callable[[], _Held]) -> _Held:
        """Remembered until the user changes the network."""
        if what not in self._user.made_once:
            self._user.made_once[what] = make()
        return self._user.made_once[what]

    def layers(self) -> Iterator[tuple[int, UnitLayer]]:
        """The unit layers of which nothing is frozen now, each with its place in the network."""
        return ((place, layer) for place, layer in super().layers() if layer.name not in self._user.resting)

    def parameters(self, norms: bool = True) -> list[str]:
        """Names of the network's parameters that are not frozen now."""
        return [name for name in super().parameters(norms) if name not in self._user.frozen]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a whole parameter."""
        part = self._user.parts.get(name)
        return super().shape(name) if part is None else part.shape

    def part(self, name: str, value: Tensor) -> Tensor:
        """The part of a parameter that is here."""
        part = self._user.parts.get(name)
        return value if part is None else part.of(value, self.tensors[name])

    def gradient_of(self, function: Callable[..., Tensor], *given: Tensors) -> tuple[Tensors, ...]:
        """The gradient by ordinary differentiation, as the user's own loss has it: any code may be in the network."""
        with torch.enable_grad():
            leaves = [{name: value.detach().requires_grad_() for name, value in tensors.items()} for tensors in given]
            value = function(*leaves)
        flat = [leaf for tensors in leaves for leaf in tensors.values()]
        found = (
            torch.autograd.grad(value, flat, materialize_grads=True)
            if value.requires_grad
            else map(torch.zeros_like, flat)
        )
        grads = iter(found)
        return tuple({name: next(grads) for name in tensors} for tensors in leaves)

    def magnitudes(self, which: Literal["incoming", "outgoing"]) -> Tensors:
        """Sums of |w|; over all shards where parameters are sharded."""
        if not self._user.parts:
            return super().magnitudes(which)
        found, sums = self.network.layers, []
        for layer in found:
            dtype = torch.promote_types(self.tensors[layer.incoming[0].name].dtype, torch.float32)
            slices = layer.incoming if which == "incoming" else layer.outgoing
            sums.append(torch.stack([self._magnitude_here(part, dtype) for part in slices]).sum(0))
        added = self._user.processes.add_up_shards(sums)
        return {layer.name: value for layer, value in zip(found, added, strict=True)}

    def _magnitude_here(self, slices: Slices, dtype: torch.dtype) -> Tensor:
        size, part = self.tensors[slices.name].to(dtype).abs(), self._user.parts.get(slices.name)
        if part is None:
            return slices.total(size if self._user.processes.holds_copies() else torch.zeros_like(size))
        if slices.groups > 1:
            return slices.total(_laid_into(size.new_zeros(part.shape), size, part.start))
        others = [dim for dim in range(size.dim()) if dim != slices.dim]
        along = size.sum(others) if others else size
        along = _laid_into(along.new_zeros(part.shape[slices.dim]), along, part.start[slices.dim :][:1])
        return self._user.along(slices).total(along)

    def surely_none(self, mask: Tensor) -> bool:
        """On a CPU the mask lies in the host's own memory."""
        return _seen_by_host(mask) and not mask.any()

    def make_new(
        self, layer: UnitLayer, chosen: Tensor, key: Tensor, shared_draw: bool = False, at_most: int | None = None
    ) -> None:
        """Make units new in place; nothing else is touched. A layer of which something is frozen stays as it is."""
        if layer.name in self._user.resting:
            return
        if self._skipped is not None:
            chosen = chosen & ~self._skipped
        if _seen_by_host(chosen):
            count = int(chosen.sum())
            if not count:
                return
            at_most = count if at_most is None else min(at_most, count)
        names = {slices.name for slices in slices_of(layer)}
        self._write_back(names)
        optim = {}
        for name in names & self._user.parameters.keys():
            state = self._user.state(name)
            self._user.fresh_state.check(name, state)
            optim[name] = {key: local(v) for key, v in state.items() if isinstance(v, Tensor)}
        make_new_in_place(
            layer,
            self.network,
            self._own,
            optim,
            chosen,
            key,
            shared_draw=shared_draw,
            newborn=self.newborn,
            at_most=at_most,
            parts=self._user.parts,
        )
        since = self.since[layer.name]
        self.since[layer.name] = torch.where(chosen, torch.zeros_like(since), since)
        before, count = self.made.get(layer.name, (torch.zeros_like(chosen), 0))
        self.made[layer.name] = before | chosen, count + (layer.size if at_most is None else at_most)

    def make_state_new(self, name: str, new: Tensor) -> None:
        """Let the optimizer's state begin anew for weights that were made new."""
        self._user.fresh_state.check(name, self._user.state(name))
        super().make_state_new(name, new)

    def finish(self) -> None:
        """Put into the network and its optimizers what the rules replaced, and leave everything else untouched."""
        self._write_back(self.tensors)
        for layer, new in self.since.items():
            old = self._since[layer]
            if new is not old:
                self.since[layer] = self._unless_skipped(old, new)
                if layer not in self.made:  # by a reset of whole layers
                    self.made[layer] = self.since[layer] == 0, len(new)

    def _unless_skipped(self, old: Tensor, new: Tensor) -> Tensor:
        return new if self._skipped is None else torch.where(self._skipped, old, new)

    def _write_back(self, names: Iterable[str]) -> None:
        own, tensors, frozen = self._own, self.tensors, self._user.frozen
        changed = [name for name in names if name in own and tensors[name] is not own[name]]
        tensors.update({name: own[name] for name in frozen.intersection(changed)})
        changed = [name for name in changed if name not in frozen]
        if changed:
            olds = [own[name] for name in changed]
            news = [self._unless_skipped(own[name], tensors[name]) for name in changed]
            torch._foreach_copy_(olds, news)  # pyright: ignore[reportPrivateImportUsage]
            tensors.update(zip(changed, olds, strict=True))
        for name in names if self._optim else ():
            if name in own and name not in frozen:
                for key, new in self.optim.get(name, {}).items():
                    old = self._optim_before[name][key]
                    if new is not old:
                        self._write_state(name, key, old, self._unless_skipped(old, new))

    def _write_state(self, name: str, key: str, old: Tensor, new: Tensor) -> None:
        state = next(own for own in self._user.states(name) if key in own)
        if isinstance(state[key], Tensor):
            old.copy_(new)
            self.optim[name][key] = old
        else:  # a count of steps, a plain number
            state[key] = type(state[key])(new)
            self.optim[name][key] = self._optim_before[name][key] = new


def _there(reference: Callable[[], _Held | None]) -> _Held:
    held = reference()
    if held is None:
        raise SettingError(
            "The optimizer that methods were attached to is gone; keep it as long as the handle, or attach again."
        )
    return held


def _seen_by_host(tensor: Tensor) -> bool:
    """Whether the host can look at it without asking a device, nor a trace, which has no values."""
    return tensor.device.type == "cpu" and eager()


def _same_group(
    now: tuple[torch.optim.Optimizer, dict[str, Any]], before: tuple[Any, dict[str, Any], list[Any]]
) -> bool:
    """Whether it is the same group of the same optimizer, with the same parameters."""
    optimizer, group = now
    held, kept, parameters = before
    own = group["params"]
    return held() is optimizer and group is kept and len(own) == len(parameters) and all(map(is_, own, parameters))


def _step_size(group: Mapping[str, Any]) -> float | Tensor:
    given = group.get("lr")  # some choose it themselves (A2Grad, Adafactor)
    return 1.0 if given is None else given


def _laid_into(whole: Tensor, here: Tensor, start: Sequence[int]) -> Tensor:
    """`whole`, with what is here written into it from `start` on."""
    place = whole
    for dim, first in enumerate(start):
        place = place.narrow(dim, first, here.shape[dim])
    place.copy_(here)
    return whole


def trained_part(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], network: Network) -> Network:
    """The network without the layers and parameters that the optimizers do not train.

    Raises:
        SettingError: they train none of them.
    """
    trained, all_names = trained_names(model, optimizers), dict(model.named_parameters())
    if not trained:
        raise SettingError(
            f"attach: the optimizer trains none of the parameters of {type(model).__name__}; give the one that was "
            "made with model.parameters()."
        )
    layers, skipped = [], dict(network.skipped)
    for layer in network.layers:
        others = [s.name for s in slices_of(layer) if s.name in all_names and s.name not in trained]
        if others:
            skipped[layer.name] = f"{others[0]} is not trained by this optimizer"
        else:
            layers.append(layer)
    initialisers = {name: drawn for name, drawn in network.initialisers.items() if name in trained}
    return dataclasses.replace(network, layers=tuple(layers), initialisers=initialisers, skipped=skipped)
