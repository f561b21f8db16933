"""Backbone and fringe: units that carry the function are kept and protected, new ones are tried among the others.

After Sutton, "Toward a better deep learning" (talk, 2024), which names the parts: a backbone that is preserved and
protected, a fringe that explores. The generator and the account are those of continual backpropagation (Dohare,
Hernandez-Garcia, Lan, Rahman, Mahmood & Sutton, Nature 632, 2024). The rule is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_zero, require, require_count, require_fraction, require_nonnegative
from neoteny.methods.base import Contract, Step, Tensors
from neoteny.methods.shared.unit_reset import UnitReset

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.shared.schedule import Replacements
    from neoteny.units.records import Network, UnitLayer

__all__ = ["Fringe"]


@dataclass(frozen=True, kw_only=True)
class Fringe(UnitReset):
    r"""Promote units that reduce the error, demote those that do not, replace only in the fringe.

    For each unit i of a hidden layer, with activation h_i, outgoing weights w_ki and age a_i, after every update:

        a_i <- a_i + 1
        u_i <- eta u_i + (1 - eta) (mean |h_i|)^2 sum_k w_ki^2,    û_i = u_i / (1 - eta^a_i)

    For one example a step, û_i is the mean square of what the unit sends: by so much would the squared error grow
    without it, were the other weights at their best. A unit is in the **backbone** while it is older than m updates and

        û_i >= theta mean_j û_j,    û_i > 0;

    all others are the **fringe**. So a unit is promoted once it has shown its use, and demoted when it has lost it.

    Once in 1 / (rho n) updates, n the units of the layer, the least useful unit of the fringe that is older than m is
    made new as in continual backpropagation: incoming weights drawn, outgoing weights 0, so that it has no effect on
    the output. It has m updates to show its use, and learns from the error that all others leave. Where every unit is
    of use, none is replaced.

    The backbone is protected: gradients of what feeds its units are multiplied by

        1 - p û_i / max_j û_j    (the maximum over the backbone)

    Args:
        replacement_rate: rho, share of a layer's units that may be replaced at a step.
        threshold: theta.
        maturity: m, updates.
        decay_rate: eta, in [0, 1).
        protection: p, in [0, 1]; 0 protects no unit.

    Metrics of a layer, from its state: `backbone` (which units), `promoted`, `demoted` and `replaced` (how many so
    far), and `disturbance`, the sum of û of all units that were replaced: by the mean square of what such a unit sent
    the output changes. Nothing else disturbs it: a newborn sends nothing, promotion and demotion change no weight.

    Raises:
        SettingError: a setting outside its range.

    >>> Fringe(protection=0).threshold
    0.01
    """

    name: ClassVar[str] = "fringe"
    redirects: ClassVar[bool] = True
    varies: ClassVar[tuple[str, ...]] = ("replacement_rate", "threshold", "maturity", "decay_rate", "protection")
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "replacement_rate": (1e-4, 5e-4),
        "threshold": (0.01, 0.03, 0.1),
    }
    memory: ClassVar[tuple[float, float]] = (0.0, 3.0)
    avoid: ClassVar[str] = "Where updates are few: no unit is replaced before it is older than the maturity."

    replacement_rate: float = 5e-4
    threshold: float = 0.01
    maturity: int = 300
    decay_rate: float = 0.999
    protection: float = 0.5

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "replacement_rate", "decay_rate", "protection")
        require(self, "decay_rate", self.decay_rate < 1, "below 1")
        require_nonnegative(self, "threshold")
        require_count(self, "maturity")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        active = [
            cls(replacement_rate=0.2, threshold=2.0, maturity=2),
            cls(replacement_rate=0.4, threshold=1.0, maturity=1, protection=0, decay_rate=0.5),
        ]
        return active, [cls(replacement_rate=0, protection=0)]

    def inert(self) -> str | None:
        """Without replacements and protection it only measures."""
        if is_zero(self.replacement_rate) and is_zero(self.protection):
            return "replacement_rate = protection = 0, so no unit is replaced and none is protected"
        return None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """For each layer of n units: `age` `[n]`, `utility` and `share` `[n]`, `backbone` `[n]` (0 or 1).

        And `[]` each: the counts `promoted`, `demoted` and `replaced`, and the sum `disturbance`.
        """
        import torch

        state = {}
        for layer in network.layers:
            like = tensors[layer.incoming[0].name]
            dtype = torch.promote_types(like.dtype, torch.float32)
            for what in ("age", "backbone"):
                state[f"{layer.name}/{what}"] = torch.zeros(layer.size, dtype=torch.int32, device=like.device)
            for what in ("utility", "share"):
                state[f"{layer.name}/{what}"] = torch.zeros(layer.size, dtype=dtype, device=like.device)
            for what in ("promoted", "demoted", "replaced"):
                state[f"{layer.name}/{what}"] = torch.zeros((), dtype=torch.int32, device=like.device)
            state[f"{layer.name}/disturbance"] = torch.zeros((), dtype=dtype, device=like.device)
        return state

    def schedule(self, network: Network, seed: int) -> Replacements:
        """One column a layer: whether a unit of its fringe is due, if it has one; once in 1 / (rho n) updates."""
        from neoteny.methods.shared.schedule import Replacements

        sizes = [layer.size for layer in network.layers]
        return Replacements(float(self.replacement_rate), sizes, 0, "account")

    @property
    def observes(self) -> frozenset[str]:
        """What the utility is computed from."""
        return frozenset({"mean_abs"})

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Protect the backbone."""
        step.grads.update(self._protected(step, state, step.grads))
        return state

    def redirect(self, step: Step, state: Tensors, grads: Tensors) -> Tensors:
        """Gradients of what feeds units of the backbone, reduced."""
        return self._protected(step, state, grads)

    def _protected(self, step: Step, state: Tensors, grads: Tensors) -> Tensors:
        found: Tensors = {}
        if is_zero(self.protection):
            return found
        for _, layer in step.layers():
            useful = self.utilities(layer, state) * state[f"{layer.name}/backbone"]
            keep = 1 - self.protection * useful / useful.max().clamp_min(1e-30)
            for slices in (*layer.incoming, *layer.biases, *layer.norms):
                gradient = found.get(slices.name, grads.get(slices.name))
                if gradient is not None:
                    found[slices.name] = gradient * slices.spread(keep.to(gradient.dtype), gradient, 1.0)
        return found

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Judge all units, promote and demote; where `due`, int `[layers]`, is given, replace in the fringe."""
        state = dict(state)
        for _, layer in step.layers():
            self._judge(layer, step, state)
        return state if due is None else self.replace(step, state, due)

    def replace(self, step: Step, state: Tensors, due: Tensor) -> Tensors:
        """Make the least useful unit of each layer's fringe new, where one is due."""
        import torch

        from neoteny.units.random import fold_in

        state = dict(state)
        for number, layer in step.layers():
            if step.due is not None and not step.due[number]:  # known to the host
                continue
            kinds = ("age", "backbone", "utility", "share", "replaced", "disturbance")
            own = {what: f"{layer.name}/{what}" for what in kinds}
            open_ = (state[own["age"]] > self.maturity) & (state[own["backbone"]] == 0)
            utility = torch.where(open_, self.utilities(layer, state), torch.inf)
            unit = torch.arange(layer.size, dtype=torch.int32, device=utility.device)
            chosen = (unit == utility.argmin()) & open_ & (due[number] > 0)
            step.make_new(layer, chosen, fold_in(step.key, self.draw_number(number)), shared_draw=True)
            state[own["disturbance"]] = state[own["disturbance"]] + torch.where(chosen, utility, 0.0).sum()
            for what in ("age", "utility", "share"):
                state[own[what]] = torch.where(chosen, torch.zeros_like(state[own[what]]), state[own[what]])
            state[own["replaced"]] = state[own["replaced"]] + chosen.sum(dtype=torch.int32)
        return state

    def draws_one_row(self, layer: UnitLayer) -> bool:
        """Whether a reset draws weights for one unit alone: never two of a layer are due at once."""
        return True

    def draw_number(self, layer: int) -> int:
        """What the key of a step is folded with for the new weights of a layer, by its place."""
        return layer

    def utilities(self, layer: UnitLayer, state: Tensors) -> Tensor:
        """û, `[n]`."""
        return state[f"{layer.name}/utility"] / state[f"{layer.name}/share"].clamp_min(1e-30)

    def _judge(self, layer: UnitLayer, step: Step, state: Tensors) -> None:
        """Ages, utilities, promotions and demotions of one layer."""
        import torch

        age, utility, share, backbone = (f"{layer.name}/{what}" for what in ("age", "utility", "share", "backbone"))
        state[age] = state[age] + 1
        h = step.features.get(layer.name)
        if h is not None:
            squares = [
                slices.total(step.tensors[slices.name].to(state[utility].dtype).square()) for slices in layer.outgoing
            ]
            sent = h.mean_abs().to(state[utility].dtype).square() * sum(squares[1:], squares[0])
            seen = sent.isfinite()  # the averages must not keep a loss that overflowed
            new = {
                utility: self.decay_rate * state[utility] + (1 - self.decay_rate) * sent,
                share: self.decay_rate * state[share] + (1 - self.decay_rate),
            }
            state.update({name: torch.where(seen, value, state[name]) for name, value in new.items()})
        judged = self.utilities(layer, state)
        useful = (state[age] > self.maturity) & (judged >= self.threshold * judged.mean()) & (judged > 0)
        was = state[backbone] > 0
        for what, change in {"promoted": useful & ~was, "demoted": was & ~useful}.items():
            state[f"{layer.name}/{what}"] = state[f"{layer.name}/{what}"] + change.sum(dtype=torch.int32)
        state[backbone] = useful.to(torch.int32)
