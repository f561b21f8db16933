"""Attach methods to a user's network: they ride on the optimizer's step, and the training loop stays as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neoteny.errors import CheckpointError, NetworkError, SettingError
from neoteny.methods.base import Method, Schedule, method_seed
from neoteny.methods.bias_correction import AdamCorrection
from neoteny.methods.bridge import Bridge, View, trained_part
from neoteny.methods.watch import TrainingFeatures
from neoteny.units import find, random
from neoteny.units.maps import unwrapped
from neoteny.units.records import Network

__all__ = ["Plasticity", "PlasticityWarning", "attach"]

_VERSION = 1


class PlasticityWarning(UserWarning):
    """An attached method can never do anything, or does not see what it needs."""


def attach(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    methods: Method | Iterable[Method],
    example_inputs: Any = None,
    *,
    seed: int = 0,
    network: Network | None = None,
) -> Plasticity:
    """Keep a network able to learn: let methods act at every step of its optimizer.

    Regularisers add to the gradients before the step (and take back what they added after it), resets and perturbations
    act after it; closures, schedulers, gradient accumulation and loss scaling work as without. Only parameters that
    this optimizer trains are touched.

    Args:
        model: the network, compiled or wrapped for data parallelism or not. Under `DistributedDataParallel`, the first
            process decides on replacements and sends them to the others.
        optimizer: any `torch.optim` optimizer over its parameters. Where units are reset, those of its state tensors
            that have the parameter's shape are, too; Adam's and AdamW's bias correction starts anew for them.
        methods: one method or several, which act in this order.
        example_inputs: a batch as the network takes it: a tensor, a tuple of arguments or a dict of named ones.
        seed: what everything that is drawn follows from.
        network: the units of the unwrapped network, from `neoteny.units.find`, where they were found already.

    Returns:
        The handle: `state_dict`, `load_state_dict`, `new_task`, `counters`, `detach`.

    Raises:
        NetworkError: the network has no hidden units, and a method needs some.
        SettingError: what is attached is no method, or the optimizer does not train this network.

    Warns:
        PlasticityWarning: by its settings a method can never do anything; later, once: at a step, no activations were
            seen.

    >>> import neoteny
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> cbp = neoteny.ContinualBackprop(replacement_rate=0.1, maturity_threshold=5)
    >>> plasticity = neoteny.attach(model, optimizer, [cbp], example_inputs=torch.zeros(1, 3))
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     model(torch.ones(4, 3)).sum().backward()
    ...     optimizer.step()
    >>> plasticity.counters()["cbp"]["0"]
    {'units_replaced': 3, 'mature_share': 0.625}
    """
    chosen = [methods] if isinstance(methods, Method) else list(methods)
    for method in chosen:
        if not isinstance(method, Method):
            raise SettingError(
                f"attach: {method!r} is not a method; give instances such as neoteny.ContinualBackprop(), alone or in "
                "a list."
            )
    inner, _ = unwrapped(model)
    if network is None:
        if example_inputs is None:
            raise SettingError(
                "attach: example_inputs is missing, from which the network's units are found; give a batch as the "
                "network takes it."
            )
        network = find(inner, example_inputs, allow_none=True)
    network = trained_part(inner, optimizer, network)
    blind = [type(method).__name__ for method in chosen if method.observes and not network.layers]
    if blind:
        why = "; ".join(f"{name!r}: {reason}" for name, reason in network.skipped.items())
        raise NetworkError(
            f"{type(inner).__name__} has no hidden units that this optimizer trains{f' ({why})' if why else ''}, so "
            f"{', '.join(blind)} could never act; give a network with a hidden nn.Linear or convolution, or leave the "
            "method out."
        )
    plasticity = Plasticity(model, optimizer, chosen, network, seed)
    idle = [f"{name}: {reason}" for name, method in plasticity.methods.items() if (reason := method.inert())]
    if idle:
        warnings.warn(f"Nothing will ever happen: {'; '.join(idle)}.", PlasticityWarning, stacklevel=2)
    return plasticity


class Plasticity:
    """Methods attached to a network and its optimizer; made by `neoteny.attach`.

    Attributes:
        network: the unit layers that methods act on.
        methods: by name.
        updates: optimizer steps since attaching.
        tasks: calls of `new_task`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        methods: Iterable[Method],
        network: Network,
        seed: int,
    ):
        self.network, self.seed = network, seed
        self.methods = _named(methods)
        self.updates = self.tasks = 0
        self._group: Any = getattr(model, "process_group", None)  # of DistributedDataParallel
        inner, _ = unwrapped(model)
        self._bridge = Bridge(inner, optimizer, network)
        self._adam = AdamCorrection(optimizer, network, self._bridge.parameters)
        tensors = self._bridge.tensors()
        self._device = next(iter(tensors.values())).device
        self._key = random.key(method_seed(seed), self._device)
        self._state = {name: method.init(network, tensors) for name, method in self.methods.items()}
        self._clocks: dict[str, Schedule | None] = {
            name: method.schedule(network, seed) for name, method in self.methods.items()
        }
        # Moments may be older than this attachment: then so are all units.
        age = max((int(state["step"]) for state in optimizer.state.values() if "step" in state), default=0)
        self._since = {
            layer.name: torch.full((layer.size,), age, dtype=torch.int32, device=tensors[layer.incoming[0].name].device)
            for layer in network.layers
        }
        self._added: list[tuple[nn.Parameter, Tensor, Tensor]] = []  # gradients to give back: parameter, own, ours
        watching = any(method.observes for method in self.methods.values())
        self._features = TrainingFeatures(inner, network) if watching else None
        self._blind = False
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    # What the user calls

    def new_task(self) -> None:
        """Say that the task changes: the methods that act at task boundaries do so now, before the next step."""
        with torch.no_grad():
            view = self._bridge.view({}, {}, self._since, self._key)
            key = random.fold_in(random.fold_in(self._key, self.updates), -1)
            for number, (name, method) in enumerate(self.methods.items()):
                view.step.key = random.fold_in(key, number)
                self._state[name] = method.at_task(view.step, self._state[name])
            self._finish(view)
        self.tasks += 1

    def counters(self) -> dict[str, Any]:
        """What the methods did so far: the updates and tasks seen, and for each method by layer the units replaced.

        Where there is a maturity threshold also the share of units that is past it; if that stays 0, the threshold,
        which counts updates, is never reached.
        """
        told: dict[str, Any] = {"updates": self.updates, "tasks": self.tasks}
        for name in self.methods:
            shares = getattr(self._clocks[name], "mature_share", None)
            told[name] = {}
            for number, layer in enumerate(self.network.layers):
                replaced = self._state[name].get(f"{layer.name}/replaced")
                if replaced is not None:
                    told[name][layer.name] = {"units_replaced": int(replaced)}
                    if shares is not None:
                        told[name][layer.name]["mature_share"] = shares[number]
        return told

    def detach(self) -> None:
        """Take all hooks off; the network and its optimizer stay as they are."""
        for handle in self._handles:
            handle.remove()
        if self._features is not None:
            self._features.remove()

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint needs beside the model's and the optimizer's: plain containers, numbers and tensors.

        Take it between optimizer steps. Names carry no trace of `torch.compile` or data parallelism.
        """
        return {
            "version": _VERSION,
            "seed": self.seed,
            "updates": self.updates,
            "tasks": self.tasks,
            "layers": {_plain(layer.name): layer.size for layer in self.network.layers},
            "since": {_plain(name): value.clone() for name, value in self._since.items()},
            "young": {_plain(name): value for name, value in self._adam.young.items()},
            "methods": {
                name: {
                    "settings": method.settings(),
                    "state": {_plain(key): value.clone() for key, value in self._state[name].items()},
                    "schedule": None if (clock := self._clocks[name]) is None else clock.state_dict(),
                }
                for name, method in self.methods.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken, on the same network with the same methods.

        Raises:
            CheckpointError: it belongs to other methods, settings or layers, or another version; nothing was changed.
        """
        self._check(state)
        self.seed, self.updates, self.tasks = state["seed"], state["updates"], state["tasks"]
        self._key = random.key(method_seed(self.seed), self._device)
        for name, old in self._since.items():
            self._since[name] = state["since"][_plain(name)].to(old.device, copy=True)
            self._adam.young[name] = state["young"][_plain(name)]
        for name, values in self._state.items():
            saved = state["methods"][name]
            self._state[name] = {
                key: saved["state"][_plain(key)].to(old.device, copy=True) for key, old in values.items()
            }
            clock = self._clocks[name]
            if clock is not None:
                clock.load_state_dict(saved["schedule"])

    def _check(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != _VERSION:
            raise CheckpointError(
                f"The checkpoint has version {state.get('version')!r}, this neoteny reads version {_VERSION}; give the "
                "state_dict of a Plasticity, saved by this neoteny."
            )
        if list(state["methods"]) != list(self.methods):
            raise CheckpointError(
                f"The checkpoint is of the methods {list(state['methods'])}, attached are {list(self.methods)}; attach "
                "the methods it was saved with."
            )
        layers = {_plain(layer.name): layer.size for layer in self.network.layers}
        if state["layers"] != layers:
            raise CheckpointError(
                f"The checkpoint is of the unit layers {state['layers']}, this network has {layers}; attach to the "
                "network it was saved with."
            )
        for name, method in self.methods.items():
            saved, now = state["methods"][name]["settings"], method.settings()
            other = sorted(key for key in {*saved, *now} if saved.get(key) != now.get(key))
            if other:
                was, is_now = ({key: settings.get(key) for key in other} for settings in (saved, now))
                raise CheckpointError(
                    f"The checkpoint's {name} has {was}, the attached one {is_now}; attach it with the settings it was "
                    "saved with."
                )

    # What the optimizer calls

    def _before(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Before a step: regularise the gradients, or see to it that the closure does once it has made them."""
        if all(type(method).regularise is Method.regularise for method in self.methods.values()):
            return None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._regularise()
            return None
        if len(args) > 1:
            return (args[0], self._regularising(closure), *args[2:]), kwargs
        return args, {**kwargs, "closure": self._regularising(closure)}

    def _regularising(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def regularising() -> Any:
            self._give_gradients_back()
            loss = closure()
            self._regularise()
            return loss

        return regularising

    @torch.no_grad()
    def _regularise(self) -> None:
        scale = getattr(self._bridge.optimizer, "grad_scale", None)  # GradScaler: the optimizer's kernel divides by it
        own = self._bridge.grads()
        grads = own if scale is None else {name: grad / scale for name, grad in own.items()}
        step = self._bridge.view(dict(grads), {}, self._since, self._key).step
        key = random.fold_in(self._key, self.updates)
        for number, (name, method) in enumerate(self.methods.items()):
            if type(method).regularise is not Method.regularise:
                step.key = random.fold_in(key, 2 * number)
                self._state[name] = method.regularise(step, self._state[name])
        for name, grad in step.grads.items():
            if grad is not grads[name]:
                parameter = self._bridge.parameters[name]
                ours = grad if scale is None else grad * scale
                parameter.grad = ours
                self._added.append((parameter, own[name], ours))

    def _give_gradients_back(self) -> None:
        for parameter, own, ours in self._added:
            if parameter.grad is ours:
                parameter.grad = own
        self._added.clear()

    @torch.no_grad()
    def _after(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """After a step: set Adam's bias correction right, then let the methods act."""
        self._give_gradients_back()
        features = self._features.take() if self._features is not None else {}
        overflow = getattr(optimizer, "found_inf", None)  # GradScaler: the kernel left everything as it was
        if overflow is not None and bool(overflow):
            return
        if self._features is not None and not features and not self._blind:
            self._blind = True
            warnings.warn(
                "The optimizer stepped, but no activations were seen since its last step, so units cannot be judged. "
                "Is the network in evaluation mode, or was it compiled and run before attaching?",
                PlasticityWarning,
                stacklevel=4,  # the line that calls step()
            )
        self._since = {name: since + 1 for name, since in self._since.items()}
        self._adam.correct(self._since, self._bridge.groups())
        acting = []
        for number, (name, method) in enumerate(self.methods.items()):
            clock = self._clocks[name]
            row = None if clock is None else clock.take(1)[0]
            due = torch.from_numpy(row).to(self._device) if row is not None and row.any() else None
            if due is not None or method.acts_always:
                acting.append((number, name, method, due))
        if acting:
            view = self._bridge.view(self._bridge.grads(), features, self._since, self._key)
            key = None
            for number, name, method, due in acting:
                if self._clocks[name] is None or due is not None:  # otherwise nothing is drawn
                    key = random.fold_in(self._key, self.updates) if key is None else key
                    view.step.key = random.fold_in(key, 2 * number + 1)
                self._state[name] = method.intervene(view.step, self._state[name], due)
                if due is not None and self._group is not None:
                    self._agree(view, name)
            self._finish(view)
        self.updates += 1

    def _finish(self, view: View) -> None:
        self._bridge.write_back(view)
        self._adam.restart(view.reset_layers())
        self._since = view.step.since

    def _agree(self, view: View, name: str) -> None:
        """Take over what the first process decided: each has seen other examples, so each would choose other units."""
        source = torch.distributed.get_global_rank(self._group, 0)

        def shared(tensor: Tensor) -> Tensor:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
            torch.distributed.broadcast(tensor, source, group=self._group)
            return tensor

        view.map_changed(shared)
        self._state[name] = {key: shared(value) for key, value in self._state[name].items()}


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


def _plain(name: str) -> str:
    return name.replace("._orig_mod", "").replace("_orig_mod.", "")
