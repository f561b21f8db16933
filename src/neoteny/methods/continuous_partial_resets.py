"""CPR, continuous partial resets: every unit is partly reset; units with small gradients are reset more.

arXiv 2607.24996, 2026; the authors' code is LucMc/continual-learning (`optim/cpr.py`), an earlier form of the method is
"Continuous continual backpropagation", an ICLR 2026 submission.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from neoteny.checks import is_zero, require, require_count, require_fraction, require_nonnegative
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors
from neoteny.methods.shared.unit_reset import mean_gradients

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.shared.schedule import Periodic
    from neoteny.units.records import Network, Slices, UnitLayer

Transfer = Literal["sigmoid", "exponential"]


@dataclass(frozen=True, kw_only=True)
class ContinuousPartialResets(Method):
    """Every `period` updates, mix the incoming weights of each unit with fresh ones and shrink its outgoing weights.

    With the gradient of each batch's loss with respect to the weights w_in that feed a unit, at every update

        u ← η u + (1 - η) mean|∂L/∂w_in| / (mean over the layer of mean|∂L/∂w_in| + 1e-8)    u = 1 at first

    and at every `period`-th update, layer by layer in order of execution and for every unit,

        r     = ρ min(2 sigmoid(-s (u - θ)), 1)         (transfer="sigmoid")
        r     = ρ min(exp(-s (u - θ)), 1)               (transfer="exponential"; the authors' default)
        w_in  ← (1 - r) w_in + r φ                      φ fresh from the initialiser
        w_out ← (1 - r) w_out

    A unit whose gradient is at most the layer's mean is reset by ρ; one with a larger gradient by less. Biases, norms
    and the optimizer's state stay as they are, and so do layers without a gradient.

    The authors' code has the defaults ρ = 0.012, θ = 0.95, the exponential, and `restart=True`. `restart` makes no
    difference where η^period is near 0, as it is by default.

    Args:
        replacement_rate: ρ in [0, 1].
        sharpness: s.
        centre: θ, the utility up to which a unit is reset by ρ.
        decay_rate: η in [0, 1).
        period: updates between two resets.
        transfer: how utility becomes a share, see above.
        restart: set u = 1 after each reset.

    Raises:
        SettingError: a setting outside its range.

    >>> ContinuousPartialResets(replacement_rate=0.03).sharpness
    16.0
    """

    name: ClassVar[str] = "cpr"
    stage: ClassVar[Stage] = "reset"
    varies: ClassVar[tuple[str, ...]] = ("replacement_rate", "sharpness", "centre", "decay_rate", "period")
    needs_units: ClassVar[bool] = True
    reads_gradients: ClassVar[bool] = True
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"replacement_rate": (0.005, 0.015, 0.05), "period": (1000, 100)}
    memory: ClassVar[tuple[float, float]] = (0.0, 4.0)
    avoid: ClassVar[str] = (
        "Where nothing may be forgotten: about half of all units, useful or not, lose a share ρ of their weights at "
        "every reset."
    )

    replacement_rate: float = 0.015
    sharpness: float = 16.0
    centre: float = 1.0
    decay_rate: float = 0.99
    period: int = 1000
    transfer: Transfer = "sigmoid"
    restart: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "replacement_rate", "decay_rate")
        require(self, "decay_rate", self.decay_rate < 1, "below 1")
        require_nonnegative(self, "sharpness", "centre")
        require_count(self, "period", least=1)

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        active = [
            cls(replacement_rate=0.2, period=4),
            cls(replacement_rate=0.2, period=4, transfer="exponential", restart=True),
        ]
        return active, [cls(replacement_rate=0, period=4), cls(period=10**6)]

    def inert(self) -> str | None:
        """Without a rate nothing is reset."""
        return "replacement_rate = 0, so no weight changes" if self.replacement_rate == 0 else None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """For each layer `utility`, u `[n]`, at least float32."""
        import torch

        like = {layer.name: tensors[layer.incoming[0].name] for layer in network.layers}
        return {
            f"{layer.name}/utility": torch.ones(
                layer.size,
                dtype=torch.promote_types(like[layer.name].dtype, torch.float32),
                device=like[layer.name].device,
            )
            for layer in network.layers
        }

    def schedule(self, network: Network, seed: int) -> Periodic:
        """One column: 1 at every `period`-th update."""
        from neoteny.methods.shared.schedule import Periodic

        return Periodic(int(self.period))

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Update the utilities; where it is due, reset every unit in part."""
        import torch

        from neoteny.units.random import fold_in

        state, gradients = dict(state), mean_gradients(step)
        for layer, gradient in gradients.items():
            utility = state[f"{layer}/utility"]
            new = self.decay_rate * utility + (1 - self.decay_rate) * gradient / (gradient.mean() + 1e-8)
            # the average must not keep a loss that overflowed
            state[f"{layer}/utility"] = torch.where(new.isfinite(), new, utility)
        if due is None or is_zero(self.replacement_rate):
            return state
        for number, layer in step.layers():
            if layer.name in gradients:
                name = f"{layer.name}/utility"
                share = torch.where(due[0] > 0, self._share(state[name]), torch.zeros_like(state[name]))
                self._reset(step, layer, share, fold_in(step.key, number))
                if self.restart:
                    state[name] = torch.where(due[0] > 0, torch.ones_like(state[name]), state[name])
        return state

    def _share(self, utility: Tensor) -> Tensor:
        """r, `[n]`."""
        above = -self.sharpness * (utility - self.centre)
        taken = above.exp() if self.transfer == "exponential" else 2 * above.sigmoid()
        return self.replacement_rate * taken.clamp_max(1)

    def _reset(self, step: Step, layer: UnitLayer, share: Tensor, key: Tensor) -> None:
        """Reset the units of one layer by their shares, `[n]`."""
        from neoteny.units.random import fold_in
        from neoteny.units.reset import fresh_rows, laid_out

        def spread(slices: Slices, like: Tensor) -> Tensor:
            return step.part(slices.name, slices.spread(share, like, 0.0)).to(like.dtype)

        for number, slices in enumerate(layer.incoming):
            old = step.tensors[slices.name]
            whole = old.new_empty(()).expand(step.shape(slices.name))  # a stand-in, of no memory
            rows = fresh_rows(slices, step.network, fold_in(key, number), whole, False)
            fresh = step.part(slices.name, laid_out(slices, rows, whole))
            part = spread(slices, whole)
            step.tensors[slices.name] = (1 - part) * old + part * fresh
        for slices in layer.outgoing:
            old = step.tensors[slices.name]
            step.tensors[slices.name] = (1 - spread(slices, old.new_empty(()).expand(step.shape(slices.name)))) * old
