"""ReGraMa: reset the units with the smallest gradients.

Liu, Wu, Obando-Ceron, Castro, Courville & Pan, "Measure gradients, not activations! Enhancing neuronal activity in deep
reinforcement learning", NeurIPS 2025, arXiv 2505.24061 (Eq. 2 and Algorithm 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.methods.base import Contract, Step, Tensors
from neoteny.methods.shared.unit_reset import InactiveReset, mean_gradients

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ReGraMa(InactiveReset):
    """Every `period` updates, reset the units whose incoming weights get hardly any gradient.

    With the gradient of the last batch's loss with respect to the weights w_in that feed a unit (all entries of a
    kernel, or of several tensors, together), unit i of a layer scores

        G_i = mean|∂L/∂w_in,i| / (mean over the layer of mean|∂L/∂w_in| + 1e-9)

    and is inactive where G_i <= τ. Inactive units get incoming weights from the initialiser, bias 0, outgoing weights
    0 and the initial values of norms; the optimizer's state of these entries starts anew. Layers without a gradient,
    such as those of a head that is not in use, are left alone.

    Eq. 2 writes |∇_h L(x)|, the gradient with respect to the unit's activation, averaged over single examples. The
    authors' code, which this follows, takes the gradient of the whole batch with respect to the weights.

    Args:
        tau: τ; with 0 only units without any gradient are reset.
        period: updates between two resets.
        norms: also score the entries of each norm in the same way, by the gradient of the gain, and reset the inactive
            ones to gain 1 and shift 0. The authors' code does so with LayerNorms; the paper's Algorithm 1 has no norms.

    Raises:
        SettingError: τ below 0, a period below 1.

    >>> ReGraMa(tau=0.01)
    ReGraMa(tau=0.01, period=1000, norms=False)
    """

    name: ClassVar[str] = "regrama"
    reads_gradients: ClassVar[bool] = True
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"tau": (0.0, 0.01, 0.1)}
    memory: ClassVar[tuple[float, float]] = (0.0, 4.0)
    avoid: ClassVar[str] = (
        "With batches of a few examples: a ReLU unit that is 0 on all of them gets no gradient, and is reset although "
        "it may be active on the next ones. With a strong L2: in the laboratory the gradients contain the part of "
        "the regularisers, which then counts as activity."
    )

    tau: float = 0.01
    norms: bool = False

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(tau=0.9, period=4)], [cls(period=10**6)]

    @classmethod
    def activity(cls, step: Step) -> Tensors:
        """Mean |gradient| over the weights that feed each unit."""
        return mean_gradients(step)

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Where it is due, score all units and reset the inactive ones; then, if asked to, entries of norms."""
        state = super().intervene(step, state, due)
        if self.norms and due is not None:
            for names in step.network.modules.values():
                if names and names[0] in step.network.norms and names[0] in step.grads:
                    self._reset_norm(step, names, due[0] > 0)
        return state

    def _reset_norm(self, step: Step, names: tuple[str, ...], when: Tensor) -> None:
        """Reset gain and shift of one norm, in the entries whose gain gets hardly any gradient."""
        import torch

        gradient = step.grads[names[0]].abs()
        chosen = (gradient / (gradient.mean() + 1e-9) <= self.tau) & when
        for name in names:
            old = step.tensors[name]
            step.tensors[name] = torch.where(chosen, step.network.initialisers[name].middle, old)
            step.make_state_new(name, chosen)
