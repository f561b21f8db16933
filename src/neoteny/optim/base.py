"""What an optimizer of the laboratory is: settings and a pure update over dicts of tensors.

`neoteny.attach` works with the user's own `torch.optim` optimizer. Inside a compiled stack of runs an optimizer must be
a pure function whose step size may differ between runs, which `torch.optim` does not offer. So the few optimizers that
the papers use are written here as formulas; tests compare them with torch's.
"""

from __future__ import annotations

import copy
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require_nonnegative
from neoteny.errors import SettingError
from neoteny.kinds import Settings
from neoteny.units.newborn import Newborn, newborn_value

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]
Counts = Mapping[str, "Tensor | Sequence[Tensor]"]


class _LearningRate(ABCMeta):
    """Lets optimizers be made with `learning_rate=` in place of `step_size=`."""

    if not TYPE_CHECKING:  # a type checker goes by the fields

        def __call__(cls, **settings: Any) -> Any:
            if "learning_rate" in settings:
                if "step_size" in settings:
                    raise SettingError(
                        f"{cls.__name__}: step_size and learning_rate are the same thing; give one of them."
                    )
                settings["step_size"] = settings.pop("learning_rate")
            return super().__call__(**settings)


@dataclass(frozen=True, kw_only=True)
class Optimizer(Settings, metaclass=_LearningRate):
    """Base of the laboratory's optimizers: settings, state by parameter and name, and an update.

    A subclass defines `init` and `update`, and describes its state in class variables. Several optimizers may train a
    network, each its own parameters: then `init` gets only these, and `grads` and `optim` hold only these.

    Args:
        step_size: alpha >= 0; may be given as `learning_rate`, too.

    >>> class OwnStepSizes(Optimizer):  # a step size for each weight, moved by the sign of its gradient
    ...     newborn = {"log_step": "median"}
    ...
    ...     def init(self, tensors):
    ...         return {name: {"log_step": (value * 0 + self.step_size).log()} for name, value in tensors.items()}
    ...
    ...     def update(self, tensors, grads, optim, count, signals=None):
    ...         for name, gradient in grads.items():
    ...             log_step = optim[name]["log_step"] + 0.1 * (gradient * tensors[name]).sign()
    ...             optim[name] = {"log_step": log_step}
    ...             tensors[name] = tensors[name] - log_step.exp() * gradient
    >>> import torch
    >>> own, tensors = OwnStepSizes(step_size=0.5), {"w": torch.tensor([1.0, -1.0])}
    >>> own.update(tensors, {"w": torch.tensor([1.0, 1.0])}, own.init(tensors), {})
    >>> tensors["w"]
    tensor([ 0.4474, -1.4524])
    """

    step_size: float = 0.01
    name: ClassVar[str] = ""
    varies: ClassVar[tuple[str, ...]] = ("step_size",)
    counts: ClassVar[bool] = False
    """Whether the rule depends on the number of updates so far (a bias correction)."""
    newborn: ClassVar[Mapping[str, Newborn]] = {}
    """What a state tensor of its parameter's shape holds for a weight that was just made new, by the state's name: a
    number, `initial` (what `init` gives), `median` or `weight`; see `neoteny.units.newborn.Newborn`. A state that is
    not named holds 0."""
    follows: ClassVar[Literal["loss", "prediction", "either"]] = "loss"
    """Whose gradient the rule follows: that of a loss, which it descends; that of a prediction, whose error is the
    signal `delta`; or either, by whether `delta` is given. See `neoteny.optim.signals`."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Names of the signals that the rule reads besides gradients (an error, the decay of traces, the end of an
    episode); `update` must get them. Where it depends on settings, override `needs`."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of what `update` returns, recorded beside the loss."""

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "step_size")

    def settings(self) -> dict[str, Any]:
        """The settings as a plain dict."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def needs(self) -> tuple[str, ...]:
        """Names of the signals that the rule must get with these settings."""
        return self.reads

    def in_common(self) -> tuple[str, ...]:
        """Names of states that are one and the same for all parameters of the rule; each parameter has them."""
        return ()

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The state of each trainable parameter before the first update."""
        return {name: {} for name in tensors}

    @abstractmethod
    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Tensor] | None:
        """One update: replaces entries of `tensors` and of `optim[name]`, for the names in `grads` alone.

        Args:
            tensors: all tensors of the network by name, parameters of other optimizers included.
            grads: gradients by name, of this optimizer's own parameters; parameters without a gradient stay as they
                are.
            optim: state of its own parameters, by parameter and name; a rule that counts keeps `step`, the updates of
                the parameter so far.
            count: for each parameter the number of updates, this one included, since each entry was made new: a tensor
                that broadcasts against the parameter, or several, of which the smallest counts (see
                `neoteny.units.counts`). Empty if the rule does not count.
            signals: by name, tensors `[]` of this run, at least those that `needs` names; None if it names none.

        Returns:
            What `metrics` names, `[]` each; None if it names nothing.
        """

    def step_sizes(self, state: Tensors) -> Tensor | None:
        """The step size of each weight of a parameter, from the parameter's state; None if all have one in common."""
        return None

    def newborn_state(
        self, parameter: str, state: str, old: Tensor, weight: Tensor, new: Callable[[], Tensor]
    ) -> Tensor | float:
        """What a state tensor holds for weights that were just made new, as `newborn` says; a `NewbornState`."""

        def initial() -> Tensor:
            return self.init({parameter: weight})[parameter][state]

        return newborn_value(self.newborn.get(state, 0.0), old, weight, new, initial)

    def bind(self, values: Mapping[str, Any]) -> Optimizer:
        """The same optimizer with some settings replaced by values that are not checked (tensors of one run)."""
        bound = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(bound, name, value)
        return bound
