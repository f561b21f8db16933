"""UPGD: utility-based perturbed gradient descent.

Elsayed & Mahmood, "Addressing loss of plasticity and catastrophic forgetting in continual learning", ICLR 2024, arXiv
2404.00781 (Eqs. 2 to 4, Algorithm 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from neoteny.checks import is_number, is_zero, require, require_nonnegative
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors
from neoteny.methods.shared import each
from neoteny.methods.shared.matrices import whole

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network

_LEAST = 1e-12
"""A largest utility up to this is rounding error: that of a bias, say, that the loss does not depend on."""


@dataclass(frozen=True, kw_only=True)
class UPGD(Method):
    """Protect useful weights from large steps, and perturb the others, with any optimizer.

    The utility of a weight w is how much the loss would grow without it. With the gradient g and the update count t,

        u = -g w                    (order 1)
        u = ½ h w² - g w            (order 2)
        ū ← β ū + (1 - β) u,        û = ū / (1 - β^t),        s = sigmoid(û / max û)

    the optimizer gets in place of the gradient, with ξ ~ N(0, 1),

        g ← (g + σ ξ)(1 - s)        (protecting)
        g ← g + σ ξ (1 - s)         (not protecting)

    and after the step of size α, w ← w - α λ w. With SGD this is the paper's update, except for α λ times the step, as
    the paper decays before the step. Adam's moments are those of the changed gradient. Optimizers that follow a
    prediction get its gradient times 1 - s, and the noise moves the weights beside them.

    The maximum is taken over all weights (`scope="global"`) or over one tensor ("local"). Where no utility is positive
    (above 1e-12), 1 takes the place of the maximum.

    With `level="unit"` each hidden unit has one utility: that of a gate of value 1 behind the unit. The gradient of the
    loss with respect to the gate is Σ g w over the outgoing weights, so u = -Σ g w, and in order 2 u = ½ h - Σ g w.
    Then 1 - s and the noise act on the unit's incoming weights, bias and norms; all other parameters learn as usual.

    In the paper the curvature h comes from HesScale, an approximate diagonal of the Hessian that needs a backward pass
    of its own. Such a pass is not possible inside an optimizer's step. So here h is the **squared gradient** of the
    batch, as in the empirical Fisher matrix. It has the size of h only for batches of one example, and is never
    negative.

    Each difference in the authors' code is an option:

    - `uncorrected_max`: their experiments (and their README) divide û by the maximum of the *uncorrected* ū, which
      brings s nearer to 0 or 1 at the beginning;
    - `row_norm`: their local variants divide by the Euclidean norm of the last dimension instead of by a maximum;
    - `doubled`: the README's optimizer makes steps of 2 α, so that a weight of utility 0 gets the usual step. With an
      optimizer that divides by the size of the gradient, such as Adam, it only matters for the noise.

    Args:
        sigma: σ, standard deviation of the noise, in units of gradients.
        beta: β in [0, 1).
        weight_decay: λ, decoupled.
        scope: over what the maximum is taken.
        order: of the utility in the weight.
        protecting: whether 1 - s acts on the gradient as well, or only on the noise.
        level: whether each weight or each unit has a utility.
        uncorrected_max: divide by the maximum of ū, as in the authors' code.
        row_norm: divide by the norm of the last dimension, as in the authors' code; needs `scope="local"`.
        doubled: double the gradients, as in the authors' README.

    Raises:
        SettingError: a setting outside its range; while training, a parameter of which only a part is in this process.

    >>> UPGD(sigma=0.01, protecting=False).level
    'weight'
    """

    name: ClassVar[str] = "upgd"
    stage: ClassVar[Stage] = "optimizer"
    redirects: ClassVar[bool] = True
    draws_before: ClassVar[bool] = True
    varies: ClassVar[tuple[str, ...]] = ("sigma", "beta", "weight_decay")
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"sigma": (1e-3, 1e-2, 1e-1), "weight_decay": (0.0, 1e-3)}
    memory: ClassVar[tuple[float, float]] = (2.0, 8.0)
    avoid: ClassVar[str] = (
        "With parameters sharded over processes. With large batches: their gradients have little noise, and the "
        "perturbation adds some. Where every weight should make full steps: with utility 0 it makes half a step."
    )

    sigma: float = 1e-3
    beta: float = 0.999
    weight_decay: float = 1e-3
    scope: Literal["global", "local"] = "global"
    order: Literal[1, 2] = 1
    protecting: bool = True
    level: Literal["weight", "unit"] = "weight"
    uncorrected_max: bool = False
    row_norm: bool = False
    doubled: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "sigma", "weight_decay")
        require(self, "beta", is_number(self.beta) and 0 <= self.beta < 1, "a number in [0, 1)")
        require(self, "order", self.order in (1, 2), "1 or 2")
        require(self, "row_norm", not self.row_norm or self.scope == "local", 'False unless scope="local"')

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [
            cls(sigma=0.01, weight_decay=0.1),
            cls(sigma=0.01, scope="local", order=2, protecting=False, beta=0.9),
            cls(sigma=0.01, level="unit", doubled=True),
        ], [cls(sigma=0, protecting=False, weight_decay=0)]

    def inert(self) -> str | None:
        """Neither noise nor protection nor decay."""
        return "sigma = weight_decay = 0 and not protecting, so no gradient changes" if self._inactive else None

    @property
    def _inactive(self) -> bool:
        changed = self.protecting or self.doubled
        return is_zero(self.sigma) and is_zero(self.weight_decay) and not changed

    def draws(self, network: Network, tensors: Tensors) -> int:
        """One for each weight, where there is noise."""
        noisy = not is_zero(self.sigma)
        return sum(tensors[name].numel() for name in network.initialisers if name in tensors) if noisy else 0

    def excludes(self, other: Method) -> str | None:
        """Another method that changes the gradients as a whole."""
        if other.stage == "optimizer":
            return "both replace the gradients that the optimizer gets, so one would act on the result of the other"
        return None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<owner>/utility`: ū, by weight or `[units]`; `/new`: u of the present step; `/count`: t, int32 `[]`."""
        import torch

        if self.level == "weight":
            owners = {name: tensors[name] for name in network.initialisers if name in tensors}
        else:
            owners = {layer.name: tensors[layer.incoming[0].name].new_zeros(layer.size) for layer in network.layers}
        state = {}
        for name, like in owners.items():
            zeros = torch.zeros_like(like, dtype=torch.promote_types(like.dtype, torch.float32))
            state[f"{name}/utility"], state[f"{name}/new"] = zeros, zeros.clone()
            state[f"{name}/count"] = torch.zeros((), dtype=torch.int32, device=like.device)
        return state

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Replace the gradients."""
        if self._inactive:
            return state
        state = dict(state)
        for owner, new in self._utilities(step).items():
            state[f"{owner}/new"] = new.to(state[f"{owner}/new"].dtype)
        small = self._small(state, self._owners(step))
        noise = {} if is_zero(self.sigma) else step.noise_of_all()
        if self.level == "weight":
            self._change(step, list(small), noise, small, small)
        else:
            self._change(step, step.trained(), noise, _spread(step, small, 1.0), _spread(step, small, 0.0))
        if self.doubled:
            names = step.trained()
            step.grads.update(zip(names, each.apply("mul", [step.grads[name] for name in names], 2), strict=True))
        return state

    def redirect(self, step: Step, state: Tensors, grads: Tensors) -> Tensors:
        """Gradients times 1 - s, without the noise."""
        if self._inactive or not (self.protecting or self.doubled):
            return {}
        factor = 2 if self.doubled else 1
        if not self.protecting:
            return {name: factor * value for name, value in grads.items()}
        small = self._small(state, self._owners(step))
        keep = small if self.level == "weight" else _spread(step, small, 1.0)
        return {
            name: factor * value * (keep[name].to(value.dtype) if name in keep else 1) for name, value in grads.items()
        }

    def _change(self, step: Step, names: list[str], noise: Tensors, on_gradient: Tensors, on_noise: Tensors) -> None:
        """Let 1 - s act on gradients and noise, which are added."""
        names = [name for name in names if name in on_gradient]
        grads = [step.grads[name] for name in names]
        keep, perturb = (each.cast([small[name] for name in names], grads) for small in (on_gradient, on_noise))
        drawn = each.cast([noise[name] for name in names], grads) if noise else []
        if self.protecting and on_gradient is on_noise:
            grads = each.apply("mul", each.add(grads, drawn, self.sigma) if drawn else grads, keep)
        else:
            grads = each.apply("mul", grads, keep) if self.protecting else grads
            grads = each.add(grads, each.apply("mul", drawn, perturb), self.sigma) if drawn else grads
        step.grads.update(zip(names, grads, strict=True))

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Update the mean utilities, here as optimizers may ask for gradients several times a step; decay."""
        if self._inactive:
            return state
        owners = self._owners(step)
        counts = each.apply("add", [state[f"{owner}/count"] for owner in owners], 1)
        state = {**state, **{f"{owner}/count": count for owner, count in zip(owners, counts, strict=True)}}
        for owner, mean in zip(owners, self._means(state, owners), strict=True):
            state[f"{owner}/utility"] = mean
        if not is_zero(self.weight_decay):
            step.decay(step.trained(), self.weight_decay)
        return state

    def _owners(self, step: Step) -> list[str]:
        """The parameters, or layers, whose utility this step gives."""
        if self.level == "weight":
            return step.trained()
        layers = step.network.layers
        return [layer.name for layer in layers if all(slices.name in step.grads for slices in layer.outgoing)]

    def _utilities(self, step: Step) -> Tensors:
        """u, by owner."""
        owners = self._owners(step)
        if self.level == "weight":
            pairs = [step.grads[name] for name in owners], [whole(self, step, name) for name in owners]
            products = each.apply("mul", *pairs)
        else:
            products = []
            for layer in step.network.layers:
                if layer.name in owners:
                    parts = [s.total(step.grads[s.name] * whole(self, step, s.name)) for s in layer.outgoing]
                    products.append(sum(parts[1:], parts[0]))
        second = self.order == 2
        found = [0.5 * value.square() - value for value in products] if second else each.apply("neg", products)
        return dict(zip(owners, found, strict=True))

    def _means(self, state: Tensors, owners: list[str]) -> list[Tensor]:
        """ū with the present u in it."""
        old, new = ([state[f"{owner}/{what}"] for owner in owners] for what in ("utility", "new"))
        return each.lerp(old, new, 1 - self.beta)

    def _small(self, state: Tensors, owners: list[str]) -> Tensors:
        """1 - s, by owner."""
        import torch

        means = self._means(state, owners)
        if not means:
            return {}
        counts = torch.stack([state[f"{owner}/count"].to(means[0].device) for owner in owners])
        beta = torch.as_tensor(self.beta, dtype=means[0].dtype, device=counts.device)
        grown = -torch.expm1((counts + 1) * beta.log())  # 1 - β^t: in single precision the power is inaccurate
        if self.row_norm:
            corrected = [mean / own.to(mean.device) for mean, own in zip(means, grown, strict=True)]
            found = [torch.sigmoid(-c / c.norm(dim=-1, keepdim=True).clamp(min=_LEAST)) for c in corrected]
            return dict(zip(owners, found, strict=True))
        largest = torch.stack([value.to(counts.device) for value in each.apply("max", means)])
        largest = largest if self.uncorrected_max else largest / grown
        largest = largest.max() if self.scope == "global" else largest
        sizes = torch.where(largest > _LEAST, largest, 1) * -grown  # the minus is that of 1 - sigmoid(x)
        own = [size.to(mean.device, mean.dtype) for size, mean in zip(sizes, means, strict=True)]
        return dict(zip(owners, each.apply("sigmoid", each.apply("div", means, own)), strict=True))


def _spread(step: Step, values: Tensors, outside: float) -> Tensors:
    """Values of units, by layer, laid out along the parameters that feed them, for those with a gradient.

    Entries that feed no unit get `outside`; where several layers lie in one parameter, each has its own part of it.
    """
    found: Tensors = {}
    for layer in step.network.layers:
        if layer.name in values:
            for slices in (*layer.incoming, *layer.biases, *layer.norms):
                if slices.name in step.grads:
                    laid = slices.spread(values[layer.name], step.tensors[slices.name], outside)
                    before = found.get(slices.name)
                    found[slices.name] = laid if before is None else before + laid - outside
    return found
