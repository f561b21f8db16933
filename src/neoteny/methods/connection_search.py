"""Connection search: which inputs a unit reads is learned, at a constant number of weights.

After Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse connectivity inspired by
network science", Nature Communications 9, 2018 (prune the smallest), and Evci, Gale, Menick, Castro & Elsen, "Rigging
the lottery", ICML 2020, arXiv 1911.11134 (grow where the gradient is largest), one connection of a unit at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import require, require_count, require_fraction
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors
from neoteny.methods.shared.matrices import Matrix, matrices, whole

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.shared.schedule import Periodic
    from neoteny.units.records import Network

__all__ = ["ConnectionSearch"]


@dataclass(frozen=True, kw_only=True)
class ConnectionSearch(Method):
    """Every hidden unit keeps k = round(density n) of its n incoming weights, and exchanges one at a time.

    With M the mask of the connections there are, the k largest |w| of each unit at first, and G the gradient:

        P <- eta P + (1 - eta) G            at every update, of all weights
        G <- M G,    w <- M w
        every `period` updates, for each unit: the connection of least |w| is cut, and the one of largest |P| of those
        that are not there begins with weight 0 and fresh state of the optimizer

    P keeps its sign, so a connection grows where the error has called for it again and again, not where the gradient is
    only large. Generating a connection does not change the output; cutting one changes it by its small weight.

    Args:
        density: share of a unit's incoming weights that are there, in (0, 1]; 1: all of them, and nothing is exchanged.
        period: updates between two exchanges.
        decay_rate: eta, in [0, 1).

    Raises:
        SettingError: a setting outside its range; while training, a parameter of which only a part is in this process.

    >>> ConnectionSearch(density=0.25).period
    1000
    """

    name: ClassVar[str] = "connection-search"
    stage: ClassVar[Stage] = "projection"
    varies: ClassVar[tuple[str, ...]] = ("decay_rate",)
    needs_units: ClassVar[bool] = True
    redirects: ClassVar[bool] = True
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"decay_rate": (0.99, 0.999)}
    memory: ClassVar[tuple[float, float]] = (3.0, 8.0)
    avoid: ClassVar[str] = "Where every unit needs all of its inputs; with parameters sharded over processes."

    density: float = 0.5
    period: int = 1000
    decay_rate: float = 0.999

    def __post_init__(self) -> None:
        """Check the settings."""
        require(self, "density", 0 < self.density <= 1, "in (0, 1]")
        require_count(self, "period", least=1)
        require_fraction(self, "decay_rate")
        require(self, "decay_rate", self.decay_rate < 1, "below 1")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(density=0.5, period=2, decay_rate=0.5)], [cls(density=1.0)]

    def inert(self) -> str | None:
        """With all connections there is nothing to exchange."""
        return "density = 1, so every connection is there" if self.density == 1 else None

    def searched(self, network: Network, tensors: Tensors) -> list[Matrix]:
        """The weights that feed hidden units."""
        fed = {slices.name for layer in network.layers for slices in layer.incoming}
        return [matrix for matrix in matrices(network, tensors) if matrix.name in fed and not matrix.embedding]

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<weight>/there`: M, one or zero; `/pull`: P; `/new`: the present G; `/exchanged`, int32 `[]`."""
        import torch

        state = {}
        for matrix in [] if self.inert() else self.searched(network, tensors):
            weight = tensors[matrix.name]
            dtype = torch.promote_types(weight.dtype, torch.float32)
            size = matrix.laid_out(weight).abs()
            kept = max(1, round(self.density * size.shape[1]))
            rank = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1, stable=True)
            state[f"{matrix.name}/there"] = (rank < kept).to(dtype)
            state[f"{matrix.name}/pull"] = torch.zeros_like(size, dtype=dtype)
            state[f"{matrix.name}/new"] = torch.zeros_like(size, dtype=dtype)
            state[f"{matrix.name}/exchanged"] = torch.zeros((), dtype=torch.int32, device=weight.device)
        return state

    def schedule(self, network: Network, seed: int) -> Periodic:
        """One column: 1 at every `period`-th update."""
        from neoteny.methods.shared.schedule import Periodic

        return Periodic(self.period)

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Note the gradients of all weights, and keep those of the connections there are."""
        state = dict(state)
        for matrix in self._trained(step):
            new = f"{matrix.name}/new"
            state[new] = matrix.laid_out(step.grads[matrix.name]).to(state[new].dtype)
        step.grads.update(self.redirect(step, state, step.grads))
        return state

    def redirect(self, step: Step, state: Tensors, grads: Tensors) -> Tensors:
        """The gradients of the connections there are."""
        return {
            matrix.name: grads[matrix.name] * self._mask(matrix, state, grads[matrix.name])
            for matrix in self._trained(step)
        }

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Exchange where it is due; weights that are not there are 0."""
        import torch

        state = dict(state)
        for matrix in self._trained(step):
            there, pull, exchanged = (f"{matrix.name}/{what}" for what in ("there", "pull", "exchanged"))
            weight = whole(self, step, matrix.name)
            gradient = state[f"{matrix.name}/new"]
            state[pull] = self.decay_rate * state[pull] + (1 - self.decay_rate) * gradient
            if due is not None:
                size, on = matrix.laid_out(weight).abs(), state[there] > 0
                place = torch.arange(size.shape[1], device=size.device)
                cut = place == torch.where(on, size, torch.inf).argmin(1, keepdim=True)
                grown = place == torch.where(on, -1.0, state[pull].abs()).argmax(1, keepdim=True)
                moved = (due[0] > 0) & ~on.all(1, keepdim=True)
                state[there] = torch.where(moved & grown, 1.0, torch.where(moved & cut, 0.0, state[there]))
                state[exchanged] = state[exchanged] + moved.sum(dtype=torch.int32)
                new = matrix.back((moved & (grown | cut)).expand_as(size), weight)
                step.tensors[matrix.name] = torch.where(new, torch.zeros_like(weight), weight)
                step.make_state_new(matrix.name, new)
                weight = step.tensors[matrix.name]
            step.tensors[matrix.name] = weight * self._mask(matrix, state, weight)
        return state

    def done(self, state: Tensors) -> str:
        """How many connections were exchanged."""
        counts = [int(value) for key, value in state.items() if key.endswith("/exchanged")]
        return f"{sum(counts):,} connections exchanged" if counts else ""

    def _mask(self, matrix: Matrix, state: Tensors, weight: Tensor) -> Tensor:
        return matrix.back(state[f"{matrix.name}/there"].to(weight.dtype), weight)

    def _trained(self, step: Step) -> list[Matrix]:
        """The searched weights that have a gradient."""
        if self.inert():
            return []
        found = step.once("searched for connections", lambda: self.searched(step.network, step.tensors))
        return [matrix for matrix in found if matrix.name in step.grads]
