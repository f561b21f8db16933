"""Try out whether newborn weights take the first steps of a fresh network, with a throw-away optimizer.

What an optimizer keeps of a parameter may be made new entry by entry. What it keeps as one number for all of it (a
count of steps, a learnt step size, a norm) goes on. Whether that matters depends on its rule, so it is tried out: an
old stand-in of the user's optimizer gets some new rows, by the very code that makes units new; a fresh one gets the
same weights and the same gradients; and how far the new rows go in their first steps is compared.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from neoteny.attachment.bias_correction import AdamCorrection
from neoteny.attachment.distributed import Processes
from neoteny.attachment.fresh_state import declared_by, why_not
from neoteny.attachment.stand_in import StandIn, make_of, settings_of
from neoteny.attachment.user_network import UserNetwork
from neoteny.attachment.user_step import UserStep
from neoteny.errors import PlasticityWarning
from neoteny.units import random
from neoteny.units.initialise import Initialiser
from neoteny.units.records import Network, UnitLayer
from neoteny.units.slices import Slices

__all__ = ["FirstSteps", "first_steps", "warn_of_first_steps"]

_MOST = 2.001
"""By what factor first steps may differ: two, and rounding."""
_OLD, _ROWS, _NEW = 30, 8, 2
_LOOKS = (1, 2, 5)
_PASTS = ((1.0, 0.0), (0.2, 0.2))
"""The gradients that the old stand-in had, in two trials: how large their noise, and how large their direction. The
second shows a norm of gradients that is kept for a whole parameter, and a step size that is learnt from the way so far.
"""
_KNOWN: dict[tuple[Any, ...], FirstSteps] = {}


class FirstSteps(NamedTuple):
    """How the first steps of newborn rows compare with a fresh network's.

    Attributes:
        ratio: how many times as far they go, the worst of several looks.
        going_on: names of the numbers that are one for the whole parameter or group and go on.
        unknown: what of the state cannot be made new, and why; "" stands for all of it.
    """

    ratio: float = 1.0
    going_on: tuple[str, ...] = ()
    unknown: Mapping[str, str] = {}

    @property
    def size(self) -> float:
        """How far the ratio is from 1, on a logarithmic scale."""
        return abs(math.log(self.ratio)) if 0 < self.ratio < math.inf else math.inf


def warn_of_first_steps(user: UserNetwork, parameters: Iterable[str], whole: bool = False, stacklevel: int = 2) -> None:
    """Try out the optimizers of some parameters and warn of those under which newborns step otherwise than fresh ones.

    Optimizers of which a warning was given already are left out.

    Args:
        user: the network and its optimizers.
        parameters: names of those whose units will be made new.
        whole: whether they will be made new as a whole.
        stacklevel: the line that the warning points to, as `warnings.warn` counts from here.
    """
    groups, tried = user.groups(), set[tuple[Any, ...]]()
    worst: dict[type, tuple[FirstSteps, Mapping[str, Any]]] = {}
    for name in sorted(parameters):
        if name not in groups or not user.parameters[name].dim():
            continue
        optimizer, group = groups[name]
        outer, like, settings = user.outer(optimizer), user.parameters[name], settings_of(group)
        kind = (*make_of(outer), repr(settings), like.dim(), like.dtype, like.device, whole)
        if kind in tried or user.fresh_state.has_told(type(optimizer)):
            continue
        tried.add(kind)
        found = _tried_before(kind, outer, settings, like, whole)
        if found.unknown:
            user.fresh_state.tell(type(optimizer), found.unknown, stacklevel + 1)
        elif found.size > math.log(_MOST) and found.size > worst.get(type(outer), (FirstSteps(), {}))[0].size:
            worst[type(outer)] = found, settings
    for cls, (found, settings) in worst.items():
        has_betas, chooses = "betas" in settings, settings.get("newborn_step") == "initial"
        cure = "newborn_step='median'" if chooses else "torch.optim.AdamW"
        what = "the bias correction goes on" if has_betas else "its state goes on"
        new = "parameters" if whole else "units"
        names = f" ({', '.join(map(repr, found.going_on))})" if found.going_on else ""
        warnings.warn(
            f"{cls.__name__}: {what}{names} as if {new} that are made new were as old as the rest, so their first "
            f"steps are {found.ratio:.2g} times as large as in a fresh network; with {cure} they are as in "
            "a fresh network.",
            PlasticityWarning,
            stacklevel=stacklevel + 1,
        )


def _tried_before(
    kind: tuple[Any, ...], outer: Any, settings: Mapping[str, Any], like: Tensor, whole: bool
) -> FirstSteps:
    """The same for torch's optimizers, which are tried out once in a process."""
    if not kind[0].__module__.startswith("torch.optim"):
        return first_steps(outer, settings, like, whole)
    if kind not in _KNOWN:
        _KNOWN[kind] = first_steps(outer, settings, like, whole)
    return _KNOWN[kind]


def first_steps(original: Any, settings: Mapping[str, Any], like: Tensor, whole: bool = False) -> FirstSteps:
    """Compare the first steps of newborn rows with those under a fresh optimizer.

    Args:
        original: the optimizer.
        settings: of the parameter group.
        like: a parameter: type, device and number of dimensions matter.
        whole: whether the parameter is made new as a whole, not some rows.

    >>> weights = torch.zeros(3, 2, requires_grad=True)
    >>> first_steps(torch.optim.SGD([weights], 0.1), {"lr": 0.1, "momentum": 0.9}, weights).ratio
    1.0
    """
    settings = {**settings, "lr": _step_size(original, settings)} if settings.get("lr") is not None else settings
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = [_first_steps(original, settings, like, whole, *past) for past in _PASTS]
            return max(found, key=lambda one: one.size)
    except Exception as error:  # whatever somebody's optimizer raises
        says = hasattr(original, "newborn")
        return FirstSteps(unknown={} if says else {"": f"a fresh one gave {type(error).__name__} ({error})"})


def _first_steps(
    original: Any, settings: Mapping[str, Any], like: Tensor, whole: bool, noisy: float, steady: float
) -> FirstSteps:
    generator = torch.Generator().manual_seed(0)
    shape = (_ROWS, 6, *[2] * like.dim())[: like.dim()]

    def noise(scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=generator).mul_(scale).to(like.device, like.dtype)

    old, direction = _Old(original, settings, noise(0.3)), noise(steady)
    for number in range(_OLD):
        last = number == _OLD - 1
        old.step(direction + noise(noisy), old.renew_all if last and whole else old.renew_some if last else None)
        if number < 4:
            old.stand_in.note_counts()
        if number == 3:
            old.stand_in.grow_old()
    start = old.stand_in.parameter.detach().clone()
    fresh = StandIn(original, settings, start)
    ratios = []
    for number in range(1, max(_LOOKS) + 1):
        grad = noise()
        old.step(grad)
        fresh.step(grad)
        if number in _LOOKS:
            ratios.append(
                _ratio(*((one.parameter - start)[: None if whole else _NEW] for one in (old.stand_in, fresh)))
            )
    reasons = {name: why_not(value, shape) for name, value in old.stand_in.state().items()}
    says = declared_by(original, settings)
    unknown = {name: reason for name, reason in reasons.items() if reason is not None and name not in says}
    found = [FirstSteps(ratio, tuple(old.stand_in.going_on()), unknown) for ratio in ratios]
    # Some make no first step, so that any step is infinitely larger: a later look tells more.
    telling = [one for one in found if one.size < math.inf]
    worst = max(telling or found, key=lambda one: one.size)
    return worst if worst.size > math.log(_MOST) else max(found, key=lambda one: one.size)


class _Old:
    """A stand-in late in training, of whose rows some can be made new as methods make units new."""

    def __init__(self, original: Any, settings: Mapping[str, Any], weights: Tensor):
        self.stand_in = StandIn(original, settings, weights)
        module = nn.Module()
        module.weight = self.stand_in.parameter
        rows = Slices("weight", 0, tuple((row,) for row in range(_ROWS)))
        layer = UnitLayer("rows", _ROWS, (rows,), (), (), (), (), ())
        units = Network((layer,), {"weight": Initialiser("normal", 0.3)}, ())
        self.user = UserNetwork(module, [self.stand_in.outer], units, Processes(module, ()))
        self.adam = AdamCorrection(self.user)
        self.since = {"rows": torch.full((_ROWS,), 2**20, dtype=torch.int32, device=weights.device)}
        self.chosen = torch.arange(_ROWS, device=weights.device) < _NEW

    def step(self, grad: Tensor, renew: Callable[[UserStep], None] | None = None) -> None:
        """A step, after which Adam is corrected and something may be made new."""

        def after() -> None:
            self.since["rows"] += 1
            self.adam.correct(lambda: self.since, [self.stand_in.acting])
            if renew is not None:
                step = UserStep(self.user, {}, {}, self.since, random.key(0, grad.device))
                renew(step)
                step.finish()
                self.since = step.since

        self.stand_in.step(grad, after)

    def renew_some(self, step: UserStep) -> None:
        """Make some rows new."""
        step.make_new(self.user.network.layers[0], self.chosen, step.key, at_most=_NEW)
        self.adam.restart("rows", _NEW)

    def renew_all(self, step: UserStep) -> None:
        """Make the parameter new, as a head is, whose outputs are no units."""
        step.make_parameter_new("weight", step.drawn("weight", step.key).to(self.stand_in.parameter.dtype))


def _step_size(original: Any, settings: Mapping[str, Any]) -> Any:
    """The group's step size; some other number where it is 0 just now."""
    given = settings["lr"]
    return given if float(given) != 0 else getattr(original, "defaults", {}).get("lr") or 1e-3


def _ratio(mine: Tensor, theirs: Tensor) -> float:
    a, b = (float(torch.linalg.vector_norm(value.double())) for value in (mine, theirs))
    if a == b:
        return 1.0
    return a / b if b and math.isfinite(a) and math.isfinite(b) else math.inf
