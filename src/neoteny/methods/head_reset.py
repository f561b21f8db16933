"""Head reset: draw the last layers anew.

Nikishin, Schwarzer, D'Oro, Bacon & Courville, "The primacy bias in deep reinforcement learning", ICML 2022; set to zero
at each task of Continual ImageNet: Dohare et al., Nature 632, 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from neoteny.checks import require_choice, require_count
from neoteny.methods.base import Contract, Stage, Step
from neoteny.methods.shared.boundary import BoundaryReset, reset_parameters

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class HeadReset(BoundaryReset):
    """Draw the last `layers` layers anew, at every change of task or every `period` updates.

    Args:
        layers: how many of the last layers. The output layer with all its heads counts as one; then come each head's
            own layers. Norms belong to the layer in front of them.
        period: updates between two resets; None: at a change of task.
        to: `initialiser` draws weights and biases anew; `zero` sets them to 0, as Continual ImageNet does.
        keep_momentum: leave the optimizer's state alone, as Continual ImageNet does; otherwise it starts anew.

    Raises:
        SettingError: fewer than 1 layer, a period below 1.

    >>> HeadReset(to="zero", keep_momentum=True).layers
    1
    """

    name: ClassVar[str] = "head-reset"
    stage: ClassVar[Stage] = "reset"
    memory: ClassVar[tuple[float, float]] = (0.0, 4.0)
    avoid: ClassVar[str] = (
        "Where the output has to stay good through a change of task: right after a reset it is that of an untrained "
        "head. Where the first layers have lost their plasticity."
    )

    layers: int = 1
    to: Literal["initialiser", "zero"] = "initialiser"
    keep_momentum: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_count(self, "layers", least=1)
        super().__post_init__()
        require_choice(self, "to", ("initialiser", "zero"))

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(layers=2, period=5), cls(to="zero", keep_momentum=True)], [cls(period=10**6)]

    def reset(self, step: Step, when: Tensor | None) -> None:
        """Reset where `when` is true; None: for certain."""
        names = last_layers(step.network, self.layers)
        reset_parameters(step, names, when, zero=self.to == "zero", momentum=not self.keep_momentum)
        if not self.keep_momentum:
            step.count_anew(names, when)


def last_layers(network: Network, layers: int) -> list[str]:
    """Names of the parameters of the last `layers` layers; the heads together count as one.

    Layers are counted back from each head along what leads to it: two Q-functions side by side have two towers.
    """
    names = dict.fromkeys(network.head)
    for tower in network.towers or (tuple(network.modules),):
        left = layers
        for own in (network.modules[module] for module in reversed(tower) if module in network.modules):
            if left == 1 or set(own) <= set(network.head):
                continue
            names.update(dict.fromkeys(own))
            if not set(own) <= set(network.norms):  # a norm belongs to the layer before it
                left -= 1
    return list(names)
