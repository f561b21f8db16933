"""SWR, selective weight reinitialisation: draw single weights of low utility anew.

Hernandez-Garcia, Dohare, Luo & Sutton, "Reinitializing weights vs units for maintaining plasticity in neural networks",
CoLLAs 2025 (PMLR 330), arXiv 2508.00212.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from neoteny.checks import is_zero, require, require_count, require_nonnegative
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.shared.schedule import Periodic
    from neoteny.units.records import Network

Selection = Literal["fraction", "threshold"]
Utility = Literal["gradient", "magnitude"]
Reinitialise = Literal["draw", "mean"]


@dataclass(frozen=True, kw_only=True)
class SelectiveReinitialisation(Method):
    """Every `period` updates, draw the single weights of lowest utility anew, in every tensor of the network.

    With a weight w after the step and its gradient g of the batch's loss, its utility is

        |w g|    (utility="gradient")        the change of the loss without this weight, to first order
        |w|      (utility="magnitude")

    In each tensor, biases and norms included, these weights are chosen:

        the n f of lowest utility, n being the number of its weights    (selection="fraction")
        those below f times the tensor's mean utility                   (selection="threshold")

    n f is rarely a whole number. So ⌊n f + U(0, 1)⌋ weights are chosen, drawn at every reset as the authors do; among
    equal ones the first. They are drawn anew from the tensor's initialiser, or set to its mean (reinitialise="mean"),
    which is 0, and 1 for the gain of a norm.

    The optimizer's momentum and moments of these weights become 0. Adam's count of steps is one number for a whole
    tensor and goes on, so with the usual β the first step of a new weight is up to (1 - β₁) / sqrt(1 - β₂) = 3.2 step
    sizes long. With the gradient's utility, tensors without a gradient are left alone. Each part of a tensor that is
    sharded over several processes counts as a tensor.

    Args:
        factor: f; at most 1 where it is a fraction.
        selection: how many are chosen, see above.
        utility: see above.
        reinitialise: what the chosen weights become, see above.
        period: updates between two resets. The paper has 2,048 with a factor of 1e-5 for permuted MNIST, 128 with 5e-4
            and the gradient's utility for a vision transformer on CIFAR-100.
        inclusive: with a threshold, also choose weights whose utility equals it, as the authors' code does; a tensor
            whose gradient is all 0 is then drawn anew as a whole.
        keep_momentum: leave the optimizer's state alone, as the authors' code does.

    Raises:
        SettingError: a setting outside its range.

    >>> SelectiveReinitialisation(factor=5e-4, period=128).selection
    'fraction'
    """

    name: ClassVar[str] = "swr"
    stage: ClassVar[Stage] = "reset"
    varies: ClassVar[tuple[str, ...]] = ("factor", "period")
    reads_gradients: ClassVar[bool] = True
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"factor": (1e-5, 1e-4, 1e-3), "period": (2048, 128)}
    memory: ClassVar[tuple[float, float]] = (0.0, 9.0)
    avoid: ClassVar[str] = (
        "With the gradient's utility where many inputs are always 0: their weights have utility 0, so they are chosen "
        "first at every reset. With Adam and short periods, as the first steps of new weights are too long."
    )

    factor: float = 1e-4
    selection: Selection = "fraction"
    utility: Utility = "gradient"
    reinitialise: Reinitialise = "draw"
    period: int = 128
    inclusive: bool = False
    keep_momentum: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "factor")
        require(self, "factor", self.selection == "threshold" or self.factor <= 1, "at most 1, as a fraction")
        require_count(self, "period", least=1)

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        active = [
            # few, so that none of an attention's key bias is chosen, whose gradient is only rounding error
            cls(factor=0.02, period=3),
            cls(factor=0.9, selection="threshold", utility="magnitude", reinitialise="mean", period=3),
            cls(factor=0.2, utility="magnitude", period=4, keep_momentum=True),
        ]
        return active, [cls(factor=0), cls(factor=0, selection="threshold", period=2), cls(period=10**6)]

    def inert(self) -> str | None:
        """Without a factor nothing is chosen."""
        inactive = self.factor == 0 and not (self.selection == "threshold" and self.inclusive)
        return "factor = 0, so no weight is made new" if inactive else None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """For each parameter `renewed`, int32 `[]`: weights drawn anew so far."""
        import torch

        return {
            f"{name}/renewed": torch.zeros((), dtype=torch.int32, device=tensors[name].device)
            for name in network.initialisers
            if name in tensors
        }

    def done(self, state: Tensors) -> str:
        """How many weights were made new."""
        return f"{sum(map(int, state.values())):,} weights made new"

    def schedule(self, network: Network, seed: int) -> Periodic:
        """One column: 1 at every `period`-th update."""
        from neoteny.methods.shared.schedule import Periodic

        return Periodic(int(self.period))

    @property
    def acts_always(self) -> bool:
        """Only where it is due."""
        return False

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Where it is due, draw weights of every tensor anew."""
        if due is None or (is_zero(self.factor) and not self.inclusive):
            return state
        import torch

        from neoteny.units.random import fold_in

        state = dict(state)
        for number, name in enumerate(step.parameters()):
            if self.utility == "gradient" and name not in step.grads:
                continue
            old, key = step.tensors[name], fold_in(step.key, number)
            utility = (old * step.grads[name] if self.utility == "gradient" else old).abs()
            chosen = self._chosen(utility, fold_in(key, 0)) & (due[0] > 0)
            step.tensors[name] = torch.where(chosen, self._new(step, name, fold_in(key, 1)), old)
            if not self.keep_momentum:
                step.make_state_new(name, chosen)
            state[f"{name}/renewed"] = state[f"{name}/renewed"] + chosen.sum(dtype=torch.int32)
        return state

    def _chosen(self, utility: Tensor, key: Tensor) -> Tensor:
        """Which weights of a tensor are drawn anew, a mask of its shape."""
        import torch

        from neoteny.units.random import uniform

        shape = utility.shape
        if self.selection == "threshold":
            utility = utility.to(torch.promote_types(utility.dtype, torch.float32))
            bound = self.factor * utility.mean()
            return utility <= bound if self.inclusive else utility < bound
        # by the number of them, not by a quantile: it is exact where utilities are equal, and nothing is read from the
        # device, which alone knows how many
        utility, count = utility.flatten(), utility.numel()
        number = torch.floor(self.factor * count + uniform(key, ()))
        most = count if isinstance(self.factor, torch.Tensor) else min(count, int(self.factor * count) + 2)
        least = utility.topk(most, largest=False).values
        bound = least.gather(0, (number.long() - 1).clamp(0, most - 1).unsqueeze(0))
        below, equal = utility < bound, utility == bound
        first = equal.cumsum(0) <= number - below.sum()
        return ((below | (equal & first)) & (number > 0)).view(shape)

    def _new(self, step: Step, name: str, key: Tensor) -> Tensor:
        """New values of a parameter, or one value for all of it."""
        initialiser, old = step.network.initialisers[name], step.tensors[name]
        if self.reinitialise == "mean":
            return old.new_full((), initialiser.middle)
        return step.drawn(name, key).to(old.dtype)
