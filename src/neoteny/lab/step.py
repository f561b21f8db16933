"""One training step of one network as a pure function: what every strategy maps over runs, unrolls and compiles.

The state of a run is a *carry*, a nested dict of tensors:

- `tensors`: parameters and buffers by name; `optim`: the optimizer's state by parameter and name
- `since`: updates since each unit was made new, by layer, where the optimizer's rule counts updates
- `methods`: the state of each method, a list; `count`: updates so far, int32
- `reference`: the last examples before the present batch, where a method looks at the network there
- `sums`: loss and accuracy summed over the steps since the last time they were taken, float64
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from neoteny.lab.dropout import Dropping
from neoteny.lab.losses import Loss
from neoteny.methods.base import Method, Step
from neoteny.methods.shared.combining import in_order
from neoteny.methods.shared.reference import Looking
from neoteny.optim.base import Optimizer
from neoteny.units import random
from neoteny.units.activations import Activations
from neoteny.units.counts import entry_counts
from neoteny.units.observe import Observer
from neoteny.units.records import Network

_DROPS = -2  # which key of a step is for dropout; the methods' are counted from 0, a task boundary's is -1

Tensors = dict[str, Tensor]
Carry = dict[str, Any]


class Gradients(Protocol):
    """Gradients of one batch: `(grads, outputs, loss, features, buffers)`.

    `key` is for dropout; with `classes` only the first of the outputs take part.
    """

    def __call__(
        self, parameters: Tensors, buffers: Tensors, x: Tensor, y: Tensor, key: Tensor, classes: Tensor | None = None
    ) -> tuple[Tensors, Tensor, Tensor, Tensors, Tensors]:
        """Differentiate the loss of one batch."""
        ...


def only(outputs: Tensor, classes: Tensor | None) -> Tensor:
    """The logits `[..., outputs]` of the first `classes` outputs; the others can neither be chosen nor learn.

    >>> only(torch.zeros(3), torch.tensor(2))
    tensor([0., 0., -inf])
    """
    if classes is None:
        return outputs
    return outputs.masked_fill(torch.arange(outputs.shape[-1], device=outputs.device) >= classes, -torch.inf)


def autograd(module: nn.Module, observer: Observer | None, loss: Loss, precision: str = "float32") -> Gradients:
    """Gradients by `torch.func` over the user's plain module (on the meta device, its parameters passed in)."""
    dropping, coarse = Dropping(module), precision == "bfloat16"

    def objective(
        parameters: Tensors, buffers: Tensors, x: Tensor, y: Tensor, key: Tensor, classes: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensors, Tensors]]:
        # norms move their running statistics in place, and the state before the step is not theirs to change
        buffers = {name: value.clone() for name, value in buffers.items()}
        dropping.key = key if dropping.active else None
        # without autocast's cache, which would hand tensors of one trace to another
        with torch.autocast(x.device.type, torch.bfloat16, enabled=coarse, cache_enabled=False):
            outputs = functional_call(module, {**parameters, **buffers}, (x,))
        # both are emptied inside the traced function: a wrapper tensor left in them would leak out of the trace
        dropping.key = None
        features = observer.take() if observer is not None else {}
        if coarse:
            outputs, features = outputs.float(), {name: value.float() for name, value in features.items()}
        outputs = only(outputs, classes)
        return loss(outputs, y), (outputs, features, buffers)

    def gradients(
        parameters: Tensors, buffers: Tensors, x: Tensor, y: Tensor, key: Tensor, classes: Tensor | None = None
    ) -> tuple[Tensors, Tensor, Tensor, Tensors, Tensors]:
        grads, (value, (outputs, features, buffers)) = grad_and_value(objective, has_aux=True)(
            parameters, buffers, x, y, key, classes
        )
        return grads, outputs, value, features, buffers

    return gradients


def _mean_change(before: Tensors, after: Tensors) -> Tensor:
    """Mean |dw| over all entries of all parameters."""
    total = sum((after[name] - value).abs().sum() for name, value in before.items())
    return torch.as_tensor(total) / sum(value.numel() for value in before.values())


class TrainingStep:
    """The step of one network: gradients, regularisers, the optimizer's update, resets and perturbations, sums.

    Args:
        gradients: how gradients come about.
        network: unit layers and initialisers.
        optimizer: the laboratory's optimizer.
        methods: attached methods; they act in the order that `neoteny.methods.shared.combining` defines.
        parameters: names of the trainable parameters.
        loss: what gradients are of.
        plain: whether all outputs take part and everything is float32: what a kernel written by hand may count on.
        watch_updates: whether the size of the optimizer's updates is summed too, as `weight_change`: mean |dw| over
            all weights.
        looking: the network as a function, where a method looks at it on the examples before the present batch.
    """

    def __init__(
        self,
        gradients: Gradients,
        network: Network,
        optimizer: Optimizer,
        methods: Sequence[Method],
        parameters: Sequence[str],
        loss: Loss,
        plain: bool = True,
        watch_updates: bool = False,
        looking: Looking | None = None,
    ):
        self.gradients = gradients
        self.network = network
        self.optimizer = optimizer
        self.methods = tuple(methods)
        self.order = in_order(self.methods)
        self.parameters = tuple(parameters)
        self.loss = loss
        self.plain = plain
        self.watch_updates, self.looking = watch_updates, looking
        self.counting = optimizer.counts and any(method.resets_units for method in methods)

    def init(self, tensors: Tensors, reference: Tensor | None = None) -> Carry:
        """The carry before the first step; `reference` stands for the examples before it."""
        device = next(iter(tensors.values())).device
        self.draws = tuple(method.draws(self.network, tensors) for method in self.methods)
        metrics = ("loss", *self.loss.metrics, *(("weight_change",) if self.watch_updates else ()))
        return {
            "tensors": dict(tensors),
            "optim": self.optimizer.init({name: tensors[name] for name in self.parameters}),
            "since": {
                layer.name: torch.zeros(layer.size, dtype=torch.int32, device=device) for layer in self.network.layers
            }
            if self.counting
            else {},
            "methods": [dict(method.init(self.network, tensors)) for method in self.methods],
            "count": torch.zeros((), dtype=torch.int32, device=device),
            "sums": {name: torch.zeros((), dtype=torch.float64, device=device) for name in metrics},
            **({"reference": reference} if self.looking is not None else {}),
        }

    def view(self, carry: Carry, key: Tensor, optimizer: Optimizer, grads: Tensors, features: Tensors) -> Step:
        """What the methods see of the carry; its dicts are copies, so that the carry itself stays as it was."""
        return Step(
            network=self.network,
            tensors=dict(carry["tensors"]),
            grads=grads,
            optim={name: dict(state) for name, state in carry["optim"].items()},
            features={name: Activations(value) for name, value in features.items()},
            since=dict(carry["since"]),
            key=key,
            step_size=optimizer.step_size,
            newborn=optimizer.newborn_state,
            look=self.looking.on(carry["reference"]) if self.looking is not None else None,
        )

    def bound(self, hyper: Tensors) -> tuple[Optimizer, list[Method]]:
        """Optimizer and methods with this run's own settings put in."""

        def own(prefix: str) -> Tensors:
            return {name.partition(".")[2]: value for name, value in hyper.items() if name.startswith(f"{prefix}.")}

        return self.optimizer.bind(own("optimizer")), [method.bind(own(method.name)) for method in self.methods]

    def __call__(
        self,
        carry: Carry,
        hyper: Tensors,
        key: Tensor,
        x: Tensor,
        y: Tensor,
        due: Sequence[Tensor | None],
        noise: Sequence[Tensor | None],
    ) -> Carry:
        """The carry after one step on the batch x `[B, ...]`, y `[B, ...]`.

        `due` and `noise` have one entry a method.
        """
        optimizer, methods = self.bound(hyper)
        parameters = {name: carry["tensors"][name] for name in self.parameters}
        buffers = {name: value for name, value in carry["tensors"].items() if name not in parameters}
        key = random.fold_in(key, carry["count"])
        grads, outputs, loss, features, buffers = self.gradients(
            parameters, buffers, x, y, random.fold_in(key, _DROPS), hyper.get("loss.classes")
        )

        with torch.no_grad():
            features = {name: value.detach() for name, value in features.items()}
            step = self.view(carry, key, optimizer, dict(grads), features)
            step.tensors.update(buffers)
            states = list(carry["methods"])
            for number in self.order:
                step.key = random.fold_in(key, 2 * number)
                states[number] = methods[number].regularise(step, states[number])
            count = {}
            if optimizer.counts:
                totals = {name: step.optim[name]["step"] + 1 for name in self.parameters}
                count = entry_counts(self.network, step.since, step.tensors, totals)
            optimizer.update(step.tensors, step.grads, step.optim, count)
            changes = {"weight_change": _mean_change(parameters, step.tensors)} if self.watch_updates else {}
            step.since = {name: value + 1 for name, value in step.since.items()}
            for number in self.order:
                step.key, step.noise = random.fold_in(key, 2 * number + 1), noise[number]
                states[number] = methods[number].intervene(step, states[number], due[number])

            judged = {"loss": loss.detach(), **self.loss.judge(outputs.detach(), y), **changes}
            sums = {name: carry["sums"][name] + value for name, value in judged.items()}
        return {
            "tensors": step.tensors,
            "optim": step.optim,
            "since": step.since,
            "methods": states,
            "count": carry["count"] + 1,
            "sums": sums,
            **self._seen(carry, x),
        }

    def _seen(self, carry: Carry, x: Tensor) -> Carry:
        """The last examples, those of the step just made included."""
        if self.looking is None:
            return {}
        last = carry["reference"]
        return {"reference": torch.cat([last[len(x) :], x[-len(last) :]])}  # no view: graphs count on strides

    def evaluated(self, carry: Carry, hyper: Tensors) -> Tensors:
        """The tensors with which the network is to be evaluated."""
        _, methods = self.bound(hyper)
        tensors = carry["tensors"]
        for number in self.order:
            tensors = methods[number].evaluated(tensors, carry["methods"][number])
        return tensors

    def noise(self, key: Tensor, count: Tensor, length: int) -> list[Tensor]:
        """The normal numbers of the next `length` steps, `[length, draws]`, for each method that draws any.

        The same numbers that `normal(step.key, ...)` gives in each step; drawn ahead since inside a long graph of steps
        they would multiply the time that it takes to compile.
        """
        at = count + torch.arange(length, dtype=torch.int32, device=key.device)
        drawn = []
        for number, draws in enumerate(self.draws):
            if draws:
                keys = random.fold_in(random.fold_in(key.unsqueeze(0), at), 2 * number + 1)
                drawn.append(torch.func.vmap(lambda own, draws=draws: random.normal(own, (draws,)))(keys))
        return drawn

    def at_task(self, carry: Carry, hyper: Tensors, key: Tensor) -> Carry:
        """The carry after every method has acted on a task boundary."""
        optimizer, methods = self.bound(hyper)
        with torch.no_grad():
            step = self.view(carry, key, optimizer, {}, {})
            states = list(carry["methods"])
            key = random.fold_in(random.fold_in(key, carry["count"]), -1)
            for number in self.order:
                step.key = random.fold_in(key, number)
                states[number] = methods[number].at_task(step, states[number])
        return {**carry, "tensors": step.tensors, "optim": step.optim, "since": step.since, "methods": states}
