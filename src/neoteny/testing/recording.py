"""What real steps gave to a method's rule and what it returned, and the same rule called again by hand.

A rule is a pure function of tensors, so what was recorded on a user's network can be replayed: with another random key,
or for a stack of runs at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neoteny.attachment.user_step import UserStep
from neoteny.methods.base import Method, Step
from neoteny.testing.comparing import differing
from neoteny.units.activations import Activations
from neoteny.units.newborn import zero
from neoteny.units.records import Network

__all__ = ["HOOKS", "Call", "CallRecorder", "changed", "cloned", "fresh", "nudged", "pick", "replay", "stacked"]

HOOKS = ("regularise", "intervene", "at_task")
"""The places where a method acts."""

_GIVEN = ("tensors", "grads", "optim", "since")


def fresh(method: Method) -> Method:
    """A method of the same settings without a past, as another process would make it from a configuration."""
    return type(method)(**method.settings())


@dataclass
class Call:
    """One call of a hook.

    Attributes:
        hook: its name.
        network: the units.
        step_size: the optimizer's step size.
        step_sizes: those of single parameters.
        given: copies of what it was given: the tensors of the `Step`, `state`, `key` and, where there is one, `due`;
            `features` are random numbers, since of those of a real step only sums are kept.
        on_reference: the network on the reference batch.
        newborn: what the optimizer's state holds for new weights.
        alive: the optimizers, which it asks for that.
    """

    hook: str
    network: Network
    step_size: Any
    step_sizes: Mapping[str, Any]
    given: dict[str, Any]
    on_reference: Any = None
    newborn: Any = zero
    alive: Any = None


class CallRecorder:
    """Watches the hooks of a method.

    Attributes:
        last: whether the training is at its last step.
        states: for each call of a hook its name, and the state that it was given and the one it returned.
        kept: of each hook the last call at which something was due, or else the one at the last step: copying what
            each call was given would take longer than the training.
    """

    def __init__(self):
        self.last = False
        self.states: list[tuple[str, dict[str, Tensor], dict[str, Tensor]]] = []
        self.kept: dict[str, Call] = {}

    def watched(self, method: Method) -> Method:
        """The same method, with its hooks recorded."""
        cls, recorder = type(method), self

        def recording(hook: str) -> Any:
            def call(self: Method, step: Step, state: dict[str, Tensor], *due: Tensor | None) -> dict[str, Tensor]:
                recorder._keep(hook, step, state, due[0] if due else None)
                new = getattr(cls, hook)(self, step, state, *due)
                recorder.states.append((hook, dict(state), dict(new)))
                return new

            return call

        own = {hook: recording(hook) for hook in HOOKS if getattr(cls, hook) is not getattr(Method, hook)}
        spy = copy.copy(method)
        object.__setattr__(spy, "__class__", type(cls.__name__, (cls,), own))
        return spy

    def _keep(self, hook: str, step: Step, state: dict[str, Tensor], due: Tensor | None) -> None:
        other = self.kept.get(hook)
        if due is None and ((hook != "at_task" and not self.last) or (other is not None and "due" in other.given)):
            return
        given = {name: getattr(step, name) for name in _GIVEN} | {"state": state, "key": step.key}
        given |= {"features": _made_up(step)} | ({} if due is None else {"due": due})
        alive = step._user.optimizers if isinstance(step, UserStep) else None
        self.kept[hook] = Call(
            hook, step.network, step.step_size, step.step_sizes, cloned(given), step.on_reference, step.newborn, alive
        )


def replay(method: Method, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """Call the hook of a recorded call on `given`; returns the step's dicts and the state as it left them."""
    tensors, grads, optim, since = (_shallow(given[name]) for name in _GIVEN)
    features = {name: Activations(value) for name, value in given["features"].items()}
    same = {name: getattr(call, name) for name in ("step_size", "step_sizes", "on_reference", "newborn")}
    step = Step(call.network, tensors, grads, optim, features, since, given["key"], **same)
    due = (given.get("due"),) if call.hook == "intervene" else ()
    state = getattr(method, call.hook)(step, dict(given["state"]), *due)
    return {"tensors": step.tensors, "grads": step.grads, "optim": step.optim, "since": step.since, "state": state}


def _made_up(step: Step) -> dict[str, Tensor]:
    """Random activations `[batch, units, positions]`, by layer."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for layer in step.network.layers:
        like = step.tensors[layer.incoming[0].name]
        made[layer.name] = torch.randn(5, layer.size, 2, generator=generator).to(like)
    return made


def nudged(given: Mapping[str, Any]) -> dict[str, Any]:
    """What another run might have given: every number a little off, and another key."""
    other = _map(lambda tensor: tensor * 1.01 if tensor.is_floating_point() else tensor, given)
    return {**other, "key": given["key"] + 1}


def stacked(*given: Mapping[str, Any]) -> dict[str, Any]:
    """What several runs gave to one hook, along a new first dimension."""
    return _map(lambda *tensors: torch.stack(tensors), *given)


def pick(tree: Any, run: int) -> Any:
    """One run of a stack."""
    return _map(lambda tensor: tensor[run], tree)


def changed(
    before: Mapping[str, Any], after: Mapping[str, Any], differ: Callable[[Any, Any], bool] | None = None
) -> str | None:
    """The path to the first tensor that differs from the one in the same place of another tree, by default in a bit."""
    for key, old in before.items():
        if key not in after:
            continue
        if isinstance(old, Mapping):
            inner = changed(old, after[key], differ)
            if inner is not None:
                return f"{key}.{inner}"
        elif (differ or _differ)(old, after[key]):
            return key
    return None


def _shallow(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(value) if isinstance(value, dict) else value for name, value in tree.items()}


def _differ(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape or a.dtype != b.dtype or bool(differing(a, b).any())


def cloned(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a tree of tensors."""
    return _map(lambda tensor: tensor.detach().clone(), tree)


def _map(function: Any, *trees: Any) -> Any:
    if isinstance(trees[0], Mapping):
        return {name: _map(function, *(tree[name] for tree in trees)) for name in trees[0]}
    return function(*trees)
