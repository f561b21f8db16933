"""Adam's bias correction, starting anew for units that are made new.

Adam divides its moments, which begin at 0, by 1 - β^t (Kingma & Ba, ICLR 2015, Algorithm 1). torch counts t once for a
whole parameter; a unit that was reset k updates ago has moments that are only k updates old, and dividing them by
1 - β^t makes its first step (1 - β₁) / sqrt(1 - β₂) times too large, 3.2 times with the usual β, and the next ones
still more.

Corrected are torch's Adam, AdamW (amsgrad, foreach, fused and capturable ones too) and Adamax, and optimizers of other
packages that were seen to make Adam's steps (`adam_rule.py`). What others do is measured in `newborn_trial.py`.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from neoteny.attachment.adam_rule import Scale, adam_state, makes_adams_steps
from neoteny.attachment.distributed import local
from neoteny.attachment.fused_correction import FusedCorrection
from neoteny.units.reset import slices_of
from neoteny.units.slices import Slices

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.attachment.user_network import UserNetwork

PRECISION = 1e-2
"""Entries whose correction would change a step by less than this share are left alone."""
_PIECE = 2**16


@functools.cache
def horizon(beta1: float, beta2: float, precision: float = PRECISION) -> int:
    """Updates after which the correction, sqrt(1 - β₂^t) / (1 - β₁^t), is 1 up to `precision`.

    >>> horizon(0.9, 0.999)
    3911
    """

    def after(beta: float, left: float) -> int:
        return 0 if beta <= 0 else math.ceil(math.log(left) / math.log(beta))

    return max(after(beta1, precision), after(beta2, 2 * precision))


class _Owner(NamedTuple):
    """Units that own entries of a parameter: which are young, and all scales."""

    slices: Slices
    units: Tensor | None
    scale: Scale


class AdamCorrection:
    """Corrects what Adam did to the entries of young units; does nothing with every other optimizer.

    How many young units a layer can have is known on the host, from how many were made new and when; only their rows
    are looked at. An entry that belongs to two units (the outgoing weight of one, the incoming of
    another) is as old as the younger one.

    Args:
        user: the network and its optimizers.
    """

    def __init__(self, user: UserNetwork):
        self._user = user
        self.now = 0
        self._counted: dict[str, int] = {}  # holds until an update
        self._counted_until: float = -1
        self._sizes = {layer.name: layer.size for layer in user.network.layers}
        self.young: dict[str, deque[tuple[int, int]]] = {layer.name: deque() for layer in user.network.layers}
        self._known: dict[int, bool] = {}  # by the identity of the optimizers, which do not change
        self._owners: dict[str, list[tuple[str, Slices]]] = {}
        for layer in user.network.layers:
            for slices in slices_of(layer):
                if slices.name in user.parameters:
                    self._owners.setdefault(slices.name, []).append((layer.name, slices))
        self._fused = FusedCorrection(user, self._owners)

    def restart(self, layer: str, count: int) -> None:
        """Say that up to `count` units of a layer were just made new."""
        if count and (last := self._horizon()):
            self.young[layer].append((self.now + last, count))
            self._counted_until = -1

    def count_anew(self, young: Mapping[str, Iterable[tuple[int, int]]]) -> None:
        """Take over, by layer, until which update how many units are young."""
        self.young.update({layer: deque(made) for layer, made in young.items()})
        self._counted_until = -1

    def correct(
        self,
        since: Callable[[], Mapping[str, Tensor]],
        stepped: Collection[torch.optim.Optimizer],
        skipped: Tensor | None = None,
        grads: Collection[str] | None = None,
        earlier: tuple[Mapping[str, Tensor], int] | None = None,
    ) -> None:
        """After a step of optimizers: correct it in place.

        Args:
            since: gives the updates since each unit was made new, this one included, by layer.
            stepped: the optimizers that made a step.
            skipped: bool `[]`, whether they left it out after all.
            grads: names of the parameters that had a gradient; None: those that have one.
            earlier: what `since` gives without some updates, and how many these are, where that is at hand.
        """
        self.now += 1
        young = self._count_young()
        acting = [optimizer for optimizer in stepped if self._is_adam(optimizer)] if young else []
        if not acting:
            return
        ages, last = earlier or (since(), 0)
        done = () if skipped is not None else self._fused.correct(acting, ages, last, young, self._horizon, grads)
        if len(done) < len(self._owners):
            self._correct_others(acting, since(), young, done, skipped, grads)

    @torch.no_grad()
    def _correct_others(
        self,
        acting: Collection[torch.optim.Optimizer],
        since: Mapping[str, Tensor],
        young: Mapping[str, int],
        done: Collection[str],
        skipped: Tensor | None,
        grads: Collection[str] | None,
    ) -> None:
        """The parameters that the kernel has not done."""
        groups, cache = self._user.groups(), {}
        ages = {layer: _youngest(since[layer], count) for layer, count in young.items()}
        for name, owners in self._owners.items():
            mine = [(layer, slices) for layer, slices in owners if layer in young]
            parameter = self._user.parameters[name]
            stays = parameter.grad is None if grads is None else name not in grads
            if name in done or not mine or stays or name not in groups:
                continue
            optimizer, group = groups[name]
            state = adam_state(self._user.state(name), group)
            if optimizer not in acting or state is None:
                continue
            here = local(parameter)
            total, known = _total(state.step, here)
            found = []
            for layer, slices in mine:
                key = (layer, id(group), known)
                if known is None or key not in cache:
                    age = torch.minimum(since[layer].to(total), total).clamp_min(1)
                    if skipped is not None:
                        age = torch.where(skipped, total, age)
                    cache[key] = Scale.at(age, group, not state.rooted)
                found.append(_Owner(slices, ages[layer], cache[key]))
            whole = Scale.at(total, group, not state.rooted)
            self._correct_one(name, here, local(state.first), local(state.second), state.rooted, whole, found)

    def _horizon(self) -> int:
        """The greatest age of a young unit; 0 where no optimizer is Adam."""
        groups = [group for one in self._user.optimizers if self._is_adam(one) for group in one.param_groups]
        return max((horizon(*map(float, group["betas"])) for group in groups), default=0)

    def _is_adam(self, optimizer: torch.optim.Optimizer) -> bool:
        known = self._known.get(id(optimizer))
        if known is None:
            known = self._known[id(optimizer)] = makes_adams_steps(optimizer)
        return known

    def _count_young(self) -> dict[str, int]:
        if self.now <= self._counted_until:
            return self._counted
        self._counted, self._counted_until = {}, math.inf
        for layer, made in self.young.items():
            while made and made[0][0] < self.now:
                made.popleft()
            if made:
                self._counted[layer] = min(sum(count for _, count in made), self._sizes[layer])
                self._counted_until = min(self._counted_until, made[0][0])
        return self._counted

    def _correct_one(
        self,
        name: str,
        parameter: Tensor,
        first: Tensor,
        second: Tensor,
        rooted: bool,
        whole: Scale,
        owners: list[_Owner],
    ) -> None:
        part = self._user.parts.get(name)
        shape = parameter if part is None else parameter.new_empty(()).expand(part.shape)

        def spread(owner: _Owner) -> Scale:
            scale = Scale(*(owner.slices.spread(a, shape, b) for a, b in zip(owner.scale, whole, strict=True)))
            return scale if part is None else Scale(*(part.of(value, parameter) for value in scale))

        if not all(_few(owner, shape, parameter) for owner in owners):
            scale = spread(owners[0])
            for owner in owners[1:]:
                scale = scale.younger(spread(owner))
            _correct_all(parameter, first, second, rooted, whole, scale)
            return
        done: list[tuple[int, Tensor]] = []
        for number, (slices, units, own) in enumerate(owners):
            assert units is not None
            dim, positions = slices.dim, slices.positions_of(units)
            flat, along = positions.flatten(), _along(slices.dim, parameter)
            scale = Scale(*(v[units].unsqueeze(1).expand(positions.shape).reshape(along) for v in own))
            for other in owners[:number] + owners[number + 1 :]:
                theirs = spread(other)
                if other.slices.dim == dim:
                    theirs = Scale(*(value.index_select(dim, flat) for value in theirs))
                scale = scale.younger(theirs)
            over, under = _change(first.index_select(dim, flat), second.index_select(dim, flat), rooted, whole, scale)
            change = over.div_(under)
            for before, places in done:
                shown = places.index_select(0, flat) if before == dim else places
                change.masked_fill_(shown.reshape(_along(before, change)), 0.0)
            if number + 1 < len(owners):
                done.append((dim, torch.zeros(parameter.shape[dim], dtype=torch.bool, device=flat.device)))
                done[-1][1][flat] = True
            parameter.index_add_(dim, flat, change.to(parameter.dtype))


def _along(dim: int, tensor: Tensor) -> list[int]:
    return [-1 if d == dim else 1 for d in range(tensor.dim())]


def _few(owner: _Owner, whole: Tensor, here: Tensor) -> bool:
    """Whether it pays to look at single rows, and they can be told: along one dimension that is here in full."""
    slices, units, _ = owner
    if units is None or slices.groups > 1 or whole.shape[slices.dim] != here.shape[slices.dim]:
        return False
    cost = 1 if slices.dim == 0 else 2  # of gathering what does not lie in one piece
    return 4 * cost * len(units) <= 3 * slices.size


def _correct_all(parameter: Tensor, first: Tensor, second: Tensor, rooted: bool, whole: Scale, scale: Scale) -> None:
    """All entries, on a CPU in pieces that stay in cache."""
    length = len(parameter)
    size = length if parameter.device.type != "cpu" else max(1, _PIECE * length // max(1, parameter.numel()))
    for start in range(0, length, size):
        rows = slice(start, start + size)
        own = Scale(*(value[rows] if value.shape[0] == length else value for value in scale))
        over, under = _change(first[rows], second[rows], rooted, whole, own)
        if parameter.dtype == over.dtype:
            parameter[rows].addcdiv_(over, under)
        else:
            parameter[rows].add_(over.div_(under))


def _youngest(since: Tensor, count: int) -> Tensor | None:
    """The units made new last, `[count]`; None for all."""
    return None if count >= len(since) else since.topk(count, largest=False).indices


def _total(step: Any, parameter: Tensor) -> tuple[Tensor, float | None]:
    """Updates of a whole parameter as a tensor on its device, and as a number where that asks nothing of the device."""
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    if isinstance(step, torch.Tensor) and step.device.type != "cpu":
        return local(step).to(parameter.device, dtype), None
    number = float(step)
    return torch.full((), number, dtype=dtype, device=parameter.device), number


def _change(first: Tensor, second: Tensor, rooted: bool, whole: Scale, own: Scale) -> tuple[Tensor, Tensor]:
    """U(t) - U(age) for every entry, where U is what Adam takes off, as a numerator and a denominator.

    With one division: m a / (s + b) - m c / (s + d) = m ((a - c) s + a d - c b) / (s (s + b + d) + b d).
    """
    dtype = whole.factor.dtype
    if own.factor.dim() > 2 and own.factor.shape[0] == 1:  # laid out: few numbers, and long inner loops over a kernel
        own = Scale(*(value.expand(1, *first.shape[1:]).contiguous() for value in own))
    size = second.to(dtype).sqrt() if rooted else second.to(dtype)
    crossed = whole.factor * own.floor - own.factor * whole.floor
    over = (size * (whole.factor - own.factor)).add_(crossed).mul_(first)
    under = (size + (whole.floor + own.floor)).mul_(size).add_(whole.floor * own.floor)
    return over, under
