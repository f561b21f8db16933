"""The handle that `neoteny.attach` returns: the optimizer's hooks call it at every step, and the user in between."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from neoteny.attachment.activations import TrainingActivations
from neoteny.attachment.bias_correction import AdamCorrection
from neoteny.attachment.changes import Snapshot, carried_over, refuse_unknown, trained_names
from neoteny.attachment.clock import Clock
from neoteny.attachment.distributed import Processes
from neoteny.attachment.fused_silences import FusedSilences
from neoteny.attachment.fused_utilities import FusedUtilities
from neoteny.attachment.newborn_trial import warn_of_first_steps
from neoteny.attachment.steps import Steps
from neoteny.attachment.summary import as_table, as_text
from neoteny.attachment.user_network import UserNetwork
from neoteny.attachment.user_step import UserStep
from neoteny.attachment.wrappers import saving
from neoteny.errors import PlasticityWarning, SettingError, UnknownNameError
from neoteny.methods.base import Method, Tensors
from neoteny.methods.shared import order
from neoteny.methods.shared.boundary import BoundaryReset
from neoteny.methods.shared.reference import ReferencePass
from neoteny.units import random
from neoteny.units.inference import infer_initialisers
from neoteny.units.maps import unwrapped
from neoteny.units.records import Network
from neoteny.units.reset import slices_of

_KEY = "plasticity"
_KEYS: weakref.WeakKeyDictionary[torch.optim.Optimizer, set[str]] = weakref.WeakKeyDictionary()  # taken in its state
_MARK = "plasticity_saved"  # in the first parameter group of a saved state
_Hidden = TypeVar("_Hidden")


class _CopyError(SettingError, AttributeError):
    pass


class _Copy:
    """What copies and pickles hold in place of a handle: it is attached to nothing."""

    def __getattr__(self, name: str) -> Any:
        raise _CopyError(
            f"{name}: this is a copy of what neoteny.attach returned, and attached to nothing; attach to the copied "
            "model and optimizer, and give it the original's state_dict()."
        )


class Plasticity(Steps):
    """Methods attached to a network and its optimizers; made by `neoteny.attach`.

    A copy or a pickle of it is attached to nothing, and says so.

    Attributes:
        units: the unit layers that methods act on.
        methods: by name.
        updates: optimizer steps since attaching.
        tasks: calls of `new_task`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        methods: Iterable[Method],
        units: Network,
        seed: int,
        state_in_optimizer: bool = True,
        reference: Any = None,
    ):
        self.units, self.seed = units, seed
        self.methods = _named(methods)
        self.updates = self.tasks = 0
        inner, _ = unwrapped(model)
        processes = Processes(model, inner.parameters())
        self._network = UserNetwork(inner, optimizers, units, processes)
        optimizers = self._network.optimizers
        self._snapshot, self._trained = Snapshot(inner, optimizers), trained_names(inner, optimizers)
        self._reference_pass, self._reference = None, reference
        if reference is not None:
            if processes.several:
                needing = [name for name, method in self.methods.items() if method.needs_reference]
                raise SettingError(
                    f"{', '.join(needing)} needs a reference batch that all processes share, and there are several; "
                    "train in one process, or leave it out."
                )
            self._reference_pass = ReferencePass(inner, units, keeps=True)
        self._adam = AdamCorrection(self._network)
        tensors = self._network.tensors()
        self._device = next(iter(tensors.values())).device
        self._key = random.key(order.method_seed(seed), self._device)
        self._state = {name: method.init(units, tensors) for name, method in self.methods.items()}
        schedules = {name: method.schedule(units, seed) for name, method in self.methods.items()}
        self._clocks = {name: None if own is None else Clock(own) for name, own in schedules.items()}
        age = max(_updates(optimizer.state, optimizer.param_groups) for optimizer in optimizers)
        self._ages, self._behind = dict[str, Tensor](), 0
        self._count_on(
            {
                layer.name: torch.full((layer.size,), age, dtype=torch.int32, device=like.device)
                for layer in units.layers
                for like in [tensors[layer.incoming[0].name]]
            }
        )
        self._names, listed = list(self.methods), list(self.methods.values())
        self._turns = order.intervene(listed)
        self._plan = [
            (
                turn,
                self._clocks[self._names[turn.number]],
                FusedUtilities.of(turn.method, self._network) or FusedSilences.of(turn.method, self._network),
            )
            for turn in self._turns
            if turn.method.acts_always or self._clocks[self._names[turn.number]] is not None
        ]
        self._regularisers = [
            turn for turn in order.regularise(listed) if type(turn.method).regularise is not Method.regularise
        ]
        self._read_gradients = any(method.reads_gradients for method in listed)
        self._added: list[tuple[nn.Parameter, Tensor, Tensor]] = []  # gradients to give back: parameter, own, ours
        self._made: dict[str, Tensor] = {}
        resets = any(method.resets_units for method in self.methods.values())
        self._guessed = {slices.name for layer in units.layers for slices in layer.incoming} if resets else set[str]()
        self._errors = {}
        self._stepped: dict[torch.optim.Optimizer, int] = {}  # how often each since the methods last acted
        self._dropped: dict[str, Tensor] = {}  # gradients of steps within the backward pass
        wanted = frozenset[str]().union(*(method.observes for method in self.methods.values()))
        self._watch = TrainingActivations(inner, units, wanted, processes) if wanted else None
        self._blind = self._waited = self._rests = False
        watching = [name for name, method in self.methods.items() if method.observes]
        always = processes.several or any(self.methods[name].acts_always for name in watching)
        self._waiting = [] if always else [clock for name in watching if (clock := self._clocks[name]) is not None]
        self._rest()
        self._uncompiled = torch.compiler.disable(_called)  # here, as it imports what only an optimizer needs
        self._handles = [
            handle
            for optimizer in optimizers
            for handle in (
                optimizer.register_step_pre_hook(self._before),
                optimizer.register_step_post_hook(self._after),
            )
        ]
        if self._watch is not None:  # what is attached lives as long as its optimizer
            weakref.finalize(optimizers[-1], self._watch.remove).atexit = False
        self._lost = any([unmark(one.param_groups) for one in map(saving, optimizers)])
        self._place = ""
        outer = [saving(self._network.outer(one)) for one in optimizers]
        keeping = outer[-1]
        self._saving = weakref.ref(keeping)  # its hooks hold this
        if state_in_optimizer:
            taken = _KEYS.setdefault(keeping, set())
            names = (f"{_KEY}-{number}" for number in itertools.count(2))
            self._place = next(name for name in itertools.chain([_KEY], names) if name not in taken)
            self._handles += [
                keeping.register_state_dict_post_hook(self._save),
                keeping.register_load_state_dict_pre_hook(self._restore),
            ]
            taken.add(self._place)
        self._handles += [one.register_load_state_dict_pre_hook(self._grow_old) for one in outer]

    @staticmethod
    def on(optimizer: torch.optim.Optimizer) -> list[Plasticity]:
        """The handles whose methods act after an optimizer's steps."""
        held = [getattr(hook, "__self__", None) for hook in optimizer._optimizer_step_post_hooks.values()]
        return [one for one in held if isinstance(one, Plasticity)]

    def acts_on(self, model: nn.Module) -> bool:
        """Whether its methods change this network, given without wrappers."""
        return self._network.model is model

    # What the user calls

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_table(self)

    def new_task(self) -> None:
        """Say that the task changes: methods that act at task boundaries act now, before the next step."""
        self._follow()
        with torch.no_grad():
            step = UserStep(self._network, {}, {}, lambda: self._since, self._key)
            for number, method, folded in order.at_task(list(self.methods.values())):
                name = self._names[number]
                step.fold(self._key, self.updates, *folded)
                self._state[name] = method.at_task(step, self._state[name])
            self._finish(step)
        self.tasks += 1

    def made_new(self, layer: str) -> Tensor:
        """Which units of a layer were made new at the last step or task boundary, bool `[n]`.

        Raises:
            UnknownNameError: there is no such unit layer.
        """
        if layer not in self._since:
            raise UnknownNameError(layer, self._since, "unit layer")
        made = self._made.get(layer)
        return torch.zeros_like(self._since[layer], dtype=torch.bool) if made is None else made

    def forget(self, hidden: _Hidden, layer: str) -> _Hidden:
        """A recurrent layer's hidden state with 0 for the units that were just made new.

        Args:
            hidden: a tensor `[..., n]`, or a tuple of such, as an LSTM has it.
            layer: the unit layer.

        Raises:
            UnknownNameError: there is no such unit layer.
        """
        made = self.made_new(layer)
        return tree_map_only(Tensor, lambda value: value.masked_fill(made.to(value.device), 0.0), hidden)

    def counters(self) -> dict[str, Any]:
        """What the methods have done so far: updates and tasks, and for each method by layer the units replaced.

        With a maturity threshold also the share of units that are past it. If that stays 0, the threshold, which is a
        number of updates, is never reached.
        """
        told: dict[str, Any] = {"updates": self.updates, "tasks": self.tasks}
        for name in self.methods:
            clock = self._clocks[name]
            shares = None if clock is None else getattr(clock.schedule, "mature_share", None)
            told[name] = {}
            for number, layer in enumerate(self.units.layers):
                replaced = self._state[name].get(f"{layer.name}/replaced")
                if replaced is not None:
                    told[name][layer.name] = {"units_replaced": int(replaced)}
                    if shares is not None:
                        told[name][layer.name]["mature_share"] = shares[number]
        return told

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """A context in which the network has the weights to evaluate: a moving average, if a method keeps one.

        Do not train inside it. Afterwards the trained weights are back, also after an error.
        """
        tensors = self._network.tensors()
        chosen = dict(tensors)
        for number, method, _ in self._turns:
            chosen = method.evaluated(chosen, self._state[self._names[number]])
        other = {name: value for name, value in chosen.items() if value is not tensors[name]}
        kept = {name: tensors[name].clone() for name in other}
        try:
            with torch.no_grad():
                for name, value in other.items():
                    tensors[name].copy_(value)
            yield
        finally:
            with torch.no_grad():
                for name, value in kept.items():
                    tensors[name].copy_(value)

    def warn_of_state(self, stacklevel: int = 2) -> None:
        """Warn of optimizer state that cannot be made new with its units, where methods make units new."""
        resets = [method for method in self.methods.values() if method.resets_units]
        names = {slices.name for layer in self.units.layers for slices in slices_of(layer)}
        if resets:
            self._network.fresh_state.foresee(sorted(names), stacklevel + 1)
        if any(method.needs_units for method in resets):
            warn_of_first_steps(self._network, names, stacklevel=stacklevel + 1)
        whole = [method for method in self.methods.values() if isinstance(method, BoundaryReset)]
        if any(not getattr(method, "keep_momentum", False) for method in whole):
            warn_of_first_steps(self._network, self.units.initialisers, whole=True, stacklevel=stacklevel + 1)

    def detach(self) -> None:
        """Take all hooks off; the network and its optimizers stay as they are."""
        for handle in self._handles:
            handle.remove()
        if (keeping := self._saving()) is not None:
            _KEYS.get(keeping, set()).discard(self._place)
        if self._watch is not None:
            self._watch.remove()

    def __reduce__(self) -> Any:
        return _Copy, ()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken, on the same network with the same methods; older versions' states do as well.

        Raises:
            CheckpointError: it belongs to other methods, settings or layers, or a later version; nothing was changed.
        """
        super().load_state_dict(state)
        self._lost = False
        self._rest()
        self._key = random.key(order.method_seed(self.seed), self._device)
        self._network.network = self.units
        self._network.made_once.clear()

    # What the optimizer calls

    def _follow(self) -> None:
        """See whether the user has changed the network since the last step, and follow."""
        if not self._snapshot.same():
            self._follow_changes()

    @torch.no_grad()
    def _follow_changes(self) -> None:
        network, before = self._network, self._snapshot
        model, optimizers = network.model, network.optimizers
        if before.same_network():
            network.look_at_frozen()
        else:
            changed = set(refuse_unknown(before, model, optimizers, self.units))
            if changed:
                drawn = infer_initialisers(model, {})[0]
                known = {name: drawn[name] if name in changed else own for name, own in self.units.initialisers.items()}
                self.units = network.network = replace(self.units, initialisers=known)
            network.bind()
            if self._watch is not None:
                self._watch.bind(model)
            if self._reference_pass is not None:
                self._reference_pass = ReferencePass(model, self.units, keeps=True)
            self._move(network.tensors(), changed)
        self._snapshot, trained = Snapshot(model, optimizers), trained_names(model, optimizers)
        late = sorted(trained - self._trained)
        self._trained |= trained
        if late:
            warnings.warn(
                f"{late[0]}{f' and {len(late) - 1} others' if len(late) > 1 else ''}: trained now, but frozen or not "
                "in the optimizer when methods were attached, so they leave it alone; to take it in, call "
                "plasticity.detach() and attach again.",
                PlasticityWarning,
                stacklevel=6,  # the line that calls step()
            )

    def _move(self, tensors: Tensors, changed: set[str]) -> None:
        """Bring what methods keep to where the network's tensors are now."""
        self._device = next(iter(tensors.values())).device
        self._key = self._key.to(self._device)
        for name, method in self.methods.items():
            self._state[name] = carried_over(self._state[name], method.init(self.units, tensors), changed)
        devices = {layer.name: tensors[layer.incoming[0].name].device for layer in self.units.layers}
        self._count_on({name: since.to(devices[name]) for name, since in self._since.items()})

    def _count_on(self, since: Tensors) -> None:
        """Count updates from here for all units, by layer: in one tensor on each device."""
        self._counts = []
        for device in {value.device for value in since.values()}:
            own = {name: value for name, value in since.items() if value.device == device}
            self._counts.append(torch.cat(list(own.values())))
            parts = self._counts[-1].split([len(value) for value in own.values()])
            self._ages.update(zip(own, parts, strict=True))

    def _save(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        state[self._place] = self.state_dict()
        first, *others = state["param_groups"]
        state["param_groups"] = [{**first, _MARK: True}, *others]

    def _grow_old(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Before the first step: take all units for as old as the moments that are being loaded."""
        if not self.updates:
            age = _updates(state["state"], state["param_groups"])
            for since in self._since.values():
                since.clamp_min_(age)

    def _restore(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        state["param_groups"] = [dict(group) for group in state["param_groups"]]
        unmark(state["param_groups"])
        if self._place in state:
            self.load_state_dict(state[self._place])
        else:
            warnings.warn(
                "The optimizer's state holds no state of the attached methods, which stay as they are; give "
                "Plasticity.load_state_dict what Plasticity.state_dict() was when it was saved.",
                PlasticityWarning,
                stacklevel=4,  # the line that calls load_state_dict()
            )


def _updates(state: Mapping[Any, Any], groups: Iterable[Mapping[str, Any]]) -> int:
    """How many updates there are in an optimizer's moments, which may be older than an attachment."""
    counted = [own for own in (*state.values(), *groups) if isinstance(own, Mapping)]
    return max((int(own["step"]) for own in counted if own.get("step") is not None), default=0)


def unmark(groups: Iterable[dict[str, Any]]) -> bool:
    """Take the mark out of parameter groups; says whether there was one: their optimizer got the state of methods.

    PyTorch drops that state where methods are not attached yet, and keeps what lies in the groups.
    """
    return any([group.pop(_MARK, False) for group in groups])


def _called(function: Callable[..., Any], *given: Any) -> Any:
    return function(*given)


def _named(methods: Iterable[Method]) -> dict[str, Method]:
    """Methods by name; a second one of the same name gets a number."""
    named: dict[str, Method] = {}
    for method in methods:
        base = method.name or type(method).__name__
        name, number = base, 2
        while name in named:
            name, number = f"{base}-{number}", number + 1
        named[name] = method
    return named
