"""Shrink and perturb, in the two meanings of the name.

Ash & Adams, "On warm-starting neural network training", NeurIPS 2020; at every step: Dohare et al., Nature 632, 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import is_zero, require_count, require_fraction, require_nonnegative
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.shared.schedule import Periodic
    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class ShrinkAndPerturb(Method):
    """Shrink the weights and add noise: at every step, or at a change of task.

    `when="every_step"` (Dohare et al.): coupled L2 in the optimizer, and noise on every parameter after each step,

        g ← g + λ θ,    then θ ← θ + σ ε,    ε ~ N(0, 1)

    `when="at_task"` (Ash & Adams), at a boundary, with the shrinkage factor s,

        θ ← s θ + p φ    φ fresh from the initialiser    (noise="initialiser"; p = 1 - s unless `perturb` is given)
        θ ← s θ + σ ε                                          (noise="normal"; the original)

    Args:
        when: `every_step` or `at_task`.
        weight_decay: λ of `every_step`.
        sigma: σ, standard deviation of the noise (unused with noise="initialiser").
        shrink: s of `at_task`, in [0, 1]; 1 with no noise changes nothing.
        perturb: p, how much of a fresh draw `at_task` adds; None: 1 - s. The authors' code has s = 0.4 and p = 0.1.
        noise: what `at_task` adds.
        interval: with N > 1, `every_step` adds noise of σ √N at every N-th step instead: the same variance in the long
            run with N times fewer random numbers, which take most of the time of a small network's step.
        statistics: at a change of task the running statistics of norms begin anew, as in the authors' code.
        norms: also decay and shrink the gains and shifts of norms towards 0, which otherwise only get the noise.
            (noise="initialiser" always shrinks them, towards their initial values.)

    Raises:
        SettingError: a setting outside its range.

    >>> ShrinkAndPerturb(weight_decay=1e-4, sigma=1e-5).when
    'every_step'
    """

    name: ClassVar[str] = "shrink-and-perturb"
    needs_examples: ClassVar[bool] = False
    stage: ClassVar[Stage] = "perturbation"
    varies: ClassVar[tuple[str, ...]] = ("weight_decay", "sigma", "shrink")
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"weight_decay": (1e-4, 1e-3, 1e-2), "sigma": (1e-5, 1e-3)}
    memory: ClassVar[tuple[float, float]] = (0.0, 6.0)
    avoid: ClassVar[str] = (
        "Where every prediction between two changes of task counts, as the noise always costs some accuracy; `at_task` "
        "where it is not known when the task changes."
    )

    when: Literal["every_step", "at_task"] = "every_step"
    weight_decay: float = 1e-4
    sigma: float = 1e-5
    shrink: float = 0.6
    perturb: float | None = None
    noise: Literal["initialiser", "normal"] = "initialiser"
    interval: int = 1
    statistics: bool = False
    norms: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "weight_decay", "sigma")
        require_fraction(self, "shrink", *(["perturb"] if self.perturb is not None else []))
        require_count(self, "interval", least=1)

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [
            cls(weight_decay=0.01, sigma=1e-3),
            cls(sigma=1e-3, interval=4),
            cls(when="at_task"),
            cls(when="at_task", shrink=0.4, perturb=0.1, statistics=True),
        ], [cls(weight_decay=0, sigma=0), cls(when="at_task", shrink=1)]

    def inert(self) -> str | None:
        """It neither shrinks nor perturbs."""
        if self.when == "every_step":
            return "weight_decay = sigma = 0, so no weight changes" if self.weight_decay == self.sigma == 0 else None
        added = self._share if self.noise == "initialiser" else self.sigma
        inactive = self.shrink == 1 and is_zero(added) and not self.statistics
        return "shrink = 1 and no noise, so no weight changes" if inactive else None

    @property
    def _share(self) -> Any:
        """How much of a fresh draw `at_task` adds."""
        return 1 - self.shrink if self.perturb is None else self.perturb

    @property
    def coupled_decay(self) -> float | None:
        """λ of `every_step`."""
        return self.weight_decay if self.when == "every_step" else 0.0

    @property
    def needs_tasks(self) -> bool:
        """With `when="at_task"`."""
        return self.when == "at_task"

    @property
    def starts_anew(self) -> bool:
        """At a change of task."""
        return self.when == "at_task"

    @property
    def acts_always(self) -> bool:
        """Whether there is noise at every single step."""
        return self.when == "every_step" and self.interval == 1

    def draws(self, network: Network, tensors: Tensors) -> int:
        """One for each weight, where there is noise at every step."""
        noisy = self.acts_always and not is_zero(self.sigma)
        return sum(tensors[name].numel() for name in network.initialisers if name in tensors) if noisy else 0

    def schedule(self, network: Network, seed: int) -> Periodic | None:
        """Every `interval` steps, where that is more than one."""
        from neoteny.methods.shared.schedule import Periodic

        return Periodic(self.interval) if self.when == "every_step" and self.interval > 1 else None

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """The L2 part of `every_step`."""
        if self.when == "every_step" and not is_zero(self.weight_decay):
            step.add_to_grads(step.trained(self.norms), step.tensors, self.weight_decay)
        return state

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """The noise of `every_step`."""
        if self.when == "every_step" and not is_zero(self.sigma):
            if self.interval == 1:
                step.perturb(self.sigma)
            elif due is not None:
                surely = step.due is not None  # the host knows that it is due
                step.perturb(self.sigma * self.interval**0.5 * (1 if surely else due[0] > 0))
        return state

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """All of `at_task`."""
        from neoteny.methods.shared.boundary import reset_statistics
        from neoteny.units.random import fold_in

        if self.when != "at_task":
            return state
        if self.statistics:
            reset_statistics(step)
        if self.noise == "normal":
            if not (isinstance(self.shrink, (int, float)) and self.shrink == 1):
                for name in step.parameters(self.norms):
                    step.tensors[name] = self.shrink * step.tensors[name]
            if not is_zero(self.sigma):
                step.perturb(self.sigma)
        elif not (isinstance(self.shrink, (int, float)) and self.shrink == 1 and is_zero(self._share)):
            for number, name in enumerate(step.parameters()):
                old, fresh = step.tensors[name], step.drawn(name, fold_in(step.key, number))
                step.tensors[name] = self.shrink * old + self._share * fresh.to(old.dtype)
        return state
