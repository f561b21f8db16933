"""The correction of young units' entries after Adam's step, of all parameters in one call of a kernel."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import repeat
from operator import attrgetter, is_
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neoteny.attachment.adam_rule import Scale, adam_state
from neoteny.attachment.kernels import fields, kernels, positions, serves, worthwhile
from neoteny.attachment.user_network import UserNetwork
from neoteny.units.slices import Slices

_shape, _grad = attrgetter("shape"), attrgetter("grad")
Owners = Mapping[str, Sequence[tuple[str, Slices]]]
"""By parameter, the layers whose units own entries of it, and where."""


class _Ages(ctypes.Structure):
    _fields_ = fields("since units young")


class _Owner(ctypes.Structure):
    _fields_ = fields("layer dim block positions")


class _Moments(ctypes.Structure):
    _fields_ = fields(
        "parameter first second updates factors floors known rows columns inner owners rooted",
        "step_size epsilon",
        "log_beta1 log_beta2",
    )


class FusedCorrection:
    """Corrects the parameters that the kernel takes as they lie.

    Args:
        user: the network and its optimizers.
        owners: whose units own entries of the parameters.
    """

    def __init__(self, user: UserNetwork, owners: Owners):
        self._user, self._owners = user, owners
        self._plan: _Plan | None = None

    def correct(
        self,
        acting: Sequence[torch.optim.Optimizer],
        since: Mapping[str, Tensor],
        last: int,
        young: Mapping[str, int],
        horizon: Callable[[], int],
        grads: Collection[str] | None = None,
    ) -> Collection[str]:
        """After a step, correct parameters in place.

        Args:
            acting: the optimizers that made a step of Adam's.
            since: updates since each unit was made new, by layer, without the `last` ones.
            last: updates that are yet to be added.
            young: how many units may be young, by layer.
            horizon: gives the greatest age at which they are.
            grads: names of the parameters that had a gradient; None: those that have one.

        Returns:
            The names of the parameters that are done.
        """
        user = self._user
        if user.parts or user.processes.several or (compiled := kernels()) is None:
            return ()
        plan = self._plan
        if plan is None or not plan.same(user, acting):
            plan = self._plan = _Plan(user, acting, self._owners, list(since))
        plan.tell(horizon, grads)
        if not plan.names or not plan.tell_ages(since, young):
            return ()
        compiled.neoteny_correct(len(since), plan.addresses[0], last, len(plan.names), *plan.addresses[1:])
        return plan.names


class _Adams(NamedTuple):
    """A parameter that the kernel takes, and the tensors in its optimizer's state, by their names there."""

    name: str
    parameter: Tensor
    group: dict[str, Any]
    state: dict[str, Any]
    kept: dict[str, Tensor]
    rooted: bool

    @classmethod
    def of(cls, name: str, parameter: Tensor, group: dict[str, Any], states: list[dict[str, Any]]) -> _Adams | None:
        """What Adam keeps of a parameter; None where the kernel does not take it."""
        found = adam_state(states[0], group) if len(states) == 1 else None
        if found is None or not isinstance(found.step, Tensor) or found.step.dim():
            return None
        if not all(map(serves, (parameter, found.first, found.second, found.step))):
            return None
        wanted = (found.first, found.second, found.step)
        kept = {key: value for own in wanted for key, value in states[0].items() if value is own}
        fits = len(kept) == 3 and found.first.shape == parameter.shape
        return cls(name, parameter, group, states[0], kept, found.rooted) if fits else None


class _Plan:
    """What stays the same from step to step: the parameters, their moments, and where units own entries of them."""

    def __init__(
        self, user: UserNetwork, acting: Sequence[torch.optim.Optimizer], owners: Owners, layers: Sequence[str]
    ):
        # Not the optimizers, whose hooks hold this.
        self._held = [(optimizer.state, list(optimizer.state.values())) for optimizer in acting]
        groups = user.groups()
        self._grouping = user.grouping
        self._adams: list[_Adams] = []
        for name, (optimizer, group) in groups.items():
            if optimizer in acting and all(s.groups == 1 and s.dim < 2 for _, s in owners.get(name, ())):
                adams = _Adams.of(name, user.parameters[name], group, user.states(name))
                if name in owners and adams is not None and optimizer.state.get(adams.parameter) is adams.state:
                    self._adams.append(adams)
        if not worthwhile(sum(adams.parameter.numel() for adams in self._adams)):
            self._adams = []
        self.names = [adams.name for adams in self._adams]
        self._parameters = [adams.parameter for adams in self._adams]
        self._shapes = list(map(_shape, self._parameters))
        self._states = [adams.state for adams in self._adams for _ in adams.kept]
        self._keys = [key for adams in self._adams for key in adams.kept]
        self._kept = [value for adams in self._adams for value in adams.kept.values()]
        self._tensors = self._parameters + self._kept
        self._groups = list({id(adams.group): adams.group for adams in self._adams}.values())
        self._young: Mapping[str, int] | None = None
        self._since: list[int] = []
        self._told: tuple[Any, ...] = ((), 0, [], [])
        self._scales: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}
        self._lay_out(user, owners, layers)

    def _lay_out(self, user: UserNetwork, owners: Owners, layers: Sequence[str]) -> None:
        found = [(adams, layer, slices) for adams in self._adams for layer, slices in owners[adams.name]]
        self._positions = [positions(slices) for _, _, slices in found]
        self._owners = (_Owner * len(found))()
        for owner, (adams, layer, slices), places in zip(self._owners, found, self._positions, strict=True):
            owner.layer, owner.block = layers.index(layer), slices.block
            owner.dim = slices.dim if adams.parameter.dim() > 1 else 1  # a vector is a row
            owner.positions = 0 if places is None else places.data_ptr()
        self._moments = (_Moments * len(self._adams))()
        for adams, told in zip(self._adams, self._moments, strict=True):
            shape = adams.parameter.shape
            told.rows, told.columns, *inner = (1, *shape) if len(shape) == 1 else shape
            told.inner, told.owners, told.rooted = math.prod(inner), len(owners[adams.name]), adams.rooted
        sizes = {layer.name: layer.size for layer in user.network.layers}
        self.ages = (_Ages * len(layers))()
        for name, ages in zip(layers, self.ages, strict=True):
            ages.units = sizes[name]
        self.addresses = tuple(map(ctypes.addressof, (self.ages, self._moments, self._owners)))

    def _settings(self) -> list[tuple[Any, ...]]:
        """What each group says now: step size, ε, both β, and whether it is AMSGrad."""
        return [
            (float(group["lr"]), float(group["eps"]), *map(float, group["betas"]), bool(group.get("amsgrad")))
            for group in self._groups
        ]

    def same(self, user: UserNetwork, acting: Sequence[torch.optim.Optimizer]) -> bool:
        """Whether everything is as it was when this was made; settings may be others."""
        user.look_at_groups()
        if user.grouping is not self._grouping or len(acting) != len(self._held):
            return False
        for optimizer, (state, held) in zip(acting, self._held, strict=True):
            if optimizer.state is not state or len(state) != len(held) or not all(map(is_, state.values(), held)):
                return False
        return (
            all(map(is_, map(dict.get, self._states, self._keys), self._kept))
            and list(map(_shape, self._parameters)) == self._shapes
            and all(map(Tensor.is_contiguous, self._parameters))
        )

    def tell_ages(self, since: Mapping[str, Tensor], young: Mapping[str, int]) -> bool:
        """Tell the kernel where the ages lie, and how many units may be young; False where it does not take them."""
        places = list(map(Tensor.data_ptr, since.values()))
        if young is not self._young or places != self._since:
            if not all(serves(ages, torch.int32) for ages in since.values()):
                return False
            self._young, self._since = young, places
            for name, place, ages in zip(since, places, self.ages, strict=True):
                ages.since, ages.young = place, young.get(name, 0)
        return True

    def tell(self, horizon: Callable[[], int], grads: Collection[str] | None) -> None:
        """Tell the kernel what has changed: where tensors lie, what has a gradient, settings.

        Args:
            horizon: gives the greatest age of young units.
            grads: names of the parameters that had a gradient; None: those that have one.
        """
        settings = self._settings()
        known = self._told[1] if settings == self._told[0] else horizon() + 1
        if grads is None:
            stays = list(map(is_, map(_grad, self._parameters), repeat(None)))
        else:
            stays = [name not in grads for name in self.names]
        places = list(map(Tensor.data_ptr, self._tensors))
        now = (settings, known, stays, places)
        if now == self._told:
            return
        self._told = now
        scales: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}
        of_group = {id(group): own for group, own in zip(self._groups, settings, strict=True)}
        count = len(self._adams)
        for number, (adams, told) in enumerate(zip(self._adams, self._moments, strict=True)):
            size, epsilon, beta1, beta2, _ = of_group[id(adams.group)]
            kind = (beta1, beta2, adams.rooted, known)
            if kind not in scales:
                scales[kind] = self._scales.get(kind) or _scales(*kind)
            told.factors, told.floors = (scale.data_ptr() for scale in scales[kind])
            told.known, told.parameter = known, places[number]
            told.first, told.second, told.updates = places[count + 3 * number : count + 3 * number + 3]
            if stays[number]:
                told.updates = 0
            told.step_size, told.epsilon = size, epsilon if adams.rooted else 1.0
            told.log_beta1, told.log_beta2 = (math.log(beta) if beta else -math.inf for beta in (beta1, beta2))
        self._scales = scales


def _scales(beta1: float, beta2: float, rooted: bool, known: int) -> tuple[Tensor, Tensor]:
    """`Scale.at` for all ages below `known`, for a step size and an ε of 1: factors and floors."""
    ages = torch.arange(known, dtype=torch.float64).clamp_min(1)
    scale = Scale.at(ages, {"lr": 1.0, "betas": (beta1, beta2), "eps": 1.0}, not rooted)
    return scale.factor.float(), scale.floor.float()
