"""DASH: at a change of task, shrink the weights that do not point along the negative gradient.

Shin, Oh, Cho & Yun, "DASH: warm-starting neural network training in stationary settings without loss of plasticity",
NeurIPS 2024, arXiv 2410.23495 (Algorithm 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import require_count, require_fraction
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.shared.schedule import Periodic
    from neoteny.units.records import Network

_LENGTH = 1e-8  # shorter vectors have no direction, such as the gradient of a bias that has no effect but rounding


@dataclass(frozen=True, kw_only=True)
class DASH(Method):
    """Direction-aware shrinking: weight vectors along the negative gradient stay, others shrink.

    A running mean G of the negative gradient is kept, G ← (1 - α) G - α g. At every change of task, or every `period`
    updates, each weight vector w is multiplied by its cosine with G, but by no less than λ:

        w ← w · max(λ, cos(w, G))        cos(w, G) = w · G / (max(|w|, 1e-8) max(|G|, 1e-8))

    A weight vector is a row of a matrix: the weights that feed a unit from one layer. In a convolution's kernel it is a
    filter: the weights from one map to another. A bias is one vector for its whole layer. Norms and the optimizer's
    state stay as they are, and so do parameters that have had no gradient yet.

    In the paper g are gradients at the weights of the boundary, one for each part of the data so far, the newest last.
    A network in training does not have these data any more: here g are the gradients of the batches that it trained on
    up to the boundary. With α = 0.3 about the last three count; take a smaller α for batches of few examples. (In the
    laboratory g contains what regularisers add.)

    Args:
        alpha: α in [0, 1], the share of the newest gradient. 0.3 in the authors' code.
        floor: λ in [0, 1]; 1 shrinks nothing. 0.3 in the authors' code.
        period: updates between two shrinkings; None: at a change of task.

    Raises:
        SettingError: α or λ outside [0, 1], a period below 1; weights of which this process holds only a part.

    >>> DASH(floor=0.1)
    DASH(alpha=0.3, floor=0.1, period=None)
    """

    name: ClassVar[str] = "dash"
    stage: ClassVar[Stage] = "perturbation"
    varies: ClassVar[tuple[str, ...]] = ("alpha", "floor")
    reads_gradients: ClassVar[bool] = True
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"alpha": (0.3, 0.01), "floor": (0.1, 0.3, 0.6)}
    memory: ClassVar[tuple[float, float]] = (1.0, 3.0)
    avoid: ClassVar[str] = (
        "Where the new task needs other weights than the old one: the gradients that decide are those of data already "
        "seen. With batches of one example the mean gradient is mostly noise unless alpha is small."
    )

    alpha: float = 0.3
    floor: float = 0.3
    period: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "alpha", "floor")
        if self.period is not None:
            require_count(self, "period", least=1)

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(), cls(alpha=0.5, floor=0.1, period=4)], [cls(floor=1), cls(alpha=0), cls(period=10**6)]

    def inert(self) -> str | None:
        """Nothing shrinks, or no gradient counts."""
        if self.alpha == 0:
            return "alpha = 0, so no gradient is known"
        return "floor = 1, so no weight shrinks" if self.floor == 1 else None

    @property
    def needs_tasks(self) -> bool:
        """Unless there is a period."""
        return self.period is None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<parameter>/downhill`: G, zero to begin with, in single precision at least."""
        import torch

        return {
            f"{name}/downhill": torch.zeros_like(
                tensors[name], dtype=torch.promote_types(tensors[name].dtype, torch.float32)
            )
            for name in network.initialisers
            if name in tensors and name not in network.norms
        }

    def schedule(self, network: Network, seed: int) -> Periodic | None:
        """One column: 1 at every `period`-th update."""
        from neoteny.methods.shared.schedule import Periodic

        return None if self.period is None else Periodic(self.period)

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Update the mean gradient, and shrink where it is due."""
        import torch

        state = dict(state)
        for name in step.trained(norms=False):
            mean = state[f"{name}/downhill"]
            state[f"{name}/downhill"] = (1 - self.alpha) * mean - self.alpha * step.grads[name].to(mean.dtype)
        if due is not None:
            for name, new in self._shrunk(step, state).items():
                step.tensors[name] = torch.where(due[0] > 0, new, step.tensors[name])
        return state

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """Shrink, unless it has a period of its own."""
        if self.period is None:
            step.tensors.update(self._shrunk(step, state))
        return state

    def _shrunk(self, step: Step, state: Tensors) -> Tensors:
        """Every parameter except those of norms, shrunk."""
        import torch

        from neoteny.methods.shared.matrices import whole

        shrunk = {}
        for name in step.parameters(norms=False):
            old, downhill = whole(self, step, name), state[f"{name}/downhill"]
            dims = vector_dims(old.dim())
            weights = old.to(downhill.dtype)
            product = (weights * downhill).sum(dims, keepdim=True)
            lengths = [v.square().sum(dims, keepdim=True).sqrt().clamp(min=_LENGTH) for v in (weights, downhill)]
            cosine = (product / (lengths[0] * lengths[1])).clamp(max=1.0)
            factor = torch.where(cosine > self.floor, cosine, self.floor)
            known = (downhill != 0).any()
            shrunk[name] = torch.where(known, old * factor.to(old.dtype), old)
        return shrunk


def vector_dims(dims: int) -> list[int]:
    """The dimensions that run along a weight vector, for a parameter of so many dimensions.

    >>> vector_dims(1), vector_dims(2), vector_dims(4)
    ([0], [1], [2, 3])
    """
    return list(range(min(dims, 3) - 1, dims))
