"""Normalise-and-project: layer norms make the scale of the weights irrelevant, and a projection keeps it fixed.

Lyle, Zheng, Khetarpal, Martens, van Hasselt, Pascanu & Dabney, "Normalization and effective learning rates in
reinforcement learning", NeurIPS 2024, arXiv 2407.01800 (Section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import is_zero, require_count, require_nonnegative
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors
from neoteny.methods.shared.matrices import matrices, norms, whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from neoteny.methods.shared.schedule import Periodic
    from neoteny.nn.surgery.replacing import Place
    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class NormaliseAndProject(Method):
    """Put a layer norm in front of every nonlinearity, and keep weight matrices at their initial norm.

    In front of a layer norm the scale of a weight matrix W only changes the size of its gradient, which is proportional
    to 1/|W|: as weights grow, the effective step size shrinks. After each step, with W₀ and γ₀ from before the first
    step, the step size α and the decay λ,

        W ← W |W₀| / |W|           (Frobenius norm; every layer's weights)
        γ ← γ₀ + (1 - α λ) (γ - γ₀)    (gains and shifts of norms)

    Growing weights then no longer lower the effective step size, so give the step size a schedule. Biases, embeddings
    and parameters of no layer are left alone.

    `neoteny.prepare` puts a norm in front of each hidden activation that has none: `nn.LayerNorm` over the units, or
    for feature maps `nn.GroupNorm` of one group. A network in which all have one is taken as it is.

    Args:
        decay: λ, how fast gains and shifts go back to their initial values; 0 leaves them free.
        period: updates between two projections; more than 1 saves time and lets norms drift in between.
        head: also project the output layers.

    Raises:
        SettingError: a decay that is not a finite number >= 0, or a period below 1; while training, a weight matrix of
            which only a part is in this process.
        NetworkError: a hidden activation is called several times; see `neoteny.nn.surgery.replacing`.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, NormaliseAndProject(), torch.zeros(1, 3))[1]
    Sequential(
      (0): LayerNorm((8,), eps=1e-05, elementwise_affine=True, bias=True)
      (1): ReLU()
    )
    """

    name: ClassVar[str] = "normalise-and-project"
    stage: ClassVar[Stage] = "projection"
    varies: ClassVar[tuple[str, ...]] = ("decay",)
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"decay": (0.0, 1e-3, 1e-2, 1e-1)}
    memory: ClassVar[tuple[float, float]] = (0.0, 1.0)
    avoid: ClassVar[str] = (
        "With a constant step size that used to become effectively smaller as weights grew; give it a schedule. For "
        "layers that no norm follows and whose scale matters: leave out the head of a regression."
    )

    decay: float = 0.01
    period: int = 1
    head: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "decay")
        require_count(self, "period", least=1)

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(), cls(period=3, head=False)], [cls(decay=0, period=10**6)]

    def excludes(self, other: Method) -> str | None:
        """Not with a bound on single weights."""
        if other.name == "weight-clipping":
            return "clipping changes the norm that the weights are rescaled to"
        return None

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """A copy with norms in front of its activations; the network itself if all have one."""
        from torch import nn

        from neoteny.nn.surgery.replacing import layer_norm, replace_activations

        added: list[str] = []

        def change(old: nn.Module, place: Place) -> nn.Module:
            if any(read.kind == "norm" for read in place.reads):
                return old
            added.append(place.name)
            return nn.Sequential(layer_norm(place), old)

        changed = replace_activations(model, example_inputs, change, once=True)
        return changed if added else model

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<weight>/norm`: |W₀|, at least float32 `[]`; `<parameter>/initial`: γ₀."""
        state = {f"{name}/norm": _norm(tensors[name]) for name in self._projected(network, tensors)}
        state |= {f"{name}/initial": tensors[name].detach().clone() for name in norms(network, tensors)}
        return state

    def schedule(self, network: Network, seed: int) -> Periodic | None:
        """Every `period` steps, where that is more than one."""
        from neoteny.methods.shared.schedule import Periodic

        return Periodic(self.period) if self.period > 1 else None

    @property
    def acts_always(self) -> bool:
        """Whether the projection or the decay comes at every step."""
        return self.period == 1 or not is_zero(self.decay)

    def _projected(self, network: Network, tensors: Mapping[str, Tensor]) -> list[str]:
        return [
            matrix.name
            for matrix in matrices(network, tensors)
            if not matrix.embedding and (self.head or matrix.name not in network.head)
        ]

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Decay gains and shifts; where it is due, rescale the weights. Parameters without a gradient stay."""
        import torch

        if not is_zero(self.decay):
            for name in norms(step.network, step.tensors):
                if name in step.grads:
                    start = state[f"{name}/initial"]
                    kept = 1 - step.step_size_of(name) * self.decay
                    step.tensors[name] = start + kept * (step.tensors[name] - start)
        if self.period > 1 and due is None:
            return state
        for name in self._projected(step.network, step.tensors):
            if name in step.grads:
                weight = whole(self, step, name)
                norm = _norm(weight)
                factor = torch.where(norm > 0, state[f"{name}/norm"] / torch.where(norm > 0, norm, 1), 1)
                if due is not None:
                    factor = torch.where(due[0] > 0, factor, 1)
                step.tensors[name] = weight * factor.to(weight.dtype)
        return state


def _norm(weight: Tensor) -> Tensor:
    """The Frobenius norm, at least float32."""
    import torch

    return weight.detach().to(torch.promote_types(weight.dtype, torch.float32)).square().sum().sqrt()
