"""ReDo: recycle dormant neurons.

Sokar, Agarwal, Castro & Evci, "The dormant neuron phenomenon in deep reinforcement learning", ICML 2023 (Definition 3.1
and Algorithm 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from neoteny.methods.base import Contract, Step, Tensors
from neoteny.methods.shared.unit_reset import InactiveReset


@dataclass(frozen=True, kw_only=True)
class ReDo(InactiveReset):
    """Every `period` updates, reset the dormant units: those that are hardly active.

    With the activations h of the last training batch (and of all positions, for feature maps), unit i of a layer scores

        s_i = mean|h_i| / (mean over the layer of mean|h| + 1e-9)

    and is dormant where s_i <= τ. Dormant units get incoming weights from the initialiser, bias 0 and outgoing weights
    0, and the optimizer's state of these entries starts anew. The biases of the next layer stay as they are: resetting
    them would make new dormant units.

    Args:
        tau: τ; with 0 only units that were zero on the whole batch are reset. The paper has 0.025, sometimes 0.1.
        period: updates between two resets.

    Raises:
        SettingError: τ below 0, a period below 1.

    >>> ReDo(tau=0.1, period=100)
    ReDo(tau=0.1, period=100)
    """

    name: ClassVar[str] = "redo"
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"tau": (0.0, 0.025, 0.1)}
    memory: ClassVar[tuple[float, float]] = (0.0, 4.0)
    avoid: ClassVar[str] = (
        "With batches of a few examples, on which many ReLU units are zero by chance; with activation functions that "
        "are never near zero, for which the score says little."
    )

    tau: float = 0.025

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(tau=0.9, period=4)], [cls(period=10**6)]

    @property
    def observes(self) -> frozenset[str]:
        """Mean |h|."""
        return frozenset({"mean_abs"})

    @classmethod
    def activity(cls, step: Step) -> Tensors:
        """Mean |h| over the batch and all positions."""
        return {name: seen.mean_abs() for name, seen in step.features.items()}
