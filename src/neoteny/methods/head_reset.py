"""Head reset: draw the last layers anew.

Nikishin, Schwarzer, D'Oro, Bacon & Courville, "The primacy bias in deep reinforcement learning", ICML 2022; set to zero
at each task of Continual ImageNet: Dohare et al., Nature 632, 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from neoteny.checks import require_count
from neoteny.errors import NetworkError
from neoteny.methods.base import Contract, Stage, Step, Tensors
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
        also: names of further modules that are drawn anew, which lead to no output, such as the `predictor` of a
            `neoteny.nn.PixelNetwork` that predicts itself.

    Raises:
        SettingError: fewer than 1 layer, a period below 1.
        NetworkError: there are fewer layers, nothing of them is trained, another module has their weights as well (a
            head tied to an embedding), or their weights come from a length and a direction (`weight_norm`).

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
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the settings."""
        require_count(self, "layers", least=1)
        super().__post_init__()

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(layers=2, period=5), cls(to="zero", keep_momentum=True)], [cls(period=10**6)]

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """No state; refuses layers that cannot be drawn anew."""
        found = max((_depth(network, tower) for tower in network.towers), default=self.layers)
        if found < self.layers:
            raise NetworkError(
                f"HeadReset: layers = {self.layers}, but with the head only {found} "
                f"{'layer leads' if found == 1 else 'layers lead'} to the output with gradients; give layers={found}."
            )
        unknown = next((module for module in self.also if not _trained(network, tensors, module)), None)
        if unknown is not None:
            raise NetworkError(
                f"HeadReset: also = {list(self.also)}, and nothing of {unknown!r} is trained here; give names of "
                "modules of the network, or leave it out."
            )
        names = self._names(network)
        shared = next((name for name in names if name in network.shared), None)
        if shared is not None:
            raise NetworkError(
                f"HeadReset: {shared} is {network.shared[shared]} as well, so a reset of the head would reset the "
                "other module, too; give the head weights of its own, or leave the method out."
            )
        length = next(
            (name for name in names if name.endswith(("weight_g", "parametrizations.weight.original1"))), None
        )
        if length is not None:
            raise NetworkError(
                f"HeadReset: the head computes its weight from a length and a direction, {length}, which cannot be "
                "drawn apart from each other; take weight_norm off the head, or leave the method out."
            )
        if not any(name in network.initialisers and name in tensors for name in names):
            raise NetworkError(
                f"HeadReset: nothing of the last {'layer' if self.layers == 1 else 'layers'} is trained "
                f"({', '.join(names) or 'no parameter makes the output'}); let the head's weights train, or leave the "
                "method out."
            )
        return {}

    def reset(self, step: Step, when: Tensor | None) -> None:
        """Reset where `when` is true; None: for certain."""
        names = self._names(step.network)
        reset_parameters(step, names, when, zero=self.to == "zero", momentum=not self.keep_momentum)
        if not self.keep_momentum:
            step.count_anew(names, when)

    def _names(self, network: Network) -> list[str]:
        """Names of the parameters that are drawn anew."""
        further = (name for module in self.also for name in _parameters(network, module))
        return list(dict.fromkeys([*last_layers(network, self.layers), *further]))


def last_layers(network: Network, layers: int) -> list[str]:
    """Names of the parameters of the last `layers` layers; the heads together count as one.

    Layers are counted back from each head along what leads to it: two Q-functions side by side have two towers.
    """
    names = dict.fromkeys(network.head)
    for tower in network.towers or (tuple(network.modules),):
        left = layers
        for own in (_parameters(network, module) for module in reversed(tower)):
            if left == 1 or not own or set(own) <= set(network.head):
                continue
            names.update(dict.fromkeys(own))
            if not set(own) <= set(network.norms):  # a norm belongs to the layer before it
                left -= 1
    return list(names)


def _depth(network: Network, tower: Sequence[str]) -> int:
    """How many layers of a tower there are, the head included."""
    layers = (set(_parameters(network, module)) for module in tower)
    return 1 + sum(bool(own) and not own <= {*network.head, *network.norms} for own in layers)


def _trained(network: Network, tensors: Tensors, module: str) -> bool:
    """Whether anything of a module can be drawn anew."""
    return any(name in tensors and name in network.initialisers for name in _parameters(network, module))


def _parameters(network: Network, module: str) -> tuple[str, ...]:
    """Of a module its own parameters; of one that is no layer that is known, all of it."""
    names = network.initialisers
    return network.modules.get(module) or tuple(n for n in names if n == module or n.startswith(f"{module}."))
