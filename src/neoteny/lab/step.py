"""One training step of one learner as a pure function: what every strategy maps over runs, unrolls and compiles.

The state of a run is a *carry*, a nested dict of tensors:

- `tensors`: parameters and buffers by name; `optim`: the optimizers' state by parameter and name
- `slow`: slow tensors, by their name and the name of the parameter they copy, if the objective has any
- `since`: updates since each unit was made new, by layer, if an optimizer's rule counts updates
- `methods`: the state of each method, a list; `count`: updates so far, int32
- `reference`: the last examples before the present batch, if a method needs a reference batch
- `interaction`: the state of a learner that acts, if the objective has one
- `sums`: the metrics, summed over the steps since they were last taken, float64
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from neoteny.errors import SettingError
from neoteny.lab.gradients import Gradients
from neoteny.lab.objective import Batch, Objective, Phase, Tensors
from neoteny.methods.base import Method, Step
from neoteny.methods.shared import order
from neoteny.methods.shared.redirecting import Redirecting
from neoteny.methods.shared.reference import ReferencePass
from neoteny.optim.base import Optimizer
from neoteny.optim.own_steps import FACTORS
from neoteny.optim.signals import DELTA
from neoteny.units import random
from neoteny.units.activations import Activations
from neoteny.units.counts import entry_counts
from neoteny.units.newborn import NewbornState
from neoteny.units.noise import normals
from neoteny.units.records import Network, UnitLayer

_PHASES = order.DROPOUT - 1  # folded into the update's key by the second phase; each later phase uses one less

Carry = dict[str, Any]


def _mean_change(before: Tensors, after: Tensors) -> Tensor:
    """Mean |dw| over all entries of all parameters."""
    total = sum((after[name] - value).abs().sum() for name, value in before.items())
    return torch.as_tensor(total) / sum(value.numel() for value in before.values())


def _require_one_example(batch: Batch, phase: Phase) -> None:
    """Refuse a batch of several examples where a phase gives a prediction and its error."""
    size = max((len(leaf) for leaf in tree_leaves(batch) if leaf.dim()), default=1)
    if size > 1:
        raise SettingError(
            f"a batch of {size} examples: {type(phase.optimizer).__name__} follows one prediction and its error in "
            "each step, and traces add up gradients of single examples; give one example a step (batch_size = 1)."
        )


@dataclass
class _LearnersStep(Step):
    """A step of a learner, in which some phases may not act.

    Args:
        idle: names of the parameters that they train.
    """

    idle: frozenset[str] = frozenset()

    def layers(self) -> Iterator[tuple[int, UnitLayer]]:
        """The unit layers that are being trained, each with its place in the network."""
        for place, layer in enumerate(self.network.layers):
            if layer.incoming[0].name not in self.idle:
                yield place, layer


class TrainingStep:
    """The step of one learner.

    For each phase: its gradients, what regularisers add to them, its optimizer's update. Then once: resets and
    perturbations, slow tensors, sums.

    Args:
        gradients: computes the gradients.
        network: unit layers and initialisers.
        objective: the phases and slow tensors.
        methods: attached methods; they act in the order that `neoteny.methods.shared.order` defines.
        parameters: names of the trainable parameters.
        plain: whether a hand-written kernel may do this step: all outputs take part, everything is float32, the loss is
            one of the usual ones, and `watch_updates` is off.
        watch_updates: whether to record the size of the optimizers' updates as `weight_change`: mean |dw| over all
            weights.
        reference_pass: the network as a function, if a method needs it on the examples before the present batch.
        acting: the networks in evaluation mode as a function of (tensors, *inputs, network), for an interaction.

    Raises:
        SettingError: a parameter belongs to no phase, or to two.
    """

    def __init__(
        self,
        gradients: Gradients,
        network: Network,
        objective: Objective,
        methods: Sequence[Method],
        parameters: Sequence[str],
        plain: bool = True,
        watch_updates: bool = False,
        reference_pass: ReferencePass | None = None,
        acting: Callable[..., Any] | None = None,
    ):
        self.gradients = gradients
        self.network = network
        self.objective = objective
        self.methods = tuple(methods)
        self.regularising, self.intervening = order.regularise(self.methods), order.intervene(self.methods)
        self.parameters = tuple(parameters)
        self.groups = objective.groups(self.parameters)
        self.plain = plain
        self.watch_updates, self.reference_pass, self.acting = watch_updates, reference_pass, acting
        counts = any(phase.optimizer.counts for phase in objective.phases)
        self.counting = counts and any(method.resets_units for method in methods)
        self._fed_by = {layer.name: layer.incoming[0].name for layer in network.layers}

    def init(self, tensors: Tensors, hyper: Tensors, reference: Tensor | None = None) -> Carry:
        """The carry before the first step, with this run's own settings.

        `reference` serves as the examples before it.
        """
        device = next(iter(tensors.values())).device
        one_phase = len(self.objective.phases) == 1  # each phase has a key of its own
        self.draws = tuple(
            method.draws(self.network, tensors) if one_phase or not method.draws_before else 0
            for method in self.methods
        )
        metrics = (*self.objective.metrics, *(("weight_change",) if self.watch_updates else ()))
        optim: dict[str, Tensors] = {}
        for optimizer, names in zip(self.bound(hyper)[0], self.groups, strict=True):
            optim |= optimizer.init({name: tensors[name] for name in names})
        slow = {
            own: {name: value.clone() for name, value in tensors.items() if rule.copies(name)}
            for own, rule in self.objective.slow.items()
        }
        return {
            "tensors": dict(tensors),
            "optim": {name: optim[name] for name in self.parameters},
            "since": {
                layer.name: torch.zeros(layer.size, dtype=torch.int32, device=device) for layer in self.network.layers
            }
            if self.counting
            else {},
            "methods": [dict(method.init(self.network, tensors)) for method in self.methods],
            "count": torch.zeros((), dtype=torch.int32, device=device),
            "sums": {name: torch.zeros((), dtype=torch.float64, device=device) for name in metrics},
            **({"reference": reference} if self.reference_pass is not None else {}),
            **({"slow": slow} if slow else {}),
            **self._interaction(device),
        }

    def view(
        self,
        carry: Carry,
        key: Tensor,
        optimizers: Sequence[Optimizer],
        grads: Mapping[str, Tensor],
        features: Mapping[str, Tensor],
    ) -> _LearnersStep:
        """What the methods see of the carry; its dicts are copies, so the carry itself does not change."""
        several = zip(optimizers, self.groups, strict=True) if len(optimizers) > 1 else ()
        return _LearnersStep(
            network=self.network,
            tensors=dict(carry["tensors"]),
            grads=dict(grads),
            optim={name: dict(state) for name, state in carry["optim"].items()},
            features={name: Activations(value) for name, value in features.items()},
            since=dict(carry["since"]),
            key=key,
            step_size=optimizers[0].step_size,
            step_sizes={name: optimizer.step_size for optimizer, names in several for name in names},
            newborn=self._newborn_state(optimizers),
            slow={own: dict(copies) for own, copies in carry.get("slow", {}).items()},
            on_reference=self.reference_pass.on(carry["reference"]) if self.reference_pass is not None else None,
        )

    def _newborn_state(self, optimizers: Sequence[Optimizer]) -> NewbornState:
        """The optimizer state of weights that are made new, defined by the optimizer of the phase that trains them."""
        if len(optimizers) == 1:
            return optimizers[0].newborn_state
        owners = {name: own for own, names in zip(optimizers, self.groups, strict=True) for name in names}
        return lambda parameter, state, old, weight, new: owners[parameter].newborn_state(
            parameter, state, old, weight, new
        )

    def bound(self, hyper: Tensors) -> tuple[list[Optimizer], list[Method]]:
        """The phases' optimizers and the methods with this run's own settings."""

        def own(prefix: str) -> Tensors:
            start = f"{prefix}."
            return {name.removeprefix(start): value for name, value in hyper.items() if name.startswith(start)}

        optimizers = [phase.optimizer.bind(own(phase.settings_name)) for phase in self.objective.phases]
        return optimizers, [method.bind(own(method.name)) for method in self.methods]

    def __call__(
        self,
        carry: Carry,
        hyper: Tensors,
        key: Tensor,
        batch: Batch,
        due: Sequence[Tensor | None],
        noise: Sequence[Tensor | None],
    ) -> Carry:
        """The carry after one step on a batch.

        `due` and `noise` have one entry for each method.
        """
        optimizers, methods = self.bound(hyper)
        interaction = self.objective.interaction
        if interaction is not None:
            with torch.no_grad():
                state, batch = interaction.before(self._forward(carry, hyper), carry["interaction"], batch)
            carry = {**carry, "interaction": state}
        knobs = {name.removeprefix("loss."): value for name, value in hyper.items() if name.startswith("loss.")}
        key = random.fold_in(key, carry["count"])
        step = self.view(carry, key, optimizers, {}, {})
        before = {name: step.tensors[name] for name in self.parameters}
        buffers = {name: value for name, value in step.tensors.items() if name not in before}
        slow, states = carry.get("slow", {}), list(carry["methods"])
        judged: Tensors = {name: torch.zeros_like(value) for name, value in carry["sums"].items()}
        grads: Tensors = {}
        features: dict[str, Activations] = {}
        for place, (phase, names) in enumerate(zip(self.objective.phases, self.groups, strict=True)):
            if not phase.acts(batch):
                step.idle |= set(names)
                continue
            own_key = random.fold_in(key, _PHASES - place) if place else key
            if phase.optimizer.follows == "prediction":
                _require_one_example(batch, phase)
            parameters = {name: step.tensors[name] for name in self.parameters}
            found = self.gradients(
                phase, names, parameters, buffers, slow, batch, random.fold_in(own_key, order.DROPOUT), knobs
            )
            with torch.no_grad():
                buffers = found.buffers
                step.tensors.update(buffers)
                step.grads = dict(found.grads)
                step.features = {
                    name: Activations(value.detach())
                    for name, value in found.features.items()
                    if self._fed_by[name] in found.grads or len(self.groups) == 1
                }
                delta = found.signals.get(DELTA)
                if delta is not None:  # methods see the gradient of half the squared error
                    _require_one_example(batch, phase)
                    step.grads = {name: -delta * value for name, value in found.grads.items()}
                step.loss = found.value.detach() if delta is None else delta.square() / 2
                ways = Redirecting(step.grads, {} if delta is None else found.grads, found.signals.get(FACTORS))
                for number, _, folded in self.regularising:
                    step.key = order.key_of(own_key, *folded)
                    step.noise = noise[number] if methods[number].draws_before else None
                    states[number] = ways.regularise(methods[number], step, states[number])
                optimizer, count = optimizers[place], {}
                if optimizer.counts:
                    totals = {name: step.optim[name]["step"] + 1 for name in names}
                    count = entry_counts(self.network, step.since, step.tensors, totals)
                followed = step.grads if delta is None else ways.predicted
                signals = {**found.signals, FACTORS: ways.factors} if ways.factors else found.signals
                said = optimizer.update(step.tensors, followed, step.optim, count, signals)
                if delta is not None:  # regularisers pull beside the optimizer, which would put their pull into traces
                    for name in ways.pulled(step):
                        pull = optimizer.step_size * (step.grads[name] - ways.own[name])
                        step.tensors[name] = step.tensors[name] - pull
                if found.signals and isinstance(batch, dict):
                    batch = {**found.signals, **batch}
                judged |= {phase.loss_name: found.value.detach(), **found.metrics}
                judged |= {name: (said or {})[own] for name, own in phase.optimizer_metrics.items()}
                grads |= step.grads
                features |= step.features

        with torch.no_grad():
            step.grads, step.features = grads, features
            if self.watch_updates:
                judged["weight_change"] = _mean_change(before, step.tensors)
            trained = {layer.name for _, layer in step.layers()}
            step.since = {name: value + (name in trained) for name, value in step.since.items()}
            for number, _, folded in self.intervening:
                step.key, step.noise = order.key_of(key, *folded), noise[number]
                rows, old = due[number], dict(step.tensors)
                states[number] = methods[number].intervene(step, states[number], rows)
                if slow and rows is not None and methods[number].starts_anew:
                    _start_anew(step, old, rows[0] > 0)
            count = carry["count"] + 1
            followed = {
                own: self.objective.slow[own].follow(old, step.tensors, count) for own, old in step.slow.items()
            }
            sums = {name: value + judged[name] for name, value in carry["sums"].items()}
        new = {
            "tensors": step.tensors,
            "optim": step.optim,
            "since": step.since,
            "methods": states,
            "count": count,
            "sums": sums,
            **self._seen(carry, batch),
            **({"slow": followed} if followed else {}),
        }
        if interaction is not None:
            with torch.no_grad():
                new["interaction"] = interaction.after(self._forward(new, hyper), carry["interaction"], batch)
        return new

    def begin(self, carry: Carry, hyper: Tensors, batch: Batch) -> Carry:
        """The carry once the stream has begun."""
        interaction = self.objective.interaction
        assert interaction is not None
        with torch.no_grad():
            state = interaction.begin(self._forward(carry, hyper), carry["interaction"], batch)
        return {**carry, "interaction": state}

    def _interaction(self, device: torch.device) -> dict[str, Tensors]:
        """The first state of the interaction, if there is one."""
        if self.objective.interaction is None:
            return {}
        return {"interaction": {name: value.to(device) for name, value in self.objective.interaction.init().items()}}

    def _forward(self, carry: Carry, hyper: Tensors) -> Callable[..., Any]:
        """The networks in evaluation mode, with the weights of a carry that act."""
        assert self.acting is not None
        return partial(self.acting, self.acted(carry))

    def _seen(self, carry: Carry, batch: Batch) -> Carry:
        """The last examples, including those of this step."""
        if self.reference_pass is None:
            return {}
        x, last = batch[self.objective.inputs], carry["reference"]
        return {"reference": torch.cat([last[len(x) :], x[-len(last) :]])}  # no view: graphs depend on strides

    def acted(self, carry: Carry) -> Tensors:
        """The tensors to act with while learning: those that learn, or the slow ones where the objective says so.

        Averages that methods keep are for evaluations, and change no training.
        """
        slow = self.objective.evaluated
        return carry["tensors"] if slow is None else {**carry["tensors"], **carry["slow"][slow]}

    def evaluated(self, carry: Carry, hyper: Tensors) -> Tensors:
        """The tensors to evaluate the network with."""
        _, methods = self.bound(hyper)
        tensors = self.acted(carry)
        for number, *_ in self.intervening:
            tensors = methods[number].evaluated(tensors, carry["methods"][number])
        return tensors

    def noise(self, key: Tensor, count: Tensor, length: int) -> list[Tensor]:
        """The normal numbers of the next `length` steps, `[..., length, draws]`, for each method that draws any.

        They are the numbers that `normal(step.key, ...)` gives in each step. They are drawn ahead because draws inside
        a long graph of steps multiply the time of compiling.
        """
        drawn, before = [], {turn.number: turn for turn in self.regularising}
        for number, method, folded in sorted(self.intervening, key=lambda turn: turn.number):
            if draws := self.draws[number]:
                turn = before[number].folded if method.draws_before else folded
                drawn.append(normals(key, draws, turn, count, length))
        return drawn

    def at_task(self, carry: Carry, hyper: Tensors, key: Tensor) -> Carry:
        """The carry after every method has acted on a task boundary."""
        optimizers, methods = self.bound(hyper)
        with torch.no_grad():
            step = self.view(carry, key, optimizers, {}, {})
            states = list(carry["methods"])
            for number, _, folded in order.at_task(methods):
                step.key, old = order.key_of(key, carry["count"], *folded), dict(step.tensors)
                states[number] = methods[number].at_task(step, states[number])
                if methods[number].starts_anew:
                    _start_anew(step, old, None)
        found = {**carry, "tensors": step.tensors, "optim": step.optim, "since": step.since, "methods": states}
        return {**found, "slow": step.slow} if step.slow else found


def _start_anew(step: Step, old: Tensors, when: Tensor | None) -> None:
    """Let slow copies of what a method has replaced begin as copies of it again; `when` None means for certain."""
    for copies in step.slow.values():
        for name, value in copies.items():
            new = step.tensors[name]
            if new is not old[name]:
                copies[name] = new if when is None else torch.where(when, new, value)
