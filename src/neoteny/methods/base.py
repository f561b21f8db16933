"""What a method is: a frozen record of settings, a rule of pure tensor functions, and a schedule that the host knows.

A method is called in two ways and written once. `neoteny.attach` hangs it on a user's optimizer and calls its rule with
the network's own tensors; the laboratory's learner calls the same rule inside a compiled graph, mapped over a stack of
runs. So a rule never writes into a tensor, never reads a value from the device and never lets a shape depend on data: it
puts new tensors into the `Step` and returns its new state. Settings named in `varies` may be 0-dimensional tensors there.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from neoteny.errors import SettingError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from neoteny.units.records import Network

Tensors = dict[str, "Tensor"]


@dataclass
class Step:
    """One optimizer step of one network, as a method sees it. Methods replace entries of its dicts.

    Args:
        network: unit layers, initialisers, head (static).
        tensors: parameters and buffers by qualified name.
        grads: gradients of the trainable parameters that have one, by name.
        optim: the optimizer's state, by parameter and by name (`momentum_buffer`, `exp_avg`, ...).
        features: activations of each unit layer on the batch just trained on, `[batch, units, positions]`, by layer.
        since: optimizer updates since each unit was last made new, int32 `[units]`, by layer; an optimizer with a bias
            correction counts from there.
        key: random key of this step and method, int32 `[2]`.
        step_size: the optimizer's step size.
    """

    network: Network
    tensors: Tensors
    grads: Tensors
    optim: dict[str, Tensors]
    features: Tensors
    since: Tensors
    key: Tensor
    step_size: float | Tensor = 0.0


class Schedule(Protocol):
    """When a method's resets are due, known on the host without looking at the device: one network's clock."""

    def take(self, steps: int) -> np.ndarray:
        """How much is due at each of the next optimizer steps, int `[steps, columns]`; all 0 where nothing is."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Method:
    """The base of every method: it does nothing at any of the places where a method may act.

    Subclasses are frozen dataclasses of settings, validated in `__post_init__`.
    """

    name: ClassVar[str] = ""
    varies: ClassVar[tuple[str, ...]] = ()
    """Numeric settings that may differ between the runs of a stack."""
    observes: ClassVar[bool] = False
    """Whether it reads `Step.features` (at every step, on training batches only)."""
    resets_units: ClassVar[bool] = False

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """The state before the first step: tensors by name."""
        return {}

    def schedule(self, network: Network, seed: int) -> Schedule | None:
        """The clock of its resets, or None for a method that acts alike at every step. `seed` is the run's."""
        return None

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Before the optimizer's step: may replace gradients. Returns the new state."""
        return state

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """After the optimizer's step: may replace parameters and optimizer state. Returns the new state.

        `due` is the schedule's row for this step, int `[columns]`, or None where the host knows that nothing is due.
        """
        return state

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """At a task boundary, before the new task's first step. Returns the new state."""
        return state

    def bind(self, values: Mapping[str, Any]) -> Method:
        """The same method with some settings replaced by values that are not checked (tensors of one run)."""
        bound = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(bound, name, value)
        return bound

    def settings(self) -> dict[str, Any]:
        """The settings as a plain dict."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def require(method: object, name: str, condition: bool, range_: str) -> None:
    """Refuse a setting outside its range with an error that names value, cause and cure."""
    if not condition:
        value = getattr(method, name)
        raise SettingError(f"{type(method).__name__}: {name} = {value!r} is not {range_}; give a value that is {range_}.")


def require_fraction(method: object, *names: str) -> None:
    """Each setting lies in [0, 1]."""
    for name in names:
        value = getattr(method, name)
        require(method, name, _is_number(value) and 0 <= value <= 1, "a number in [0, 1]")


def require_nonnegative(method: object, *names: str) -> None:
    """Each setting is a finite number >= 0."""
    for name in names:
        value = getattr(method, name)
        require(method, name, _is_number(value) and 0 <= value < math.inf, "a finite number >= 0")


def require_count(method: object, *names: str, least: int = 0) -> None:
    """Each setting is a whole number >= `least`."""
    for name in names:
        value = getattr(method, name)
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
        require(method, name, whole, f"a whole number >= {least}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
