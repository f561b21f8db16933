"""Weight clipping: keep every weight within a bound that depends on the fan-in of its layer.

Elsayed, Lan, Lyle & Mahmood, "Weight clipping for deep continual and reinforcement learning", RLC 2024, arXiv
2407.01704 (Algorithm 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_number, require
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors
from neoteny.methods.shared.matrices import matrices

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class WeightClipping(Method):
    """Clip every weight and bias of a layer to a multiple of the bound within which torch draws them.

    After each step, with ζ and the layer's fan-in n (inputs times positions of the kernel),

        w ← max(-ζ/√n, min(ζ/√n, w))

    1/√n is the bound of the uniform initial weights of `nn.Linear` and the convolutions; a bias has the bound of its
    layer. Norms, embeddings and parameters of no layer are left alone. The optimizer's state stays as it is.

    Args:
        zeta: ζ > 0; the paper tries 1 to 5. Initial weights from a wider range (Kaiming for ReLU: up to √6) are clipped
            at the first step. Infinity clips nothing.
        head: also clip the output layers.

    Raises:
        SettingError: a ζ that is not a number > 0.

    >>> WeightClipping(zeta=3)
    WeightClipping(zeta=3, head=True)
    """

    name: ClassVar[str] = "weight-clipping"
    stage: ClassVar[Stage] = "projection"
    varies: ClassVar[tuple[str, ...]] = ("zeta",)
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"zeta": (5.0, 3.0, 2.0, 1.0)}
    memory: ClassVar[tuple[float, float]] = (0.0, 2.0)
    avoid: ClassVar[str] = (
        "Where a task needs large weights: for outputs with a large range (leave out the head), or with initial "
        "weights outside the bound."
    )

    zeta: float = field(default=2.0, metadata={"accepts": (math.inf,)})
    head: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        require(self, "zeta", is_number(self.zeta) and self.zeta > 0, "a number > 0")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(zeta=0.8), cls(zeta=0.8, head=False)], [cls(zeta=math.inf)]

    def inert(self) -> str | None:
        """With an infinite bound nothing is clipped."""
        return "zeta is infinite, so no weight is clipped" if self.zeta == math.inf else None

    def excludes(self, other: Method) -> str | None:
        """Not with weights of a fixed norm."""
        if other.name == "normalise-and-project":
            return "rescaling a layer to its initial norm moves weights outside the bound again"
        return None

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Clip every layer's weights and biases that have a gradient."""
        sizes, grads = step.once("fan-in", lambda: _fan_in(step)), step.grads
        names = [n for n in sizes if n in grads and (self.head or n not in step.network.head)]
        step.clip(names, [self.zeta / math.sqrt(sizes[name]) for name in names])
        return state


def _fan_in(step: Step) -> dict[str, int]:
    """The fan-in of the layer of every weight and bias."""
    found = {}
    for matrix in matrices(step.network, step.tensors):
        if not matrix.embedding:
            shape = step.shape(matrix.name)
            fan_in = math.prod(shape) // shape[matrix.outputs if len(shape) == 2 else 0]
            found |= dict.fromkeys((matrix.name, *matrix.biases), fan_in)
    return found
