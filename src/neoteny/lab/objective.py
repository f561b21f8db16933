"""What a learner learns: a batch, phases that each make one optimizer's step of it, and slow copies of the weights.

A *batch* is any pytree of tensors whose first dimension is that of the examples: `{"inputs": x, "targets": y}` for a
supervised network, `{"states": ..., "actions": ..., "rewards": ...}` for an agent.

An *objective* is made of phases, which act one after the other in every step. Supervised learning and PPO have one; SAC
has three: the critic, then the actor, then the temperature. Each phase sees what those before it have changed. A phase
names the parameters that it trains, what it differentiates, and the optimizer that makes the step.

An objective may keep *slow tensors* (a target network, a moving average): copies of some parameters that follow the
parameters by a rule of their own. Losses can read them; nothing differentiates them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from neoteny.errors import SettingError
from neoteny.optim.base import Optimizer
from neoteny.optim.signals import DELTA, TRACE_DECAY

__all__ = [
    "Batch",
    "Evaluation",
    "Forward",
    "Interaction",
    "Objective",
    "Phase",
    "Slow",
    "examples",
]

Batch = Any
"""A pytree of tensors, `[B, ...]` each."""
Tensors = dict[str, Tensor]


class Forward(Protocol):
    """The networks of one run as pure functions of their tensors: what a loss gets besides the batch.

    Attributes:
        knobs: numbers that may change between two segments of training, by name, `[]` each; such as `classes`, how many
            of the outputs take part.
    """

    knobs: Mapping[str, Tensor]

    def __call__(self, *inputs: Any, network: str = "", slow: str | None = None, observed: bool = True) -> Any:
        """The outputs of a network in training mode.

        Args:
            inputs: its arguments.
            network: its name, if the learner has several; the only one by default.
            slow: compute with these slow tensors in place of the parameters that they copy.
            observed: whether methods see what hidden units do in this call. They only see units that the present phase
                trains, and none in a call with slow tensors.
        """
        ...

    def parameter(self, name: str) -> Tensor:
        """A parameter itself, such as the logarithm of a temperature."""
        ...


class Evaluation(NamedTuple):
    """The result of a phase on a batch.

    Args:
        value: what is differentiated, `[]`: a loss that the optimizer descends; or, where the signal `delta` is given,
            the prediction that has this error (see `neoteny.optim.signals`).
        metrics: what is recorded, by name, `[]` each; the phase's own loss name replaces `value` there.
        signals: what the optimizer reads besides gradients, by name, `[]` each: an error, a trace's decay, whether an
            episode ended.
        beside: further values, by name, `[]` or `[F]`, whose gradients the optimizer reads as signals: of each the
            gradients by parameter, `[*shape]` or `[F, *shape]`. They cost a backward pass each, and none where the
            optimizer does not need them.
    """

    value: Tensor
    metrics: Tensors = {}  # noqa: RUF012 - never written to
    signals: Tensors = {}  # noqa: RUF012
    beside: Tensors = {}  # noqa: RUF012


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One optimizer's part of a step.

    Args:
        evaluate: a pure function of the networks, the batch and a random key (int32 `[2]`) that is new in every step.
        optimizer: one of `neoteny.optim`, with a step size of its own.
        group: the parameters it trains: those whose names begin with one of these. `("",)` means all.
        name: goes in front of the phase's loss (`critic_loss`) and of its optimizer's settings
            (`critic.optimizer.step_size`); the only phase of an objective needs none.
        metrics: names of what `evaluate` records besides the value.
        signals: names of the signals it gives.
        beside: names of the values whose gradients are signals.
        when: the phase acts only in steps whose batch, a dict, has an entry of this name; None: in every step. An actor
            may learn less often than its critics.

    Raises:
        SettingError: the optimizer reads a signal that the phase does not give, or descends losses where the phase
            gives a prediction with its error.
    """

    evaluate: Callable[[Forward, Batch, Tensor], Evaluation]
    optimizer: Optimizer
    group: tuple[str, ...] = ("",)
    name: str = ""
    metrics: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    when: str | None = None

    def __post_init__(self) -> None:
        """Check that the optimizer gets what it reads."""
        missing = [name for name in self.optimizer.needs() if name not in (*self.signals, *self.beside)]
        if missing:
            raise SettingError(
                f"{type(self.optimizer).__name__} reads the signal {missing[0]!r}, which phase {self.name!r} does not "
                f"give (it gives: {', '.join(self.signals) or 'none'}): choose another optimizer, or an objective "
                "that gives it."
            )
        if DELTA in self.signals and self.optimizer.follows == "loss":
            raise SettingError(
                f"{type(self.optimizer).__name__} descends a loss, and phase {self.name!r} gives a prediction and its "
                f"error {DELTA!r}: choose an optimizer for that (trace-sgd, obgd, autostep), or let the phase give a "
                "loss and no error."
            )

        if self.optimizer.follows == "either" and TRACE_DECAY in self.signals:
            raise SettingError(
                f"{type(self.optimizer).__name__} keeps no traces, and phase {self.name!r} gives their decay: choose "
                "tidbd or auto-tidbd, or give the error alone."
            )

    @property
    def loss_name(self) -> str:
        """The metric under which `value` is recorded."""
        return f"{self.name}_loss" if self.name else "loss"

    @property
    def optimizer_metrics(self) -> dict[str, str]:
        """What the optimizer records: its names for it by the names under which it is recorded."""
        return {f"{self.name}_{own}" if self.name else own: own for own in self.optimizer.metrics}

    @property
    def settings_name(self) -> str:
        """What goes in front of the optimizer's settings that differ between runs."""
        return f"{self.name}.optimizer" if self.name else "optimizer"

    def acts(self, batch: Batch) -> bool:
        """Whether it acts in a step with this batch."""
        return self.when is None or (isinstance(batch, Mapping) and self.when in batch)

    def trains(self, parameter: str) -> bool:
        """Whether it trains the parameter of that name."""
        return parameter.startswith(self.group)


@dataclass(frozen=True, kw_only=True)
class Slow:
    """Slow tensors s of parameters (and buffers) w: every `every` steps, s <- s + rate (w - s). They begin as w.

    Args:
        of: what they copy: the tensors whose names begin with one of these.
        rate: in (0, 1]; 1 copies the weights every `every` steps, a small rate gives a moving average.
        every: steps between two updates.

    >>> slow = Slow(of=("critic.",), rate=0.5)
    >>> slow.follow({"critic.w": torch.zeros(1)}, {"critic.w": torch.ones(1)}, torch.tensor(1))
    {'critic.w': tensor([0.5000])}
    """

    of: tuple[str, ...] = ("",)
    rate: float = 0.005
    every: int = 1

    def __post_init__(self) -> None:
        """Check the settings."""
        if not 0 < self.rate <= 1:
            raise SettingError(f"Slow: rate = {self.rate!r} is not a number in (0, 1]; 0.005 is usual.")
        if self.every < 1:
            raise SettingError(f"Slow: every = {self.every!r} is not a whole number >= 1; give steps between updates.")

    def copies(self, tensor: str) -> bool:
        """Whether the tensor of that name is one of those copied."""
        return tensor.startswith(self.of)

    def follow(self, slow: Tensors, tensors: Tensors, count: Tensor) -> Tensors:
        """The slow tensors after step number `count` (from 1), int `[]`."""
        due = None if self.every == 1 else count % self.every == 0
        found = {}
        for name, old in slow.items():
            new = tensors[name] if self.rate == 1 or not old.is_floating_point() else old.lerp(tensors[name], self.rate)
            found[name] = new if due is None else torch.where(due, new, old)
        return found


class Interaction(Protocol):
    """What a learner does between two steps of a stream that its own actions change; a part of the compiled step.

    It has a state of a run, tensors by name, which is saved with the run: what was seen last and what was done then,
    running statistics of observations. Every step begins with `before`, which makes of what arrived the batch that
    phases learn from, and ends with `after`, which may act with the new weights. `Learner.interaction` is the state.

    `forward` gives the outputs of the networks in evaluation mode: `forward(x, network="actor")`.
    """

    def init(self) -> Tensors:
        """The state before anything was seen."""
        ...

    def begin(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> Tensors:
        """The state once the stream has begun (`Learner.begin`), before the first step."""
        ...

    def before(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> tuple[Tensors, Batch]:
        """The state and the batch of the phases, a dict; `forward` has the weights before the step."""
        ...

    def after(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> Tensors:
        """The state after the step; `forward` has the new weights, and the batch the phases' signals in it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The phases of a step in order, and the slow tensors that follow at its end.

    Where a batch is a dict, each phase finds the signals of those before it there by their names: an actor learns from
    the critic's error.

    Args:
        phases: one or more; each trainable parameter is trained by exactly one of them.
        slow: slow tensors by name.
        inputs: which leaf of the batch is the network's input, if there is one network and the batch is a mapping; for
            methods that run the network on past examples.
        interaction: what happens around the phases, for a learner that acts.
        evaluated: the slow tensors with which the networks act and are evaluated; None: the trained ones.
        kernel: a function of the `TrainingStep` and the networks that gives what does this step by hand, or None where
            that does not suit. It is called with a run's carry, whose tensors stay in place, and gives a function of
            the tensors of a batch. The strategy `one-call` uses it where it compiles.
    """

    phases: tuple[Phase, ...]
    slow: Mapping[str, Slow] = field(default_factory=lambda: MappingProxyType({}))
    inputs: str = "inputs"
    interaction: Interaction | None = None
    evaluated: str | None = None
    kernel: Callable[[Any, Any], Callable[[dict[str, Any]], Callable[..., None]] | None] | None = None

    def __post_init__(self) -> None:
        """Check that the phases have different names."""
        names = [phase.name for phase in self.phases]
        if not names or len(set(names)) < len(names):
            raise SettingError(f"Objective: phases {names} need different names; give at least one phase.")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all that is recorded, in order."""
        return tuple(
            name for phase in self.phases for name in (phase.loss_name, *phase.metrics, *phase.optimizer_metrics)
        )

    def groups(self, parameters: Mapping[str, Any] | tuple[str, ...]) -> list[tuple[str, ...]]:
        """For each phase the names of the parameters that it trains.

        Raises:
            SettingError: no phase, or more than one, trains a parameter.
        """
        for name in parameters:
            owners = [phase.name for phase in self.phases if phase.trains(name)]
            if len(owners) != 1:
                whose = f"phases {', '.join(owners)} train it" if owners else "no phase trains it"
                raise SettingError(
                    f"Objective: {whose}, parameter {name!r}; let exactly one phase name it in its group, or make it a "
                    "buffer if it should not be trained."
                )
        return [tuple(name for name in parameters if phase.trains(name)) for phase in self.phases]


def examples(inputs: Any, targets: Any) -> dict[str, Any]:
    """Inputs and targets as a batch of a supervised network."""
    return {"inputs": inputs, "targets": targets}
