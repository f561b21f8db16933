"""The dynamic learner: what is learned is protected, what is not yet of use explores, each at its own pace.

Its three levels are weights, a step size for each weight, and which units there are. The first two are an optimizer
(`Autostep`, `IDBD`); the third is this method, which is put together of `Centring` and `Fringe`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import require_fraction
from neoteny.methods.base import Contract, Method, Step, Tensors
from neoteny.methods.centring import Centring
from neoteny.methods.fringe import Fringe

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network

__all__ = ["Dynamic"]


@dataclass(frozen=True, kw_only=True)
class Dynamic(Fringe):
    """Backbone and fringe (`Fringe`), and gradients as of centred inputs (`Centring`).

    With an optimizer that adapts a step size for each weight it has all three levels of a dynamic learner; with
    stochastic gradient descent it has weights and structure alone.

    Args:
        centring_rate: at which rate the centre of the inputs is followed; 0: inputs are not centred.
        replacement_rate: see `Fringe`, as all others.
        threshold: from which share of the mean utility on a unit is in the backbone.
        maturity: updates that a newborn has to show its use.
        decay_rate: of the utilities.
        protection: how much the backbone's gradients are reduced.

    Raises:
        SettingError: a setting outside its range.

    >>> import neoteny, torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(20, 40), torch.nn.ReLU(), torch.nn.Linear(40, 1))
    >>> optimizer = neoteny.optim.TorchOptimizer(net.parameters(), neoteny.optim.Autostep(step_size=0.04, mu=0.05))
    >>> handle = neoteny.attach(net, optimizer, neoteny.Dynamic(), example_inputs=torch.zeros(1, 20))
    """

    name: ClassVar[str] = "dynamic"
    varies: ClassVar[tuple[str, ...]] = (*Fringe.varies, "centring_rate")
    reads_gradients: ClassVar[bool] = True
    memory: ClassVar[tuple[float, float]] = (0.1, 6.0)
    avoid: ClassVar[str] = (
        "On streams of a few thousand updates: no unit is replaced before it is older than the maturity. "
        "With parameters sharded over processes, unless the centring rate is 0."
    )

    centring_rate: float = 1e-4

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_fraction(self, "centring_rate")
        Centring(rate=self.centring_rate)

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        active = [cls(replacement_rate=0.2, threshold=2.0, maturity=2, centring_rate=0.1)]
        return active, [cls(replacement_rate=0, protection=0, centring_rate=0)]

    @property
    def centring(self) -> Centring:
        """The part that centres."""
        return Centring().bind({"rate": self.centring_rate})  # type: ignore[return-value]

    def inert(self) -> str | None:
        """Where neither part acts."""
        fringe, centring = super().inert(), self.centring.inert()
        return f"{fringe}; {centring}" if fringe and centring else None

    def excludes(self, other: Method) -> str | None:
        """What centring excludes, and its own parts."""
        if isinstance(other, Centring | Fringe):
            return "the dynamic learner centres and has a fringe itself"
        return self.centring.excludes(other)

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """The states of both parts: of units by layer, of centres by weight."""
        return super().init(network, tensors) | self.centring.init(network, tensors)

    def changes_besides(self, network: Network, tensors: Tensors) -> set[str]:
        """The biases that centring puts right."""
        return {matrix.biases[0] for matrix in self.centring.centred(network, tensors)}

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Centre, then protect."""
        return super().regularise(step, self.centring.regularise(step, state))

    def redirect(self, step: Step, state: Tensors, grads: Tensors) -> Tensors:
        """Both parts' maps, one after the other."""
        centred = self.centring.redirect(step, state, grads)
        return centred | self._protected(step, state, grads | centred)

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Put right the biases, then judge, promote, demote and replace."""
        return super().intervene(step, self.centring.intervene(step, state, due), due)
