"""A throw-away optimizer of the same make as a user's, on one small parameter of the same kind.

Nobody tells what somebody's optimizer keeps and does, so it is tried out here: with the settings of the user's
parameter group, in the same wrappers (Lookahead), and without hooks of others seeing its steps.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neoteny.attachment.wrappers import acting, in_halves, within

__all__ = ["StandIn", "make_of", "settings_of"]

_LATE = 10_000  # updates after which no bias correction shows


def settings_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a parameter group, without its parameters."""
    return {key: value for key, value in group.items() if key not in ("params", "param_names")}


def make_of(original: Any) -> tuple[Any, ...]:
    """What an optimizer's steps may depend on beside the settings of its groups: two of one make are tried out once."""
    if isinstance(original, type):
        return (original,)
    own = {name: repr(value) for name, value in vars(original).items() if _is_plain(value)}
    inside = tuple(make_of(one) for one in within(original)[1:])
    return type(original), tuple(sorted(own.items())), inside


class StandIn:
    """A throw-away optimizer of one parameter.

    Args:
        original: the optimizer, or its class.
        settings: of the parameter group.
        weights: what the parameter begins with.
        decays: whether it decays weights, if the original does.

    Attributes:
        parameter: the parameter.
        outer: the optimizer, in the wrappers that the original has.
        acting: the one whose steps methods would follow.
    """

    def __init__(self, original: Any, settings: Mapping[str, Any], weights: Tensor, decays: bool = True):
        self.parameter = nn.Parameter(weights.clone())
        self.outer: Any = _built(original, settings, self.parameter)
        self.acting = acting(self.outer)
        for one in self._all():
            for group in one.param_groups:
                if not decays and isinstance(group.get("weight_decay"), float):
                    group["weight_decay"] = 0.0
            getattr(one, "train", lambda: None)()  # schedule-free optimizers step in training mode alone
        self._counted: dict[tuple[int, str], list[float]] = {}

    def state(self) -> dict[str, Any]:
        """What all of its optimizers keep of the parameter."""
        found: dict[str, Any] = {}
        for one in self._all():
            state = getattr(one, "state", {})
            if self.parameter in state:
                found |= state[self.parameter]
        return found

    def step(self, grad: Tensor, after: Callable[[], None] = lambda: None) -> None:
        """A step with a gradient; `after` is called where methods would act."""
        self.parameter.grad = grad.clone()

        def closure() -> Tensor:
            self.parameter.grad = grad.clone()
            return torch.ones(())

        step: Any = type(self.outer).step
        needs = inspect.signature(step).parameters.get("closure")
        given = (closure,) if needs is not None and needs.default is inspect.Parameter.empty else ()
        if in_halves(self.outer):
            step, given = _both_halves, (closure,)
        if self.outer is self.acting:
            step = getattr(step, "__wrapped__", step) if getattr(step, "hooked", False) else step
            step(self.outer, *given)  # without others' hooks
            after()
            return
        handle = self.acting.register_step_post_hook(lambda *_: after())
        try:
            step(self.outer, *given)
        finally:
            handle.remove()

    def grow_old(self) -> None:
        """Set whatever counts steps, in its state and groups, to what it is late in training.

        A count is a number that went up by one in each step between calls of `note_counts`. What approaches a limit by
        the same share of the way in each step (NAdam's product, QHAdam's weights) is set to the limit.
        """
        for holder, name, value in self._numbers():
            late = _late(self._counted.get((id(holder), name), []))
            if late is not None and isinstance(value, Tensor):
                value.fill_(late)
            elif late is not None:
                holder[name] = type(value)(late)

    def note_counts(self) -> None:
        """Look at all numbers in its state and groups; call it after some steps, then `grow_old`."""
        for holder, name, value in self._numbers():
            self._counted.setdefault((id(holder), name), []).append(float(value))

    def going_on(self) -> list[str]:
        """Names of the numbers that are one for the whole parameter or group and change from step to step."""
        names = []
        for holder, name, _ in self._numbers():
            seen = self._counted.get((id(holder), name), [])
            if len(set(seen)) > 1:
                names.append(name)
        return list(dict.fromkeys(names))

    def _numbers(self) -> Iterator[tuple[Any, str, Any]]:
        held = [state[self.parameter] for one in self._all() if self.parameter in (state := one.state)]
        held += [group for one in self._all() for group in one.param_groups]
        held += [one.state for one in self._all()]  # some keep a number of their own there, under a name
        for holder in {id(holder): holder for holder in held}.values():
            for name, value in list(holder.items()):
                plain = isinstance(value, (int, float)) and not isinstance(value, bool)
                single = isinstance(value, Tensor) and value.numel() == 1 and self.parameter.numel() > 1
                if isinstance(name, str) and (plain or single):
                    yield holder, name, value

    def _all(self) -> list[Any]:
        return within(self.outer)


def _built(original: Any, settings: Mapping[str, Any], parameter: nn.Parameter) -> Any:
    make = getattr(original, "with_parameters", None)
    if make is not None and not isinstance(original, type):  # it needs more than settings: `neoteny.optim`'s its rule
        return make([parameter], settings)
    cls = original if isinstance(original, type) else type(original)
    given = {} if isinstance(original, type) else vars(original)
    inside = [value for value in given.values() if isinstance(value, torch.optim.Optimizer)]
    first = next(iter(inspect.signature(cls).parameters), "params")
    accepted, chosen, what = _accepted(cls), dict[str, Any](), [parameter]
    if inside and in_halves(original):  # they make the inner one themselves, of its class
        accepted |= _accepted(type(inside[0]))
        chosen = {name: type(inside[0]) for name in accepted & {"base_optimizer", "optimizer", "base"}}
    elif len(inside) == 1 and first != "params":
        what = _built(inside[0], settings, parameter)
    chosen |= {name: given[name] for name in accepted if name in given and _is_plain(given[name])}
    chosen |= {name: value for name, value in settings.items() if name in accepted}
    chosen.pop(first, None)
    return cls(what, **chosen)


def _late(seen: list[float]) -> float | None:
    """What a number becomes, from what it was after each of the first steps; None where that does not show."""
    ways = [b - a for a, b in itertools.pairwise(seen)]
    if len(ways) < 2 or not all(map(math.isfinite, ways)) or not all(ways):
        return None
    if all(way == 1 for way in ways):
        return _LATE
    shares = [b / a for a, b in itertools.pairwise(ways)]
    share = shares[0]
    if 0.5 <= share <= 0.99999 and all(math.isclose(share, other, rel_tol=1e-6) for other in shares):
        return seen[0] + ways[0] / (1 - share)
    return None


def _both_halves(optimizer: Any, closure: Callable[[], Any]) -> None:
    optimizer.first_step()
    closure()
    optimizer.second_step()


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _accepted(cls: type) -> set[str]:
    """The names of the settings that a class can be built with."""
    given = inspect.signature(cls).parameters
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in given.values()):
        return set(given)
    own = (vars(base)["__init__"] for base in cls.__mro__[:-1] if "__init__" in vars(base))
    return {name for init in own for name in inspect.signature(init).parameters}
