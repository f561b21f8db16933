"""Rules as the public code of Hare & Tortoise has them, where it differs from the paper (Lee et al., ICML 2024).

`generalisability` takes them for `authors_code`. Each has the name and the settings of the rule that it stands for.

Source: read in the authors' repository, `src/trainers/base.py` and the files beside it. What is not reproduced: each
test there also leaves the gradient of its loss behind; and self-distillation compares on the batch trained on, with the
student in training mode, instead of on past examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neoteny.methods.base import Method, Step, Tensors
from neoteny.methods.ema import EMA
from neoteny.methods.hare_and_tortoise import HareAndTortoise
from neoteny.methods.head_reset import HeadReset, last_layers
from neoteny.methods.redo import ReDo
from neoteny.methods.regenerative import L2Init
from neoteny.methods.self_distillation import SelfDistillation
from neoteny.methods.shared.schedule import Moments
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network

__all__ = [
    "DistilledByOutputs",
    "InitialHead",
    "InitialShare",
    "LastTensorInit",
    "ReturnsByEpoch",
    "as_published",
    "returns",
]


def as_published(method: Method, *, test_every: int, stages: Sequence[int], epochs: Sequence[int]) -> Method:
    """The rule of the public code in place of a method; the method itself, where they are alike or it has none such.

    Args:
        method: a system's method.
        test_every: steps between two tests.
        stages: steps of each stage.
        epochs: steps of an epoch of each stage.

    >>> as_published(ReDo(tau=0.1), test_every=50, stages=[1000], epochs=[20]).period
    50
    """
    settings = method.settings()
    if isinstance(method, L2Init):
        return LastTensorInit(**settings)
    if isinstance(method, SelfDistillation):
        return DistilledByOutputs(**settings)
    if isinstance(method, ShrinkAndPerturb):
        theirs = method.when == "at_task" and method.noise == "initialiser"
        ashs = method.perturb is not None or method.statistics
        return InitialShare(**settings) if theirs and not ashs else method
    if isinstance(method, HeadReset):
        theirs = method.period is None and method.to == "initialiser" and not method.also
        return InitialHead(**settings) if theirs else method
    if isinstance(method, HareAndTortoise):
        return ReturnsByEpoch(**{**settings, "shared_step": True, "moments": returns(stages, epochs)})
    if isinstance(method, ReDo):  # called by the test
        return ReDo(**{**settings, "period": test_every})
    return EMA(mu=method.mu, correct=False) if isinstance(method, EMA) else method


def returns(stages: Sequence[int], epochs: Sequence[int], every: int = 10) -> tuple[int, ...]:
    """The updates after which the hare goes back: after the epochs 0, 10, 20, ... of each stage.

    >>> returns([40, 60], [2, 3])
    (2, 22, 43, 73)
    """
    starts = [sum(stages[:stage]) for stage in range(len(stages))]
    return tuple(
        start + epoch
        for start, steps, length in zip(starts, stages, epochs, strict=True)
        for epoch in range(length, steps + 1, every * length)
    )


@dataclass(frozen=True, kw_only=True)
class LastTensorInit(L2Init):
    """L2-Init of the last parameter of the body and the last of the head alone, by the distance, not its square.

    The sum over the parameters is overwritten by each of them, so that the last remains: g ← g + λ (θ - θ₀) / |θ - θ₀|,
    0 at θ₀.
    """

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Pull the two tensors."""
        import torch

        body = [name for name in step.parameters() if name not in step.network.head]
        for name in filter(None, (next(reversed(part), None) for part in (body, step.network.head))):
            if f"{name}/initial" in state and name in step.grads:
                away = step.tensors[name] - state[f"{name}/initial"]
                length = torch.linalg.vector_norm(away)
                unit = away / torch.where(length > 0, length, torch.ones_like(length))
                step.grads[name] = step.grads[name] + self.strength * unit
        return state

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """Copies of all parameters, norms included: the body's last tensor may be a norm's shift."""
        return {f"{name}/initial": tensors[name].detach().clone() for name in network.initialisers if name in tensors}


@dataclass(frozen=True, kw_only=True)
class DistilledByOutputs(SelfDistillation):
    """Self-distillation whose distance is a mean over the outputs as well: C times weaker."""

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        return super()._distance(student, teacher) / student.shape[-1]


@dataclass(frozen=True, kw_only=True)
class InitialShare(ShrinkAndPerturb):
    """θ ← s θ + (1 - s) θ₀ with the initial weights θ₀ in place of a fresh draw; running statistics stay."""

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<parameter>/initial`: θ₀."""
        return {f"{name}/initial": tensors[name].detach().clone() for name in network.initialisers if name in tensors}

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """Shrink, and add."""
        for name in step.parameters():
            step.tensors[name] = self.shrink * step.tensors[name] + self._share * state[f"{name}/initial"]
        return state


@dataclass(frozen=True, kw_only=True)
class InitialHead(HeadReset):
    """The head goes back to its initial weights in place of a fresh draw."""

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<parameter>/initial` of the head."""
        names = [name for name in last_layers(network, self.layers) if name in tensors]
        return {f"{name}/initial": tensors[name].detach().clone() for name in names}

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """Set it back."""
        for name in last_layers(step.network, self.layers):
            if f"{name}/initial" in state:
                step.make_parameter_new(name, state[f"{name}/initial"], momentum=not self.keep_momentum)
        return state


@dataclass(frozen=True, kw_only=True)
class ReturnsByEpoch(HareAndTortoise):
    """Hare & Tortoise whose hare goes back after the first epoch of a stage, and after every tenth from there on.

    Args:
        moments: the updates after which it does.
    """

    moments: tuple[int, ...] = ()

    def schedule(self, network: Network, seed: int) -> Moments:  # type: ignore[override]
        """One column: 1 at the moments."""
        return Moments(self.moments)

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """Nothing happens between the stages."""
        return state
