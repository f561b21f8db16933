"""ReGraMa: reset the units that the gradient hardly reaches.

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
    """Every so many updates, make the units new again whose incoming weights get hardly any gradient.

    With the gradient of the last batch's loss by the weights w_in that feed a unit (a kernel's as a whole, and of
    several tensors all entries together), unit i of a layer scores

        G_i = mean|∂L/∂w_in,i| / (mean over the layer of mean|∂L/∂w_in| + 1e-9)

    and is inactive where G_i <= τ. Inactive units get incoming weights from the initialiser, bias 0, outgoing weights
    0 and newborn norms, and the optimizer's state of these entries starts anew. Layers without a gradient, those of a
    head that is not in use, are left alone.

    Eq. 2 writes |∇_h L(x)|, by the unit's activation and averaged over single examples; the authors' code, which this
    follows, takes the gradient that backpropagation leaves at the weights, of the whole batch.

    Args:
        tau: τ; 0 catches only the units that no gradient reached at all.
        period: updates between two resets.
        norms: also give the entries of norms, each norm by itself, such a score from the gradient of its gain, and put
            the inactive ones back to gain 1 and shift 0, as the authors' code does with LayerNorms; in the paper's
            Algorithm 1 norms do not occur.

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
        "With batches of a few examples: a ReLU unit that is closed on all of them gets no gradient, and is reset "
        "although it may fire on the next ones. With a strong L2 among the regularisers, whose gradient it takes for "
        "activity in the laboratory."
    )

    tau: float = 0.01
    norms: bool = False

    @classmethod
    def contract(cls) -> Contract:
        """Active and still ones, for `neoteny.testing`."""
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
        """Gain and shift of one norm, in the entries whose gain gets hardly any gradient."""
        import torch

        gradient = step.grads[names[0]].abs()
        chosen = (gradient / (gradient.mean() + 1e-9) <= self.tau) & when
        for name in names:
            old = step.tensors[name]
            step.tensors[name] = torch.where(chosen, step.network.initialisers[name].scale, old)
            step.make_state_new(name, chosen)
