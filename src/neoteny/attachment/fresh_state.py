"""What a user's optimizer keeps of a weight that was just made new: what a fresh optimizer of its class would.

Nobody tells what the state of somebody's optimizer begins with, so a throw-away optimizer of the same class and the
same settings is asked. It trains a stand-in of a few weights, makes three steps without a gradient, and its state is
looked at after each. What then equals the weights is a copy of them (schedule-free's z, ASGD's average, masters in
higher precision); what has one value everywhere began with a number (0; Rprop's step sizes; Adagrad's sums).

An optimizer's class may also say it, in a class attribute such as `newborn = {"step_sizes": 0.1}`; for what may stand
there see `neoteny.units.newborn.Newborn`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from neoteny.attachment.stand_in import StandIn, make_of, settings_of
from neoteny.errors import PlasticityWarning
from neoteny.units.newborn import Newborn, newborn_value

__all__ = ["Beginnings", "FreshState", "beginnings", "declared_by", "why_not"]

_LOOKED_AT = 14  # steps of a throw-away optimizer
Groups = Mapping[str, tuple[torch.optim.Optimizer, dict[str, Any]]]
"""The optimizer of each parameter, and its group there."""


@dataclass(frozen=True)
class Beginnings:
    """What the state of a fresh optimizer begins with.

    Attributes:
        known: for each state tensor of the parameter's shape what it holds for a new weight.
        unknown: what of the state cannot be made new, and why; "" stands for all of it.
        declared: what the optimizer's class says itself.
        step_size: the one that `known` was found out with, where it may depend on it.
    """

    known: Mapping[str, Newborn] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, Newborn] = field(default_factory=dict)
    step_size: float | None = None


class FreshState:
    """Answers for a user's optimizers what state holds for new weights; a `NewbornState`.

    An answer is found out once, when it is first asked for, and again where it depends on a step size that has changed.

    Args:
        groups: gives the optimizer and the group of each parameter.
        parameters: by name.
        outer: gives an optimizer with the wrappers around it (Lookahead), which keep state of their own.
    """

    def __init__(
        self,
        groups: Callable[[], Groups],
        parameters: Mapping[str, Tensor],
        outer: Callable[[Any], Any] = lambda one: one,
    ):
        self._groups, self._parameters, self._outer = groups, parameters, outer
        self._own: dict[str, Beginnings] = {}  # by parameter
        self._found: dict[tuple[Any, ...], Beginnings] = {}  # by class, settings and kind of parameter
        self._checked, self._told = set[str](), set[str]()

    def __call__(
        self, parameter: str, state: str, old: Tensor, weight: Tensor, new: Callable[[], Tensor]
    ) -> Tensor | float:
        """What newborn entries hold; 0 where that is not known."""
        own = self._own.get(parameter)
        if own is None or own.step_size is not None:
            own = self._look(parameter, self._groups())

        def initial() -> Tensor | float:
            return newborn_value(own.known.get(state, 0.0), old, weight, new, lambda: 0.0)

        declared = own.declared.get(state)
        return initial() if declared is None else newborn_value(declared, old, weight, new, initial)

    def foresee(self, parameters: Iterable[str], stacklevel: int = 2) -> None:
        """Find out everything now, and warn of state that cannot be made new with its unit.

        Args:
            parameters: names of those whose units will be made new.
            stacklevel: the line that the warning points to, as `warnings.warn` counts from here.
        """
        groups = self._groups()
        unknown: dict[type, dict[str, str]] = {}
        for name in parameters:
            if name in groups:
                unknown.setdefault(type(groups[name][0]), {}).update(self._look(name, groups).unknown)
        for cls, states in unknown.items():
            self.tell(cls, states, stacklevel + 1)

    def has_told(self, cls: type) -> bool:
        """Whether there was a warning of an optimizer's state."""
        return cls.__name__ in self._told

    def check(self, parameter: str, state: Mapping[str, Any]) -> None:
        """Warn, once, of what an optimizer keeps of a parameter now and what cannot be made new with its units."""
        if state and parameter not in self._checked:
            self._checked.add(parameter)
            groups = self._groups()
            own, shape = self._look(parameter, groups), self._parameters[parameter].shape
            unknown = dict(own.unknown)
            for name, value in state.items():
                why = why_not(value, shape)
                if why is None and isinstance(value, Tensor) and value.shape == shape and name not in own.known:
                    why = "a fresh optimizer has none"
                if why is not None:
                    unknown[name] = why
            self.tell(type(groups[parameter][0]), {n: w for n, w in unknown.items() if n not in own.declared})

    def tell(self, cls: type, unknown: Mapping[str, str], stacklevel: int = 2) -> None:
        """Warn, once for a class, of state that cannot be made new: why, by its name; "" stands for all of it."""
        name = cls.__name__
        if not unknown or name in self._told:
            return
        self._told.add(name)
        words = "; ".join(f"{state!r} {why}" if state else why for state, why in unknown.items())
        warnings.warn(
            f"{name}: units that are made new do not get the optimizer state of a fresh network, so their first steps "
            f"may be too large or too small: {words}. Take an optimizer that keeps tensors of each parameter's shape, "
            f"such as torch.optim.AdamW, or say what new weights begin with in a class attribute: {name}.newborn = "
            "{'name of the state': 0.0}.",
            PlasticityWarning,
            stacklevel=stacklevel + 1,
        )

    def _look(self, name: str, groups: Groups) -> Beginnings:
        optimizer, group = groups[name]
        own = self._own.get(name)
        if own is None or own.step_size != _number(group.get("lr")):
            like = self._parameters[name]
            settings, outer = settings_of(group), self._outer(optimizer)
            kind = (*make_of(outer), repr(settings), like.dim(), like.dtype, like.device)
            if len(self._found) > 1000:  # of as many step sizes
                self._found.clear()
            if kind not in self._found:
                self._found[kind] = beginnings(outer, settings, like)
            own = self._own[name] = self._found[kind]
        return own


def beginnings(original: Any, settings: Mapping[str, Any], like: Tensor) -> Beginnings:
    """Ask a throw-away optimizer what its state begins with.

    Args:
        original: the optimizer, or its class.
        settings: of the parameter group.
        like: a parameter: type, device and number of dimensions matter.

    >>> beginnings(torch.optim.Rprop, {"lr": 0.5}, torch.zeros(3)).known
    {'prev': 0.0, 'step_size': 0.5}
    """
    declared = declared_by(original, settings)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weights, states, zeroed, late = _first_steps(original, settings, like)
            known, unknown = {}, {}
            for name, value in late.items():
                if (why := why_not(value, weights[0].shape)) is not None:
                    unknown[name] = why
                elif isinstance(value, Tensor) and value.shape == weights[0].shape:
                    if name in states[-1]:
                        begins = _beginning([state.get(name, value) for state in states], weights, zeroed[name])
                    else:  # it comes after some steps, with what a fresh one has then
                        begins = "weight" if torch.equal(value, weights[-1].to(value.dtype)) else _one_value(value)
                    if begins is None:
                        unknown[name] = "begins with values that are neither one number nor the weights"
                    else:
                        known[name] = begins
    except Exception as error:  # whatever somebody's optimizer raises
        known, unknown = {}, {} if declared else {"": f"a fresh one gave {type(error).__name__} ({error})"}
    unknown = {name: why for name, why in unknown.items() if name not in declared}
    varies = any(isinstance(value, float) and value for value in (*known.values(), *declared.values()))
    return Beginnings(known, unknown, declared, _number(settings.get("lr")) if varies else None)


def declared_by(original: Any, settings: Mapping[str, Any]) -> Mapping[str, Newborn]:
    """What an optimizer says itself of newborn weights: `newborn`, a mapping, or a function of a group's settings."""
    said: Any = getattr(original, "newborn", {})
    found: Any = said(settings) if callable(said) else said
    return found


def _first_steps(
    original: Any, settings: Mapping[str, Any], like: Tensor
) -> tuple[list[Tensor], list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Weights before and after steps without a gradient, and the state after each of the first three.

    Before the fourth step all state tensors of the weights' shape are set to 0; then comes the state after it. The last
    is that after some more: Lookahead makes its slow weights then.
    """
    shape = (4, 3, *[2] * like.dim())[: like.dim()]  # unlike lengths: state of a row or a column shows
    count = math.prod(shape)
    weights = ((torch.arange(count) - count // 2 + 0.25) / 16).view(shape)  # all unlike, and exact in any type
    weights = weights.to(like.device, like.dtype)
    stand_in = StandIn(original, settings, weights, decays=False)
    seen, states = [weights], []
    for number in range(_LOOKED_AT):
        if number == 3:
            for value in stand_in.state().values():
                if isinstance(value, Tensor) and value.shape == shape:
                    value.zero_()
        stand_in.step(torch.zeros_like(weights))
        seen.append(stand_in.parameter.detach().clone())
        if number < 4 or number == _LOOKED_AT - 1:
            states.append({name: v.clone() if isinstance(v, Tensor) else v for name, v in stand_in.state().items()})
    return seen, states[:3], states[3], states[4]


def _beginning(values: list[Tensor], weights: list[Tensor], zeroed: Tensor) -> Newborn | None:
    """What a state tensor began with, from what it was after each of three steps; None where that does not show."""
    if not any(value.any() for value in values):
        return 0.0
    copies = ((value, weights[number : number + 2]) for number, value in enumerate(values))
    if all(any(torch.equal(value, weight.to(value.dtype)) for weight in near) for value, near in copies):
        return "weight"
    if torch.equal(zeroed, values[0]):  # a first step from 0 makes of it what it was after the first step
        return 0.0
    numbers = [_one_value(value) for value in values]
    first, second, third = (math.nan if number is None else number for number in numbers)
    if first == second == third:
        return first
    if not math.isfinite(first + second + third) or second == third:
        return None
    # A running average of nothing: x <- p x + q, one step backwards from the first of three values.
    return float(f"{first - (second - first) ** 2 / (third - second):.6g}")


def _one_value(tensor: Tensor) -> float | None:
    value = tensor.flatten()[0].item()
    return value if torch.allclose(tensor, torch.full_like(tensor, value), 1e-5, 0.0) else None


def why_not(value: Any, shape: tuple[int, ...]) -> str | None:
    """Why a part of the state cannot be made new in the entries of some units; None where it can or need not be."""
    if isinstance(value, Tensor):
        return None if value.shape == shape or value.numel() <= 1 else "has not the parameter's shape"
    if isinstance(value, (list, tuple, dict)) and any(
        isinstance(leaf, Tensor) and leaf.numel() > 1 for leaf in tree_leaves(value)
    ):
        return f"is a {type(value).__name__}"
    return None


def _number(step_size: Any) -> float | None:
    return None if step_size is None else float(step_size)
