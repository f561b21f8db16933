"""What a method is: a frozen record of settings, a rule of pure tensor functions, and a schedule known to the host.

A method is written once and called in two ways. `neoteny.attach` calls its rule from hooks of a user's optimizer, with
the network's own tensors. The laboratory calls the same rule inside a compiled graph, mapped over a stack of runs. So a
rule never writes into a tensor, never reads a value from the device, and no shape in it depends on data: it puts new
tensors into the `Step` and returns its new state. Settings named in `varies` may be 0-dimensional tensors there.
"""

from __future__ import annotations

import copy
import math
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from neoteny.kinds import Settings
from neoteny.notebook import table
from neoteny.units.newborn import NewbornState, put, zero

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from neoteny.units.activations import Activations
    from neoteny.units.records import Network, UnitLayer

Tensors = dict[str, "Tensor"]
Stage = Literal["architecture", "regulariser", "optimizer", "perturbation", "projection", "reset", "average"]
"""Where a method belongs among others; see `neoteny.methods.shared.order`."""
OnReference = Callable[[Tensors], "tuple[Tensor, Tensors]"]
"""The network on the reference batch as a function of its tensors; it gives the outputs and, by layer, the hidden
activations `[batch, units, positions]`. See `Step.on_reference`."""
Contract = tuple[Sequence["Method"], Sequence["Method"]]
"""What `Method.contract` declares: active methods, and inactive ones, of strength zero."""

_Made = TypeVar("_Made")
_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 100


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


class Schedule(Protocol):
    """When a method's resets are due, known on the host without looking at the device: one network's clock."""

    def take(self, steps: int) -> np.ndarray:
        """How much is due at each of the next optimizer steps, int `[steps, columns]`; all 0 where nothing is."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that changes, in plain numbers, lists and dicts."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        ...


@dataclass(frozen=True, kw_only=True)
class Method(Settings):
    """The base of every method: it does nothing at any of the places where a method may act.

    Subclasses are frozen dataclasses of settings, validated in `__post_init__`.
    """

    name: ClassVar[str] = ""
    varies: ClassVar[tuple[str, ...]] = ()
    """Numeric settings that may differ between the runs of a stack."""
    needs_units: ClassVar[bool] = False
    """Whether it has no effect on a network without hidden units."""
    needs_examples: ClassVar[bool] = True
    """Whether it must know more of the network than its parameters, their initialisation and which are of norms."""
    resets_units: ClassVar[bool] = False
    reads_gradients: ClassVar[bool] = False
    """Whether `intervene` reads `Step.grads`."""
    redirects: ClassVar[bool] = False
    """Whether `regularise` maps the gradients by `redirect`, which optimizers then follow wherever they lead."""
    needs_reference: ClassVar[bool] = False
    """Whether it needs the network on a reference batch, other than the one trained on (`Step.on_reference`)."""
    draws_before: ClassVar[bool] = False
    """Whether `regularise` takes the random numbers that `draws` announces, before the optimizer's step."""
    stage: ClassVar[Stage] = "regulariser"
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {}
    """Values of settings in `varies` to try when the method is tuned, in every combination."""
    memory: ClassVar[tuple[float, float]] = (0.0, 0.0)
    """What it keeps between steps, and what a step allocates in addition at most, both as multiples of the memory of
    the network's parameters. Memory that grows only with the number of units is not counted."""
    avoid: ClassVar[str] = ""
    """When not to use it."""

    @property
    def observes(self) -> frozenset[str]:
        """Which statistics it reads from `Step.features`, out of `neoteny.units.activations.STATISTICS`."""
        return frozenset()

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """The network as this method needs it, before an optimizer is made of its parameters; a copy if it differs."""
        return model

    @property
    def prepares(self) -> bool:
        """Whether it changes the network before training (`neoteny.prepare`)."""
        return type(self).prepare is not Method.prepare

    def excludes(self, other: Method) -> str | None:
        """Why this method and another one cannot act on one network; None where they can."""
        return None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """The state before the first step: tensors by name."""
        return {}

    def schedule(self, network: Network, seed: int) -> Schedule | None:
        """The clock of its resets; None for a method that acts in the same way at every step. `seed` is the run's."""
        return None

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Before the optimizer's step: may replace gradients. Returns the new state."""
        return state

    def redirect(self, step: Step, state: Tensors, grads: Tensors) -> Tensors:
        """The changed ones among gradients of anything that an optimizer follows: a linear map, with the new state.

        `regularise` applies it to the loss's gradients. It is applied to a prediction's gradients, too, and to those of
        the factors of the curvature, so that traces and step sizes are of the direction in which weights really go.
        """
        return {}

    def changes_besides(self, network: Network, tensors: Tensors) -> set[str]:
        """The parameters in which the rule changes entries of other units than those that it makes new."""
        return set()

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """After the optimizer's step: may replace parameters and optimizer state. Returns the new state.

        `due` is the schedule's row for this step, int `[columns]`, or None where the host knows that nothing is due.
        """
        return state

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """At a task boundary, before the new task's first step. Returns the new state."""
        return state

    def evaluated(self, tensors: Tensors, state: Tensors) -> Tensors:
        """The parameters and buffers with which the network is to be evaluated, in place of those that learn."""
        return tensors

    def draws(self, network: Network, tensors: Tensors) -> int:
        """How many standard normal numbers the method takes from `Step.key` at every step.

        `intervene` takes them, or `regularise` where `draws_before` says so.
        """
        return 0

    @property
    def needs_tasks(self) -> bool:
        """Whether with these settings it acts as it should only where it is told of changes of task."""
        return False

    @property
    def starts_anew(self) -> bool:
        """Whether it replaces whole parameters where it is due; target networks then begin as copies of them again."""
        return False

    @property
    def coupled_decay(self) -> float | None:
        """The strength of the coupled L2 on all parameters that `regularise` is; None if it is something else."""
        return 0.0 if type(self).regularise is Method.regularise else None

    @property
    def needs_loss(self) -> bool:
        """Whether it reads `Step.loss`, which a method that rides on a user's optimizer never sees."""
        return False

    @property
    def acts_always(self) -> bool:
        """Whether `intervene` does anything in a step in which nothing is due."""
        return type(self).intervene is not Method.intervene

    def bind(self, values: Mapping[str, Any]) -> Method:
        """The same method with some settings replaced by values that are not checked (tensors of one run)."""
        bound = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(bound, name, value)
        return bound

    def inert(self) -> str | None:
        """Why these settings never do anything, if that is so."""
        return None

    def settings(self) -> dict[str, Any]:
        """The settings as a plain dict."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def done(self, state: Tensors) -> str:
        """What it has done so far, in words, read from its state; "" where it keeps no count."""
        counts = [value for key, value in state.items() if key.endswith("/replaced")]
        return f"{sum(map(int, counts)):,} units replaced" if counts else ""

    def shown(self, settings: Mapping[str, Any]) -> str:
        """The class with some of its settings; long values are cut."""
        return f"{type(self).__name__}({', '.join(f'{key}={_SHORT.repr(value)}' for key, value in settings.items())})"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__repr__" not in vars(cls):  # else `dataclass` writes one that shows values of any length
            cls.__repr__ = Method.__repr__

    def __repr__(self) -> str:
        return self.shown(self.settings())

    def _repr_html_(self) -> str:
        return table(f"{type(self).__name__} ({self.name})", ("setting", "value"), self.settings().items())

    @classmethod
    def contract(cls) -> Contract:
        """What `neoteny.testing` tries: methods that act within ten updates, and inactive ones of strength zero."""
        return (), ()
