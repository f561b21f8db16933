"""Every rule of `neoteny.optim` as a `torch.optim.Optimizer`, to be put in place of SGD in any training loop.

A rule that follows losses is used as any other optimizer:

    optimizer = TorchOptimizer(network.parameters(), Autostep())
    loss.backward()
    optimizer.step()

A rule that follows predictions gets the prediction's gradient, and its error:

    optimizer = TorchOptimizer(critic.parameters(), ObGD(kappa=2.0), gamma=0.99, lamda=0.8)
    optimizer.zero_grad()
    value.backward()
    optimizer.step(delta, reset=terminated or truncated)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from neoteny.checks import is_finite
from neoteny.errors import SettingError
from neoteny.optim.base import Optimizer
from neoteny.optim.own_steps import OwnStepSizes
from neoteny.optim.signals import DELTA, ENDED, SIGNALS, TRACE_DECAY, decay_of
from neoteny.units.newborn import Newborn

__all__ = ["TorchOptimizer"]

_AGE = "age"
"""The updates of each entry, for rules that count: tools that make units new set it to 0, as all that they know."""


class TorchOptimizer(torch.optim.Optimizer):
    """A rule of `neoteny.optim` on a user's parameters.

    A parameter group is what the rule calls a network: its bounds and averages are over all parameters of a group. The
    rule's settings are keys of the group, with `lr` for the step size; schedulers of torch change it. For rules that
    adapt their step sizes it is the first one, so that later changes of it reach new weights alone. A parameter
    without a gradient counts as one with the gradient 0, so that its trace decays; frozen parameters are left out.

    Args:
        params: parameters, or groups of them.
        rule: the rule with its settings.
        gamma: the discount, for rules with traces, which decay by gamma * lamda in each step.
        lamda: lambda; 0 is no trace. A group may have a `trace_decay` of its own.

    Attributes:
        rule: the rule.
        said: what the rule recorded of the last step, for each group: its `metrics`, tensors `[]`.
        pulls: gradients that regularisers add, by parameter: the next step with an error goes along them as well, by
            `lr` and without traces, and forgets them.

    Raises:
        SettingError: gamma or lambda is outside [0, 1], or not 0 for a rule without traces; a setting is outside its
            range; or the rule needs more than a gradient and an error.

    >>> from neoteny.optim import ObGD
    >>> weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> optimizer = TorchOptimizer([weight], ObGD(kappa=2.0), gamma=0.99, lamda=0.8)
    >>> (weight * torch.tensor([1.0, 3.0])).sum().backward()
    >>> optimizer.step(5.0)
    >>> weight.data
    tensor([1.1250, 1.3750])
    """

    def __init__(self, params: Iterable[Any], rule: Optimizer, *, gamma: float = 1.0, lamda: float = 0.0) -> None:
        beyond = [name for name in rule.needs() if name not in SIGNALS]
        if beyond:
            raise SettingError(
                f"{type(rule).__name__} needs the gradients of {beyond[0]!r} beside the loss's with these settings, "
                "which a loop of one backward pass does not give: use its setting that needs none (curvature='fisher', "
                "gradient='semi'), where it has one, or the laboratory."
            )
        self.rule, self.make = rule, rule.name or type(rule).__name__
        self.said: list[Mapping[str, Tensor]] = []
        self.pulls: dict[Tensor, Tensor] = {}
        settings = rule.settings()
        super().__init__(params, {"lr": settings.pop("step_size"), **settings, TRACE_DECAY: decay_of(gamma, lamda)})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own."""
        decay = param_group.get(TRACE_DECAY, self.defaults[TRACE_DECAY])
        if decay_of(1.0, decay) and TRACE_DECAY not in self.rule.reads:
            raise SettingError(
                f"gamma * lambda = {decay:g}, and {type(self.rule).__name__} keeps no traces: leave lamda at 0, or "
                "take a rule that has them, such as TIDBD or ObGD."
            )
        self._own_rule({**self.defaults, **param_group}, checked=True)
        super().add_param_group(param_group)

    def _own_rule(self, group: Mapping[str, Any], checked: bool = False) -> Optimizer:
        """The rule with a group's settings."""
        settings = {name: group["lr" if name == "step_size" else name] for name in self.rule.settings()}
        return type(self.rule)(**settings) if checked else self.rule.bind(settings)

    def newborn(self, settings: Mapping[str, Any]) -> Mapping[str, Newborn]:
        """What state holds for a weight that is made new, in a group with these settings."""
        rule = self._own_rule(settings)
        weight = torch.zeros(2)
        found: dict[str, Newborn] = {_AGE: 0.0}
        for name, value in rule.init({"w": weight})["w"].items():
            if value.shape == weight.shape:
                kind: Newborn = rule.newborn.get(name, 0.0)
                if isinstance(rule, OwnStepSizes) and name == rule.adapted:
                    kind = rule.newborn_step
                found[name] = float(value[0]) if kind == "initial" else kind
        return found

    def with_parameters(self, params: Iterable[Tensor], settings: Mapping[str, Any]) -> TorchOptimizer:
        """An optimizer of the same make on other parameters."""
        return TorchOptimizer([{"params": list(params), **settings}], self.rule)

    @torch.no_grad()
    def step(  # pyright: ignore[reportIncompatibleMethodOverride] - the error is the field's first argument
        self,
        delta: float | Tensor | Callable[[], Any] | None = None,
        reset: bool | Tensor = False,
        *,
        closure: Callable[[], Any] | None = None,
    ) -> Any:
        """One update from the parameters' gradients.

        Args:
            delta: the error of the prediction whose gradients these are; None where they are a loss's. A function is
                taken for the closure.
            reset: whether an episode has ended: traces are 0 after this update.
            closure: computes the loss, with its gradients, anew.

        Returns:
            What the closure returned, or None.

        Raises:
            SettingError: an error is missing, of no use to the rule, or not a finite number.
        """
        if callable(delta) and not isinstance(delta, Tensor):
            delta, closure = None, delta
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._require_error(delta)
        self.said = [found for group in self.param_groups if (found := self._update(group, delta, reset)) is not None]
        for group in self.param_groups if self.pulls else ():
            for parameter in group["params"]:
                if parameter in self.pulls:
                    parameter.sub_(group["lr"] * self.pulls[parameter])
        self.pulls.clear()
        return loss

    @staticmethod
    def error_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> float | Tensor | None:
        """The error among the arguments of a step; None if there is none."""
        given = args[0] if args else kwargs.get("delta")
        return None if callable(given) and not isinstance(given, Tensor) else given

    def _require_error(self, delta: Any) -> None:
        """Refuse an error that the rule cannot use, and a missing one."""
        name, follows = type(self.rule).__name__, self.rule.follows
        if delta is None and follows == "prediction":
            raise SettingError(
                f"{name} follows a prediction: call backward() on the prediction, then step(delta) with its error."
            )
        if delta is not None and follows == "loss":
            raise SettingError(f"{name} descends a loss: call loss.backward(), then step() without an error.")
        if isinstance(delta, Tensor):
            if delta.numel() != 1:
                raise SettingError(
                    f"delta has shape {tuple(delta.shape)}: a step follows one prediction and its error; take one "
                    "example at a time."
                )
        elif delta is not None and not is_finite(delta):
            raise SettingError(f"delta = {delta!r} is not a finite number: the prediction or its target overflowed.")

    def _update(self, group: dict[str, Any], delta: Any, reset: bool | Tensor) -> Mapping[str, Tensor] | None:
        parameters = {str(number): p for number, p in enumerate(group["params"]) if p.requires_grad}
        if not parameters:
            return None
        rule, states = self._own_rule(group), {name: self.state[p] for name, p in parameters.items()}
        tensors = {name: p.detach() for name, p in parameters.items()}
        common = rule.in_common()
        if not all(states.values()):
            known = next((self.state[p] for p in group["params"] if self.state.get(p)), {})
            for name, state in rule.init(tensors).items():
                if not states[name]:
                    given = {**state, **{own: known[own] for own in common if own in known}}
                    states[name].update({own: value.clone() for own, value in given.items()})
                    if rule.counts:
                        states[name][_AGE] = torch.zeros_like(tensors[name], dtype=torch.float32)
        grads = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in parameters.items()}
        if any(grad.is_sparse for grad in grads.values()):
            raise SettingError("a gradient is sparse: take dense ones (nn.Embedding(sparse=False)).")
        count = {name: state[_AGE] + 1 for name, state in states.items()} if rule.counts else {}
        optim = {name: dict(state) for name, state in states.items()}
        old = dict(tensors)
        said = rule.update(tensors, grads, optim, count, self._signals(group, delta, reset, next(iter(old.values()))))
        for name, state in states.items():
            old[name].copy_(tensors[name])
            state.update(optim[name])
            if rule.counts:
                state[_AGE] = count[name]
        for p in group["params"]:  # frozen ones as well, which may be thawed later
            if self.state.get(p):
                self.state[p].update({own: optim[next(iter(optim))][own] for own in common})
        return said or {}

    def _signals(self, group: dict[str, Any], delta: Any, reset: bool | Tensor, like: Tensor) -> dict[str, Tensor]:
        if delta is None:
            return {}

        def tensor(value: Any, dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(value, dtype=dtype, device=like.device).detach().reshape(())

        decay = group[TRACE_DECAY]
        return {
            DELTA: tensor(delta, like.dtype),
            TRACE_DECAY: tensor(decay, like.dtype),
            ENDED: tensor(reset, torch.bool),
        }

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles have: torch's own leaves out what it does not know."""
        own = ("rule", "make", "said", "pulls")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Go on where the state was taken."""
        super().load_state_dict(dict(state_dict))
        saved = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        mine = chain.from_iterable(group["params"] for group in self.param_groups)
        for number, parameter in zip(saved, mine, strict=True):
            for name, value in state_dict["state"].get(number, {}).items():
                # torch has given it the parameter's type, in which 16 bits would not hold it
                if isinstance(value, Tensor) and value.dtype in (torch.float32, torch.int32):
                    self.state[parameter][name] = value.to(parameter.device, copy=True)
