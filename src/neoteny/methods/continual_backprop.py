"""Continual backpropagation: gradient descent that replaces units of low utility by new ones.

Dohare, Hernandez-Garcia, Lan, Rahman, Mahmood & Sutton, "Loss of plasticity in deep continual learning", Nature 632,
2024 (Eq. 1 and Algorithm 1); Dohare, Sutton & Mahmood, "Continual backprop", arXiv 2108.06325.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from neoteny.checks import require, require_count, require_fraction
from neoteny.errors import SettingError
from neoteny.methods.base import Contract, Step, Tensors
from neoteny.methods.shared.unit_reset import UnitReset

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.shared.schedule import Replacements
    from neoteny.units.newborn import NewbornState
    from neoteny.units.records import Network, Slices, UnitLayer

Utility = Literal[
    "contribution",
    "adaptable_contribution",
    "weight",
    "zero_contribution",
    "adaptation",
    "feature_by_input",
    "random",
]
Replacement = Literal["account", "accumulate", "drawn"]

_USES_ACTIVATION = ("contribution", "adaptable_contribution", "zero_contribution", "feature_by_input")
_USES_MEAN = ("adaptable_contribution", "zero_contribution", "feature_by_input")
_USES_OUTGOING = ("contribution", "adaptable_contribution", "zero_contribution", "weight")
_USES_INCOMING = ("adaptable_contribution", "adaptation", "feature_by_input")


@dataclass(frozen=True, kw_only=True)
class ContinualBackprop(UnitReset):
    """Replace mature units of least utility at a low rate, in every hidden layer, after the optimizer's step.

    For each unit, with activation h, incoming weights w_in, outgoing weights w_out, age a, and means over the batch
    (and over positions, for feature maps):

        a ← a + 1
        u ← η u + (1 - η) y,    û = u / (1 - η^a)
        f ← η f + (1 - η) mean h,    f̂ = f / (1 - η^a)

    where the instantaneous utility y is, with the weights as they are after the step,

        contribution            mean|h| · Σ|w_out|                  (Nature, Eq. 1)
        adaptable_contribution  mean|h - f̂| · Σ|w_out| / Σ|w_in|    (arXiv 2108.06325; the authors' supervised settings)
        zero_contribution       mean|h - f̂| · Σ|w_out|
        feature_by_input        mean|h - f̂| / Σ|w_in|
        weight                  Σ|w_out|
        adaptation              1 / Σ|w_in|
        random                  drawn anew whenever units are compared

    Units with a > m are eligible, where u was ever measured. `neoteny.methods.shared.schedule.Replacements` says how
    many of them are replaced at a step: those of least û. They get w_in from the layer's initialiser, bias 0, w_out 0,
    u = f = a = 0 and the initial values of norms; the optimizer's state of exactly these entries starts anew.

    With `authors_code` it does what the authors' programs do where that differs:

    - the account grows by ρ n for all n units of a layer while any is eligible, not by ρ for each eligible one; and
      `drawn` draws no further unit where ⌊ρ · eligible⌋ is at least 1;
    - SGD's momentum of replaced units goes on, where else the optimizer's state of their weights starts anew;
    - where a feature map is flattened, y is the sum over positions of mean|h| · Σ|w_out| at each position, not the
      product of their sums.

    One difference stays: with `compensate` their mean is set to 0 before it is used, so that nothing is compensated.

    Args:
        replacement_rate: ρ, share of the eligible units of a layer replaced at a step, in [0, 1].
        decay_rate: η of the running averages, in [0, 1).
        maturity_threshold: m, in *updates*; 100 in the paper's supervised experiments, 10,000 in its reinforcement
            learning (where 2,048 environment steps bring 160 updates).
        utility: y, see above.
        replacement: `account` replaces at most one unit in a layer and step (Nature, Algorithm 1), `accumulate` as many
            as the account holds (the authors' code), `drawn` draws whether one is replaced (the authors' default).
        compensate: first add w_out f̂ to the biases of the layers that read the unit, which keeps their mean inputs.
        authors_code: count, judge and keep momentum as the authors' programs do, see above.

    Raises:
        SettingError: a setting outside its range; `compensate` where a layer that reads the units has no bias.

    >>> ContinualBackprop(replacement_rate=1e-5, utility="adaptable_contribution").maturity_threshold
    100
    """

    name: ClassVar[str] = "cbp"
    varies: ClassVar[tuple[str, ...]] = ("replacement_rate", "decay_rate", "maturity_threshold")
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "replacement_rate": (1e-5, 1e-4, 1e-3),
        "maturity_threshold": (100, 1000),
    }
    memory: ClassVar[tuple[float, float]] = (0.0, 2.0)
    avoid: ClassVar[str] = (
        "Where updates are few: no unit is replaced before it is older than the maturity threshold, in updates. On "
        "layers of a handful of units, of which the network needs each."
    )

    replacement_rate: float = 1e-4
    decay_rate: float = 0.99
    maturity_threshold: int = 100
    utility: Utility = "contribution"
    replacement: Replacement = "account"
    compensate: bool = False
    authors_code: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "replacement_rate", "decay_rate")
        require(self, "decay_rate", self.decay_rate < 1, "below 1")
        require_count(self, "maturity_threshold")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`; the authors' momentum would break it."""
        active = [
            cls(replacement_rate=0.1, maturity_threshold=3, utility="adaptable_contribution"),
            cls(replacement_rate=0.2, maturity_threshold=3, replacement="drawn", compensate=True),
            cls(replacement_rate=0.4, maturity_threshold=3, replacement="accumulate", utility="random"),
        ]
        inactive = [
            cls(replacement_rate=0, utility="adaptable_contribution"),
            cls(replacement_rate=0, replacement="drawn"),
        ]
        return active, inactive

    def inert(self) -> str | None:
        """Without replacements it only measures."""
        return "replacement_rate = 0, so no unit is ever replaced" if self.replacement_rate == 0 else None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """For each layer: `age` int32 `[n]`, `replaced` int32 `[]`, and `utility` and `mean` `[n]` where used."""
        import torch

        state = {}
        for layer in network.layers:
            if self.compensate and None in layer.outgoing_biases:
                reader = layer.outgoing[layer.outgoing_biases.index(None)].name
                raise SettingError(
                    f"ContinualBackprop: compensate = True, but {reader}, which reads layer {layer.name}, has no "
                    "bias to take the replaced units' mean; give it a bias, or set compensate=False."
                )
            like = tensors[layer.incoming[0].name]
            dtype = torch.promote_types(like.dtype, torch.float32)  # 1 - η is lost in half precision
            state[f"{layer.name}/age"] = torch.zeros(layer.size, dtype=torch.int32, device=like.device)
            state[f"{layer.name}/replaced"] = torch.zeros((), dtype=torch.int32, device=like.device)
            state[f"{layer.name}/share"] = torch.zeros(layer.size, dtype=dtype, device=like.device)
            if self.utility != "random":
                state[f"{layer.name}/utility"] = torch.zeros(layer.size, dtype=dtype, device=like.device)
            if self._keeps_mean:
                state[f"{layer.name}/mean"] = torch.zeros(layer.size, dtype=dtype, device=like.device)
        return state

    def schedule(self, network: Network, seed: int) -> Replacements:
        """One column a layer: how many of its units are due."""
        from neoteny.methods.shared.schedule import Replacements
        from neoteny.seeds import METHOD, generator

        sizes = [layer.size for layer in network.layers]
        lots = generator(seed, METHOD)
        rate, maturity = float(self.replacement_rate), int(self.maturity_threshold)
        return Replacements(rate, sizes, maturity, self.replacement, lots, self.authors_code)

    @property
    def observes(self) -> frozenset[str]:
        """What the utility is computed from, and the mean for the compensation."""
        wanted = {"mean"} if self._keeps_mean else set()
        if self.utility in _USES_ACTIVATION:
            wanted.add("mean_abs_about" if self.utility in _USES_MEAN else "mean_abs")
            if self.authors_code:
                wanted.add("mean_abs_about")
        return frozenset(wanted)

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Update age and utility of all units; where `due`, int `[layers]`, is given, replace so many of each layer."""
        state = dict(state)
        sent = step.magnitudes("outgoing") if self.utility in _USES_OUTGOING else {}
        fed = step.magnitudes("incoming") if self.utility in _USES_INCOMING else {}
        for _, layer in step.layers():
            self._judge(layer, step, state, sent.get(layer.name), fed.get(layer.name))
        return state if due is None else self.replace(step, state, due)

    def replace(self, step: Step, state: Tensors, due: Tensor) -> Tensors:
        """Steps 3 to 5 alone, for units with known utility: replace `due`, int `[layers]`, units of each layer."""
        from neoteny.units.random import fold_in

        state = dict(state)
        for i, layer in step.layers():
            if step.due is None or step.due[i]:  # known to the host: layers with nothing due are left alone
                chosen = self._choose(layer, state, due[i], step, 2 * i)
                at_most = None if step.due is None else step.due[i]
                self._replace(layer, step, state, chosen, fold_in(step.key, self.draw_number(i)), at_most)
        return state

    @property
    def _keeps_mean(self) -> bool:
        return self.compensate or self.utility in _USES_MEAN

    def draws_one_row(self, layer: UnitLayer) -> bool:
        """Whether a reset draws weights for one unit alone: never two units of the layer are due at once, it knows."""
        rate = self.replacement_rate
        return self.replacement == "account" or (isinstance(rate, (int, float)) and rate * layer.size <= 1)

    def changes_besides(self, network: Network, tensors: Tensors) -> set[str]:
        """The consumers' biases, where the replaced units' mean is put there."""
        biases = [bias for layer in network.layers for bias in layer.outgoing_biases] if self.compensate else []
        return {bias for bias in biases if bias is not None}

    def draw_number(self, layer: int) -> int:
        """What the key of a step is folded with for the new weights of a layer, by its place."""
        return 2 * layer + 1

    def _judge(self, layer: UnitLayer, step: Step, state: Tensors, sent: Tensor | None, fed: Tensor | None) -> None:
        """Steps 1 and 2: age, mean activation and utility of all units, from Σ|w_out| and Σ|w_in|."""
        import torch

        age = f"{layer.name}/age"
        state[age] = state[age] + 1
        h = step.features.get(layer.name)
        if h is None and self.observes:
            return  # the optimizer stepped without a forward pass: the averages stay as they are
        share, mean, utility = (f"{layer.name}/{name}" for name in ("share", "mean", "utility"))
        new = {share: self.decay_rate * state[share] + (1 - self.decay_rate)}
        seen = None  # which activations are finite: the averages must not keep a loss that overflowed
        if h is not None and self._keeps_mean:
            sample = h.mean().to(state[mean].dtype)
            new[mean] = self.decay_rate * state[mean] + (1 - self.decay_rate) * sample
            seen = sample.isfinite()
        if self.utility != "random":
            sample = 1.0
            if h is not None and sent is not None and self._by_position(layer):
                (read,) = layer.outgoing
                centre = new[mean] / new[share] if self.utility in _USES_MEAN else torch.zeros_like(new[share])
                away = h.mean_abs_about(centre, read.block)
                sample, sent = (away * read.by_position(step.tensors[read.name].to(away.dtype).abs())).sum(1), None
            elif h is not None and self.utility in _USES_MEAN:
                sample = h.mean_abs_about(new[mean] / new[share])
            elif h is not None and self.utility in _USES_ACTIVATION:
                sample = h.mean_abs()
            if isinstance(sample, torch.Tensor):
                sample = sample.to(state[utility].dtype)
                seen = sample.isfinite() if seen is None else seen & sample.isfinite()
            sample = sample if sent is None else sample * sent
            sample = sample if fed is None else sample / fed.clamp_min(1e-30)
            new[utility] = self.decay_rate * state[utility] + (1 - self.decay_rate) * sample
        for name, value in new.items():
            state[name] = value if seen is None else torch.where(seen, value, state[name])

    def _by_position(self, layer: UnitLayer) -> bool:
        """Whether a layer's utility is added up over the positions at which a flattened map is read."""
        flattened = len(layer.outgoing) == 1 and layer.outgoing[0].block > 1 and layer.outgoing[0].groups == 1
        return self.authors_code and self.utility in _USES_ACTIVATION and flattened

    def _choose(self, layer: UnitLayer, state: Tensors, due: Tensor, step: Step, number: int) -> Tensor:
        """Step 3: the `due` eligible units of least û, as a mask `[n]`; among equal ones the first."""
        import torch

        age = state[f"{layer.name}/age"]
        if self.utility == "random":
            from neoteny.units.random import fold_in, uniform

            utility = uniform(fold_in(step.key, number), (layer.size,))
        else:
            utility = state[f"{layer.name}/utility"]
            utility = utility / state[f"{layer.name}/share"].clamp_min(1e-30)
        measured = state[f"{layer.name}/share"] > 0  # else no activations were seen: û says nothing
        eligible = (age > self.maturity_threshold) & measured
        utility = torch.where(eligible, utility, torch.inf)
        unit = torch.arange(layer.size, dtype=torch.int32, device=age.device)
        if self.draws_one_row(layer):
            first = (unit == utility.argmin()) & (due > 0)
        else:
            first = utility.argsort(stable=True).argsort() < due
        return first & eligible

    def _replace(
        self, layer: UnitLayer, step: Step, state: Tensors, chosen: Tensor, key: Tensor, at_most: int | None
    ) -> None:
        """Steps 4 and 5: the chosen units, `[n]`, are made new."""
        import torch

        if self.compensate:
            mean = state[f"{layer.name}/mean"]
            mean = mean / state[f"{layer.name}/share"].clamp_min(1e-30)
            mean = torch.where(chosen, mean, torch.zeros_like(mean))
            for slices, bias in zip(layer.outgoing, layer.outgoing_biases, strict=True):
                assert bias is not None  # `init` refuses others
                old = step.tensors[bias]
                step.tensors[bias] = old + _contribution(slices, step.tensors[slices.name], mean).to(old.dtype)
        newborn = step.newborn
        if self.authors_code:
            step.newborn = _but_momentum(newborn)
        step.make_new(layer, chosen, key, shared_draw=self.draws_one_row(layer), at_most=at_most)
        step.newborn = newborn
        for name in ("age", "share", "utility", "mean"):
            value = state.get(f"{layer.name}/{name}")
            if value is not None:
                state[f"{layer.name}/{name}"] = value.masked_fill(chosen, 0)
        replaced = f"{layer.name}/replaced"
        state[replaced] = state[replaced] + chosen.sum(dtype=torch.int32)


def _but_momentum(newborn: NewbornState) -> NewbornState:
    """What the optimizer's state holds for new weights, but the momentum of SGD, which stays as it is."""

    def kept(parameter: str, state: str, old: Tensor, weight: Tensor, new: Callable[[], Tensor]) -> Tensor | float:
        return old if state == "momentum_buffer" else newborn(parameter, state, old, weight, new)

    return kept


def _contribution(slices: Slices, weight: Tensor, activation: Tensor) -> Tensor:
    """What units of constant `activation`, `[n]`, add to the outputs of a layer that reads them, `[out]`."""
    positions = slices.positions(weight.device)
    spread = activation.new_zeros(slices.length(weight))
    spread = spread.index_put((positions,), activation.unsqueeze(1).expand(positions.shape))
    if slices.groups > 1:  # each part of the outputs reads positions of its own
        parts = weight.unflatten(0, (slices.groups, -1)).movedim(slices.dim + 1, -1).to(activation.dtype)
        own = spread.view(slices.groups, *[1] * (parts.dim() - 2), -1)
        sent = (parts * own).sum(-1).flatten(0, 1)
    else:
        sent = weight.movedim(slices.dim, -1).to(activation.dtype) @ spread  # [out, *kernel]
    return sent.sum(tuple(range(1, sent.dim()))) if sent.dim() > 1 else sent
