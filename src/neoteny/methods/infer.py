"""InFeR, initial feature regularisation: keep functions of the last hidden layer near their initial values.

Lyle, Rowland & Dabney, "Understanding and preventing capacity loss in reinforcement learning", ICLR 2022 (arXiv
2204.09560), section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_zero, require_count, require_nonnegative
from neoteny.errors import NetworkError
from neoteny.methods.base import Contract, Method, Step, Tensors
from neoteny.methods.shared.penalty import at_least_single, gradients, on_reference

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class InFeR(Method):
    """Keep the outputs of some extra linear heads on the features at those of the initial network.

    With the activations φ of the last hidden layer on the reference batch, k extra heads w_i, and the values θ₀, w₀
    before the first step,

        L = mean over examples (and positions) of Σ_i (w_i · φ(θ) - β w₀_i · φ(θ₀))²

    and before each step g ← g + α ∇L. The heads minimise the same L by plain gradient descent, with the step size η
    that the optimizer has for that layer's weights: w ← w - η α ∇_w L at each step. They are drawn before the first
    step, N(0, 1/n) for n features, from a key made of the initial weights: networks of different seeds have different
    heads.

    The paper has k = 10, α = 0.1 and β = 100, with Adam on Atari. Plain gradient descent diverges with targets that
    large; with β = 1, the default here, the heads keep predicting what they predicted at first.

    Args:
        strength: α.
        scale: β.
        heads: k.

    Raises:
        SettingError: a strength or scale that is not a finite number >= 0, or fewer heads than one.

    >>> InFeR(strength=0.1, scale=10.0)
    InFeR(strength=0.1, scale=10.0, heads=10)
    """

    name: ClassVar[str] = "infer"
    varies: ClassVar[tuple[str, ...]] = ("strength", "scale")
    needs_units: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    grid: ClassVar[dict[str, tuple[float, ...]]] = {"strength": (0.001, 0.01, 0.1), "scale": (1.0, 10.0)}
    memory: ClassVar[tuple[float, float]] = (1.0, 3.0)
    avoid: ClassVar[str] = (
        "Where the statistics of the inputs drift far from the initial ones: the initial network's features of such "
        "inputs are not worth keeping. Large scales need an adaptive optimizer."
    )

    strength: float = 0.01
    scale: float = 1.0
    heads: int = 10

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "strength", "scale")
        require_count(self, "heads", least=1)

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(strength=0.1, scale=2.0), cls(strength=0.05, heads=3)], [cls(strength=0)]

    def inert(self) -> str | None:
        """Without strength there is no pull."""
        return "strength = 0, so no feature is held" if self.strength == 0 else None

    @property
    def acts_always(self) -> bool:
        """After each step the heads make their own."""
        return not is_zero(self.strength)

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<tensor>/initial`: θ₀; `heads/initial`, `heads/now` and `heads/gradient`, `[heads, units]`.

        Raises:
            NetworkError: there is no hidden layer.
        """
        import torch

        from neoteny.units import random

        if not network.layers:
            raise NetworkError("InFeR has no hidden layer to put heads on; give a network with one, or leave it out.")
        layer = network.layers[-1]
        weight = tensors[layer.incoming[0].name].detach()
        # there is no key yet: the bits of one initial weight serve as a seed
        key = random.fold_in(random.key(0, weight.device), weight.flatten()[0].float().view(torch.int32))
        drawn = random.normal(key, (self.heads, layer.size)) / layer.size**0.5
        drawn = drawn.to(at_least_single(weight).dtype)
        return {
            **{f"{name}/initial": tensor.detach().clone() for name, tensor in tensors.items()},
            "heads/initial": drawn,
            "heads/now": drawn.clone(),
            "heads/gradient": torch.zeros_like(drawn),
        }

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Add α ∇L to the gradients."""
        if is_zero(self.strength) or not step.grads:
            return state
        layer = step.network.layers[-1].name
        _, features = on_reference(step)({name: state[f"{name}/initial"] for name in step.tensors})
        target = self.scale * _predicted(state["heads/initial"], features[layer])

        def penalty(_: Tensor, features: Tensors, beside: Tensors) -> Tensor:
            return (_predicted(beside["heads"], features[layer]) - target).square().sum(1).mean()

        pull, beside = gradients(step, penalty, {"heads": state["heads/now"]})
        for name, own in step.grads.items():
            step.grads[name] = own + (self.strength * pull[name]).to(own.dtype)
        # the heads make their step after the optimizer's: a closure may ask for the same gradient several times
        return {**state, "heads/gradient": (self.strength * beside["heads"]).to(beside["heads"].dtype)}

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """The heads' own step."""
        old = state["heads/now"]
        step_size = step.step_size_of(step.network.layers[-1].incoming[0].name)
        return {**state, "heads/now": old - (step_size * state["heads/gradient"]).to(old.dtype)}


def _predicted(heads: Tensor, features: Tensor) -> Tensor:
    """The outputs `[batch, heads, positions]` of heads `[heads, units]` for features `[batch, units, positions]`."""
    return heads @ features.to(heads.dtype)
