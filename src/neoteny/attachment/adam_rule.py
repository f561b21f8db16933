"""What Adam makes of its moments at an age, and whether somebody's optimizer does just that.

An optimizer that keeps Adam's state need not make Adam's steps: ADOPT, LaProp and others do not. So those of other
packages, and classes derived from torch's, are tried out: a throw-away one makes some steps, and each is compared with
Adam's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neoteny.attachment.stand_in import StandIn, settings_of
from neoteny.units.counts import average_weight

__all__ = ["ADAMAX_FLOOR", "AdamState", "Scale", "adam_state", "makes_adams_steps"]

ADAMAX_FLOOR = 1e-18
"""Far below ε, and so that 0 / 0 is 0."""
_TORCHS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.Adamax)


class Scale(NamedTuple):
    """What Adam makes of its moments at an age t: it takes `factor` · m / (s + `floor`) off a parameter.

    s is sqrt(v), and for Adamax the running maximum itself.
    """

    age: Tensor
    factor: Tensor
    floor: Tensor

    @classmethod
    def at(cls, age: Tensor, group: Mapping[str, Any], adamax: bool) -> Scale:
        """For ages in updates, at least 1.

        >>> Scale.at(torch.tensor([1.0]), {"lr": 0.1, "betas": (0.9, 0.999), "eps": 0.0}, False).factor
        tensor([0.0316])
        """
        (beta1, beta2), lr = group["betas"], group["lr"]
        first = average_weight(beta1, age)
        if adamax:
            return cls(age, lr / first, torch.full_like(age, ADAMAX_FLOOR))
        root = average_weight(beta2, age).sqrt()
        return cls(age, lr * root / first, group["eps"] * root)

    def younger(self, other: Scale) -> Scale:
        """Entry by entry that of the lower age; broadcasts."""
        mine = self.age <= other.age
        return Scale(*(torch.where(mine, a, b) for a, b in zip(self, other, strict=True)))


class AdamState(NamedTuple):
    """Adam's state of a parameter.

    Attributes:
        step: updates so far.
        first: the first moment.
        second: the second moment, or Adamax's running maximum.
        rooted: whether the root of `second` is divided by.
    """

    step: Any
    first: Tensor
    second: Tensor
    rooted: bool


def adam_state(state: Mapping[str, Any], group: Mapping[str, Any]) -> AdamState | None:
    """Adam's state in what an optimizer keeps of a parameter; None where it is not there.

    >>> moments = {"step": 3, "exp_avg": torch.zeros(2), "exp_avg_sq": torch.ones(2)}
    >>> adam_state(moments, {"betas": (0.9, 0.999), "eps": 1e-8}).rooted
    True
    """
    name = "exp_inf" if "exp_inf" in state else "exp_avg_sq"
    if group.get("amsgrad") and name == "exp_avg_sq":
        name = "max_exp_avg_sq"
    first, second, step = state.get("exp_avg"), state.get(name), state.get("step", group.get("step"))
    if not isinstance(first, Tensor) or not isinstance(second, Tensor) or first.shape != second.shape:
        return None
    if step is None or len(group.get("betas", ())) != 2 or "eps" not in group:
        return None
    return AdamState(step, first, second, name != "exp_inf")


def makes_adams_steps(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer makes Adam's steps: torch's do; of others a throw-away one is compared with Adam.

    >>> makes_adams_steps(torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))]))
    True
    >>> makes_adams_steps(torch.optim.NAdam([torch.nn.Parameter(torch.zeros(2))]))
    False
    """
    if type(optimizer) in _TORCHS:
        return True
    return all(_tried(optimizer, group) for group in optimizer.param_groups if group["params"])


def _tried(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> bool:
    like = group["params"][0]
    generator = torch.Generator().manual_seed(0)
    shape = (4, 3, *[2] * like.dim())[: like.dim()]

    def noise() -> Tensor:
        return torch.randn(shape, generator=generator).to(like.device, like.dtype)

    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            settings = settings_of(group)
            stand_in = StandIn(optimizer, {**settings, "lr": _step_size(settings)}, noise())
            for number in range(12):  # RAdam's and others' first steps are not like the later ones
                if number == 6:
                    stand_in.grow_old()
                before = stand_in.parameter.detach().clone()
                stand_in.step(noise())
                stand_in.note_counts()
                if not _is_adams(stand_in, before):
                    return False
    except Exception:  # whatever somebody's optimizer raises: then it is not known to be Adam
        return False
    return True


def _is_adams(stand_in: StandIn, before: Tensor) -> bool:
    """Whether the step that was just made is Adam's, up to rounding."""
    group = stand_in.acting.param_groups[0]
    state = adam_state(stand_in.state(), group)
    if state is None:
        return False
    dtype = torch.promote_types(before.dtype, torch.float32)
    scale = Scale.at(torch.full((), float(state.step), dtype=dtype), group, not state.rooted)
    size = state.second.to(dtype).sqrt() if state.rooted else state.second.to(dtype)
    expected = scale.factor * state.first.to(dtype) / (size + scale.floor)
    taken = (before - stand_in.parameter).to(dtype)
    rounding = torch.finfo(before.dtype).eps * before.abs().to(dtype)
    decay = float(group.get("weight_decay") or 0.0) * float(group["lr"]) * before.to(dtype)
    room = 0.01 * expected.abs().max() + 2 * rounding
    return any(bool(((taken - expected - decayed).abs() <= room).all()) for decayed in (0 * decay, decay))


def _step_size(settings: Mapping[str, Any]) -> float:
    """The group's step size; some number where it is 0 just now."""
    given = float(settings.get("lr") or 0.0)
    return given if given > 0 and math.isfinite(given) else 1e-3
