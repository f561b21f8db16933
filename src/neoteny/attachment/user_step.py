"""A step of a user's network as the rules see it, and how what they replace is written back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from neoteny.attachment.distributed import local
from neoteny.attachment.kernels import serves
from neoteny.attachment.user_network import UserNetwork
from neoteny.methods.base import Step, Tensors
from neoteny.units.activations import Activations
from neoteny.units.noise import at_once, normals, perturb
from neoteny.units.random import eager, fold_in
from neoteny.units.records import UnitLayer
from neoteny.units.reset import slices_of
from neoteny.units.rewrite import make_new_in_place
from neoteny.units.slices import Slices

__all__ = ["UserStep"]

_Held = TypeVar("_Held")


class UserStep(Step):
    """A step of a user's network. What rules replace is written back by `finish`; units are made new in place.

    Args:
        user: the network and its optimizers.
        grads: gradients, by name, or what gives them.
        features: what units did, by layer.
        since: updates since each unit was made new, by layer, or what gives them.
        key: random key.
        skipped: bool `[]` on the device, whether the optimizer left out this step: then nothing is changed.

    Attributes:
        skipped: as given.
        made: for each layer that was acted on the mask of its units that were made new, and how many at most.
    """

    def __init__(
        self,
        user: UserNetwork,
        grads: Tensors | Callable[[], Tensors],
        features: Mapping[str, Activations],
        since: Tensors | Callable[[], Tensors],
        key: Tensor,
        skipped: Tensor | None = None,
    ):
        self._own = user.tensors()
        self._optim: dict[str, Tensors] | None = None
        self._optim_before: dict[str, Tensors] = {}
        self._user, self.skipped = user, skipped
        self._drawn: Tensor | None = None
        self._sizes: dict[str, float | Tensor] | None = None
        self._folded: tuple[Tensor, tuple[int, ...]] = (key, ())
        self.made: dict[str, tuple[Tensor, int]] = {}
        # Not by the base's constructor: a small network's step would notice.
        self.network, self.tensors, self.newborn = user.network, dict(self._own), user.fresh_state
        self.features, self.slow = features, {}
        self.grads = grads  # pyright: ignore[reportIncompatibleVariableOverride] - the setter takes both
        self.since = since  # pyright: ignore[reportIncompatibleVariableOverride] - likewise

    @property
    def step_size(self) -> float | Tensor:
        """The step size of the first parameters; asked of the optimizer only where a rule asks for it."""
        return _step_size(self._user.optimizers[0].param_groups[0])

    @step_size.setter
    def step_size(self, value: float | Tensor) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        assert not value  # the optimizers hold it, so it cannot be set

    @property
    def step_sizes(self) -> Mapping[str, float | Tensor]:
        """The step size of every parameter."""
        if self._sizes is None:
            self._sizes = {name: _step_size(group) for name, (_, group) in self._user.groups().items()}
        return self._sizes

    @step_sizes.setter
    def step_sizes(self, value: Mapping[str, Any]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        assert not value

    def fold(self, root: Tensor, *numbers: int) -> None:
        """Set the key to these numbers, folded into a root one after the other. It is computed when a rule asks for it.

        Most rules never draw, and a key costs as much as a small network's step.
        """
        self._folded, self._drawn = (root, numbers), None

    def normals(self, count: int) -> Tensor:
        """Standard normal numbers, without a key that is computed only for them."""
        root, numbers = self._folded if self._drawn is None else (self._drawn, ())
        return normals(root, count, numbers)[0]

    @property
    def key(self) -> Tensor:
        """The random key."""
        if self._drawn is None:
            root, numbers = self._folded
            self._drawn = functools.reduce(fold_in, numbers, root)
        return self._drawn

    @key.setter
    def key(self, value: Tensor) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._drawn = value

    @property
    def optim(self) -> dict[str, Tensors]:
        """The optimizers' state, by parameter and name; put together only where a rule asks for it."""
        if self._optim is None:
            self._optim = {}
            for name in self._user.parameters:
                state = self._user.state(name)
                if state:
                    self._optim[name] = {key: local(v) for key, v in state.items() if isinstance(v, Tensor)}
                    if isinstance(state.get("step"), (int, float)):
                        self._optim[name]["step"] = torch.tensor(state["step"])
            self._optim_before = {name: dict(state) for name, state in self._optim.items()}
        return self._optim

    @optim.setter
    def optim(self, value: dict[str, Tensors]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        assert not value  # the optimizers hold it, so it cannot be set

    def moved(self, averages: list[Tensor], towards: list[Tensor], share: float | Tensor) -> list[Tensor]:
        """In place, unless only the device knows whether the step counts."""
        if self.skipped is not None or isinstance(share, Tensor) or not averages or not eager():
            return super().moved(averages, towards, share)
        torch._foreach_lerp_(averages, towards, share)  # pyright: ignore[reportPrivateImportUsage]
        return averages

    def move(self, names: Sequence[str], ways: list[Tensor], factor: float | Tensor) -> None:
        """In place, where nothing but the host decides whether the step counts."""
        if not isinstance(factor, Tensor) and (own := self._writable(names)):
            torch._foreach_add_(own, ways, alpha=factor)  # pyright: ignore[reportPrivateImportUsage]
        else:
            super().move(names, ways, factor)

    def clip(self, names: Sequence[str], bounds: list[float]) -> None:
        """In place likewise."""
        if all([isinstance(bound, float) for bound in bounds]) and (own := self._writable(names)):
            torch._foreach_clamp_max_(own, bounds)  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_clamp_min_(own, [-bound for bound in bounds])  # pyright: ignore[reportPrivateImportUsage]
        else:
            super().clip(names, bounds)

    def perturb(self, sigma: float | Tensor) -> None:
        """In place likewise, by one call of a kernel where it serves."""
        root, numbers = self._folded if self._drawn is None else (self._drawn, ())
        if not (isinstance(sigma, Tensor) or self._user.parts) and at_once(root):
            own = self._writable(self.parameters())
            if own and all(map(serves, own)):
                perturb(root, numbers, own, sigma)
                return
        super().perturb(sigma)

    def _writable(self, names: Sequence[str]) -> list[Tensor]:
        """The network's own tensors, as rules have left them so far; none where they may not be written to yet."""
        if self.skipped is not None or not eager() or not self._user.frozen.isdisjoint(names):
            return []
        self._write_back(names)
        return [self._own[name] for name in names]

    @property
    def grads(self) -> Tensors:
        """Gradients by name; looked at only where a rule asks for them."""
        if self._grads is None:
            self._grads = self._find_grads()
        return self._grads

    @grads.setter
    def grads(self, value: Tensors | Callable[[], Tensors]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._grads, self._find_grads = (None, value) if callable(value) else (value, dict)

    @property
    def since(self) -> Tensors:
        """Updates since each unit was made new; looked at only where a rule asks for them."""
        if self._since is None:
            self._since_before = self._find_since()
            self._since = dict(self._since_before)
        return self._since

    @since.setter
    def since(self, value: Tensors | Callable[[], Tensors]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._since, self._since_before = None, {}
        self._find_since = value if callable(value) else lambda: value

    def once(self, what: str, make: Callable[[], _Held]) -> _Held:
        """Remembered until the user changes the network."""
        if what not in self._user.made_once:
            self._user.made_once[what] = make()
        return self._user.made_once[what]

    def layers(self) -> Iterator[tuple[int, UnitLayer]]:
        """The unit layers of which nothing is frozen now, each with its place in the network."""
        return ((place, layer) for place, layer in super().layers() if layer.name not in self._user.resting)

    def parameters(self, norms: bool = True) -> list[str]:
        """Names of the network's parameters that are not frozen now."""
        own, frozen = super().parameters, self._user.frozen
        return self.once(f"parameters, {norms}", lambda: [name for name in own(norms) if name not in frozen])

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a whole parameter."""
        part = self._user.parts.get(name)
        return super().shape(name) if part is None else part.shape

    def part(self, name: str, value: Tensor) -> Tensor:
        """The part of a parameter that is here."""
        part = self._user.parts.get(name)
        return value if part is None else part.of(value, self.tensors[name])

    def gradient_of(self, function: Callable[..., Tensor], *given: Tensors) -> tuple[Tensors, ...]:
        """The gradient by ordinary differentiation, as the user's own loss has it: any code may be in the network."""
        with torch.enable_grad():
            leaves = [{name: value.detach().requires_grad_() for name, value in tensors.items()} for tensors in given]
            value = function(*leaves)
        flat = [leaf for tensors in leaves for leaf in tensors.values()]
        found = (
            torch.autograd.grad(value, flat, materialize_grads=True)
            if value.requires_grad
            else map(torch.zeros_like, flat)
        )
        grads = iter(found)
        return tuple({name: next(grads) for name in tensors} for tensors in leaves)

    def magnitudes(self, which: Literal["incoming", "outgoing"]) -> Tensors:
        """Sums of |w|; over all shards where parameters are sharded."""
        if not self._user.parts:
            return super().magnitudes(which)
        found, sums = self.network.layers, []
        for layer in found:
            dtype = torch.promote_types(self.tensors[layer.incoming[0].name].dtype, torch.float32)
            slices = layer.incoming if which == "incoming" else layer.outgoing
            sums.append(torch.stack([self._magnitude_here(part, dtype) for part in slices]).sum(0))
        added = self._user.processes.add_up_shards(sums)
        return {layer.name: value for layer, value in zip(found, added, strict=True)}

    def _magnitude_here(self, slices: Slices, dtype: torch.dtype) -> Tensor:
        size, part = self.tensors[slices.name].to(dtype).abs(), self._user.parts.get(slices.name)
        if part is None:
            return slices.total(size if self._user.processes.holds_copies() else torch.zeros_like(size))
        if slices.groups > 1:
            return slices.total(_laid_into(size.new_zeros(part.shape), size, part.start))
        others = [dim for dim in range(size.dim()) if dim != slices.dim]
        along = size.sum(others) if others else size
        along = _laid_into(along.new_zeros(part.shape[slices.dim]), along, part.start[slices.dim :][:1])
        return self._user.along(slices).total(along)

    def surely_none(self, mask: Tensor) -> bool:
        """On a CPU the mask lies in the host's own memory."""
        return _seen_by_host(mask) and not mask.any()

    def known(self, value: Tensor) -> float | Tensor:
        """On a CPU the number lies in the host's own memory."""
        return value.item() if _seen_by_host(value) else value

    def make_new(
        self, layer: UnitLayer, chosen: Tensor, key: Tensor, shared_draw: bool = False, at_most: int | None = None
    ) -> None:
        """Make units new in place; nothing else is touched. A layer of which something is frozen stays as it is."""
        if layer.name in self._user.resting:
            return
        if self.skipped is not None:
            chosen = chosen & ~self.skipped
        if _seen_by_host(chosen):
            count = int(chosen.sum())
            if not count:
                return
            at_most = count if at_most is None else min(at_most, count)
        names = {slices.name for slices in slices_of(layer)}
        self._write_back(names)
        optim = {}
        for name in names & self._user.parameters.keys():
            state = self._user.state(name)
            self._user.fresh_state.check(name, state)
            optim[name] = {key: local(v) for key, v in state.items() if isinstance(v, Tensor)}
        make_new_in_place(
            layer,
            self.network,
            self._own,
            optim,
            chosen,
            key,
            shared_draw=shared_draw,
            newborn=self.newborn,
            at_most=at_most,
            parts=self._user.parts,
        )
        since = self.since
        since[layer.name] = since[layer.name].masked_fill(chosen, 0)
        before, count = self.made.get(layer.name, (torch.zeros_like(chosen), 0))
        self.made[layer.name] = before | chosen, count + (layer.size if at_most is None else at_most)

    def make_state_new(self, name: str, new: Tensor) -> None:
        """Let the optimizer's state begin anew for weights that were made new, which frozen ones never are."""
        if name in self._user.frozen:
            return
        self._user.fresh_state.check(name, self._user.state(name))
        super().make_state_new(name, new)

    def finish(self) -> Tensors:
        """Put into the network and its optimizers what the rules replaced, and leave everything else untouched.

        Returns:
            By layer, what `since` is where a rule replaced it.
        """
        self._write_back(self.tensors)
        found = {}
        for layer, old in self._since_before.items():
            if (new := self.since[layer]) is not old:
                found[layer] = self.since[layer] = self._unless_skipped(old, new)
                if layer not in self.made:  # by a reset of whole layers
                    self.made[layer] = found[layer] == 0, len(new)
        return found

    def _unless_skipped(self, old: Tensor, new: Tensor) -> Tensor:
        return new if self.skipped is None else torch.where(self.skipped, old, new)

    def _write_back(self, names: Iterable[str]) -> None:
        own, tensors, frozen = self._own, self.tensors, self._user.frozen
        changed = [name for name in names if name in own and tensors[name] is not own[name]]
        tensors.update({name: own[name] for name in frozen.intersection(changed)})
        changed = [name for name in changed if name not in frozen]
        if changed:
            olds = [own[name] for name in changed]
            news = [self._unless_skipped(own[name], tensors[name]) for name in changed]
            torch._foreach_copy_(olds, news)  # pyright: ignore[reportPrivateImportUsage]
            tensors.update(zip(changed, olds, strict=True))
        for name in names if self._optim else ():
            if name in own and name not in frozen:
                for key, new in self.optim.get(name, {}).items():
                    old = self._optim_before[name][key]
                    if new is not old:
                        self._write_state(name, key, old, self._unless_skipped(old, new))

    def _write_state(self, name: str, key: str, old: Tensor, new: Tensor) -> None:
        state = next(own for own in self._user.states(name) if key in own)
        if isinstance(state[key], Tensor):
            old.copy_(new)
            self.optim[name][key] = old
        else:  # a count of steps, a plain number
            state[key] = type(state[key])(new)
            self.optim[name][key] = self._optim_before[name][key] = new


def _seen_by_host(tensor: Tensor) -> bool:
    """Whether the host can look at it without asking a device, nor a trace, which has no values."""
    return tensor.device.type == "cpu" and eager()


def _step_size(group: Mapping[str, Any]) -> float | Tensor:
    given = group.get("lr")  # some choose it themselves (A2Grad, Adafactor)
    return 1.0 if given is None else given


def _laid_into(whole: Tensor, here: Tensor, start: Sequence[int]) -> Tensor:
    """`whole`, with what is here written into it from `start` on."""
    place = whole
    for dim, first in enumerate(start):
        place = place.narrow(dim, first, here.shape[dim])
    place.copy_(here)
    return whole
