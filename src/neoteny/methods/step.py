"""What a method sees of one optimizer step, and what it may do there."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from neoteny.notebook import table
from neoteny.units.newborn import NewbornState, put, zero

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.activations import Activations
    from neoteny.units.records import Network, UnitLayer

__all__ = ["OnReference", "Step", "Tensors"]

Tensors = dict[str, "Tensor"]
OnReference = Callable[[Tensors], "tuple[Tensor, Tensors]"]
"""The network on the reference batch as a function of its tensors; it gives the outputs and, by layer, the hidden
activations `[batch, units, positions]`. See `Step.on_reference`."""

_Made = TypeVar("_Made")


@dataclass
class Step:
    """One optimizer step of one network, as a method sees it. Methods replace entries of its dicts.

    Args:
        network: unit layers, initialisers, head (static).
        tensors: parameters and buffers by qualified name.
        grads: gradients of the trainable parameters that have one, by name.
        optim: the optimizer's state, by parameter and by name (`momentum_buffer`, `exp_avg`, ...).
        features: what the units did on the batch just trained on, by layer; only the statistics that `Method.observes`
            names are sure to be there.
        since: optimizer updates since each unit was last made new, int32 `[units]`, by layer; an optimizer with a bias
            correction counts from there.
        key: random key of this step and method, int32 `[2]`.
        step_size: the optimizer's step size.
        noise: normal numbers drawn ahead for this step and method, as many as its `draws`.
        step_sizes: step sizes of single parameters that differ from it, by name.
        due: the schedule's row as plain numbers, where the step is not compiled.
        newborn: what the optimizer's state holds for weights that are made new.
        slow: slow copies of tensors (target networks), by their name and the name of the tensor, where a learner of the
            laboratory has any.
        on_reference: the network on the reference batch, in evaluation mode, as a function of its tensors that
            `gradient_of` can differentiate; given where a method says `needs_reference`.
        loss: of the batch, `[]`; only in the laboratory, and there before the optimizer's step.
    """

    network: Network
    tensors: Tensors
    grads: Tensors
    optim: dict[str, Tensors]
    features: Mapping[str, Activations]
    since: Tensors
    key: Tensor
    step_size: float | Tensor = 0.0
    noise: Tensor | None = None
    step_sizes: Mapping[str, float | Tensor] = field(default_factory=dict)
    due: Sequence[int] | None = None
    on_reference: OnReference | None = None
    newborn: NewbornState = zero
    slow: Mapping[str, Tensors] = field(default_factory=dict)
    loss: Tensor | None = None

    def __repr__(self) -> str:
        units = sum(layer.size for layer in self.network.layers)
        return (
            f"{type(self).__name__}: {len(self.tensors)} tensors, {len(self.grads)} gradients, {units} units in "
            f"{len(self.network.layers)} layers"
        )

    def _repr_html_(self) -> str:
        optim = self.optim
        rows = [
            (name, list(value.shape), "yes" if name in self.grads else "no", ", ".join(optim.get(name, {})))
            for name, value in self.tensors.items()
        ]
        return table(repr(self), ("tensor", "shape", "gradient", "optimizer's state"), rows)

    def step_size_of(self, name: str) -> float | Tensor:
        """The step size of one parameter."""
        return self.step_sizes.get(name, self.step_size)

    def layers(self) -> Iterator[tuple[int, UnitLayer]]:
        """The unit layers that are being trained, each with its place in the network."""
        yield from enumerate(self.network.layers)

    def parameters(self, norms: bool = True) -> list[str]:
        """Names of the network's parameters, with or without the gains and shifts of norms."""
        left_out = () if norms else self.network.norms
        return [name for name in self.network.initialisers if name in self.tensors and name not in left_out]

    def trained(self, norms: bool = True) -> list[str]:
        """The same, without those that have no gradient: they are not being trained."""
        grads = self.grads
        return [name for name in self.parameters(norms) if name in grads]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a whole parameter, of which `tensors` may hold a part (a shard of it)."""
        return tuple(self.tensors[name].shape)

    def part(self, name: str, value: Tensor) -> Tensor:
        """Of a value of a whole parameter's shape the part that `tensors` holds."""
        return value

    def drawn(self, name: str, key: Tensor) -> Tensor:
        """New values for a parameter from its initialiser; of a sharded one the part that `tensors` holds."""
        return self.part(name, self.network.initialisers[name].draw(key, self.shape(name)))

    def once(self, what: str, make: Callable[[], _Made]) -> _Made:
        """What follows from the network's parameters and their shapes alone; remembered where steps share a network."""
        return make()

    def add_to_grads(self, names: Sequence[str], pulls: Mapping[str, Tensor], strength: float | Tensor) -> None:
        """Add strength · pull to the gradients of these parameters."""
        from neoteny.methods.shared import each

        grads = self.grads
        new = each.add([grads[name] for name in names], [pulls[name] for name in names], strength)
        grads.update(zip(names, new, strict=True))

    def decay(self, names: Sequence[str], strength: float | Tensor) -> None:
        """θ ← θ - α · strength · θ for these parameters, each with its step size α."""
        sizes = [self.step_size_of(name) for name in names]
        if all(isinstance(size, float) and size == sizes[0] for size in sizes):
            if names:
                self.move(names, [self.tensors[name] for name in names], -sizes[0] * strength)
        else:
            for name, size in zip(names, sizes, strict=True):
                self.tensors[name] = self.tensors[name] - size * strength * self.tensors[name]

    def move(self, names: Sequence[str], ways: list[Tensor], factor: float | Tensor) -> None:
        """θ ← θ + factor · way for these parameters; a user's own are written to."""
        from neoteny.methods.shared import each

        moved = each.add([self.tensors[name] for name in names], ways, factor)
        self.tensors.update(zip(names, moved, strict=True))

    def clip(self, names: Sequence[str], bounds: list[float]) -> None:
        """θ ← max(-b, min(b, θ)) for these parameters, each with its bound b; a user's own are written to."""
        from neoteny.methods.shared import each

        below = each.apply("clamp_max", [self.tensors[name] for name in names], bounds)
        clipped = each.apply("clamp_min", below, [-bound for bound in bounds])
        self.tensors.update(zip(names, clipped, strict=True))

    def noise_of_all(self) -> Tensors:
        """Standard normal numbers for every parameter, whole; the ones drawn ahead, where there are any.

        From one draw for all of them: a graph of many small draws compiles slowly.
        """
        shapes = self.once("shapes", lambda: {name: self.shape(name) for name in self.parameters()})
        sizes = list(map(math.prod, shapes.values()))
        drawn = self.normals(sum(sizes)) if self.noise is None else self.noise
        own = drawn.split_with_sizes(sizes)
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), own, strict=True)}

    def normals(self, count: int) -> Tensor:
        """Standard normal numbers by the key of this step and method, `[count]`."""
        from neoteny.units.noise import normals

        return normals(self.key, count)[0]

    def perturb(self, sigma: float | Tensor) -> None:
        """θ ← θ + σ · `noise_of_all` for every parameter; a user's own are written to."""
        from neoteny.methods.shared import each

        noise = {name: self.part(name, own) for name, own in self.noise_of_all().items()}
        ways = each.cast(list(noise.values()), [self.tensors[name] for name in noise])
        self.move(list(noise), ways, sigma)

    def moved(self, averages: list[Tensor], towards: list[Tensor], share: float | Tensor) -> list[Tensor]:
        """Tensors of a method's own state, each moved by a share of the way towards the other of its pair.

        Where the state is a single network's they are written to, and are what is returned.
        """
        from neoteny.methods.shared import each

        return each.lerp(averages, towards, share)

    def count_anew(self, names: Collection[str], when: Tensor | None) -> None:
        """Count from here for the units of layers that these parameters feed; `when` is as in `make_parameter_new`."""
        import torch

        for _, layer in self.layers():
            if layer.name in self.since and all(slices.name in names for slices in layer.incoming):
                since = self.since[layer.name]
                new = torch.zeros_like(since)
                self.since[layer.name] = new if when is None else torch.where(when, new, since)

    def magnitudes(self, which: Literal["incoming", "outgoing"]) -> Tensors:
        """Sum of |w| over the weights that feed each unit, or read it, `[units]`, at least float32, by layer."""
        import torch

        found = {}
        for layer in self.network.layers:
            dtype = torch.promote_types(self.tensors[layer.incoming[0].name].dtype, torch.float32)
            magnitude = layer.incoming_magnitude if which == "incoming" else layer.outgoing_magnitude
            found[layer.name] = magnitude(self.tensors, dtype)
        return found

    def gradient_of(self, function: Callable[..., Tensor], *given: Tensors) -> tuple[Tensors, ...]:
        """The gradient of a function of dicts of tensors, whose value is a number `[]`, by each of them."""
        import torch

        return torch.func.grad(function, argnums=tuple(range(len(given))))(*given)

    def surely_none(self, mask: Tensor) -> bool:
        """Whether the host sees, without asking a device, that a mask is nowhere True; in a graph it never does."""
        return False

    def known(self, value: Tensor) -> float | Tensor:
        """A number `[]` as the host's own, where it sees it without asking a device; in a graph it never does."""
        return value

    def make_new(
        self, layer: UnitLayer, chosen: Tensor, key: Tensor, shared_draw: bool = False, at_most: int | None = None
    ) -> None:
        """Make units of a layer new again in `tensors` and `optim`, and count from there (`units.reset.make_new`).

        Args:
            layer: the unit layer.
            chosen: bool mask of its units, `[units]`.
            key: random key of this reset.
            shared_draw: draw one row of weights for all chosen units: for where at most one is.
            at_most: how many are chosen at most, where the host knows; then as many rows are written, and no others.
        """
        import torch

        from neoteny.units.reset import make_new

        given = layer, self.network, self.tensors, self.optim, chosen, key
        make_new(*given, shared_draw=shared_draw, newborn=self.newborn)
        if layer.name in self.since:
            since = self.since[layer.name]
            self.since[layer.name] = torch.where(chosen, torch.zeros_like(since), since)

    def make_parameter_new(self, name: str, value: Tensor, when: Tensor | None = None, momentum: bool = True) -> None:
        """Replace a whole parameter and let the optimizer's state of it, its step count included, start anew.

        Args:
            name: the parameter.
            value: its new value.
            when: bool `[]`, whether to do it after all; None means yes.
            momentum: whether the optimizer's state is reset; False keeps it.
        """
        import torch

        old = self.tensors[name]
        new = torch.ones((), dtype=torch.bool, device=old.device) if when is None else when
        self.tensors[name] = put(old, new, value)
        if momentum:
            self.make_state_new(name, new)
            count = self.optim.get(name, {}).get("step")
            if count is not None:
                zeros = torch.zeros_like(count)
                self.optim[name]["step"] = zeros if when is None else torch.where(when, zeros, count)

    def make_state_new(self, name: str, new: Tensor) -> None:
        """Let the optimizer's state begin anew for weights that were made new.

        Args:
            name: the parameter; `tensors` has the new weights already.
            new: which entries, a bool mask that broadcasts against the parameter.
        """
        weight, state = self.tensors[name], self.optim.get(name, {})
        for key, old in state.items():
            if key != "step" and old.shape == weight.shape:
                state[key] = put(old, new, self.newborn(name, key, old, weight, lambda: new))
