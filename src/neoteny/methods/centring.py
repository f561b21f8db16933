"""Centring: gradients as if the inputs had mean 0, with the network left as it is.

After Schraudolph, "Centering neural network gradient factors", and LeCun, Bottou, Orr & Müller, "Efficient BackProp"
(Section 4.3: why inputs of mean 0), both in Neural Networks: Tricks of the Trade, 1998.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from neoteny.checks import is_zero, require, require_choice, require_fraction
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors
from neoteny.methods.shared.matrices import Matrix, matrices, whole

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network

__all__ = ["Centring"]

_LEAST = 1e-30
"""A mean squared gradient up to this says nothing about the inputs."""


@dataclass(frozen=True, kw_only=True)
class Centring(Method):
    r"""Let weights learn from x - c in place of their inputs x, where c is a running mean of x.

    A layer z = W x + b is the same function as z = W (x - c) + b' with b' = b + W c. Gradient descent on the second is
    faster where the inputs' mean is not 0: bits, pixels, counts. Its gradients, from those of the first, are

        G_W <- G_W - G_b c^T,    G_b as it is

    and once the optimizer has changed W by D_W and b by D_b, the change of b' is put into b:

        b <- b - D_W c

    so that neither the network's function nor its parameters differ from what descent on (W, b') makes of them. Any
    optimizer follows these gradients; rules that adapt step sizes see them as well.

    c is the regression of G_W on G_b, with running means at the rate r, which makes what is left uncorrelated with G_b:

        P <- (1 - r) P + r G_b^T G_W,    s <- (1 - r) s + r |G_b|^2,    c = P / s

    For one example a step it is the mean of the inputs, weighted by the squared errors. It needs no look at the inputs.
    Kernels of convolutions are centred at their mean patch.

    Args:
        rate: r.
        layers: which layers: those that read the network's `inputs`, or `all` of them.

    Layers without a bias, or whose weight or bias is not trained, stay as they are.

    Raises:
        SettingError: a setting outside its range; while training, a parameter of which only a part is in this process.

    >>> Centring(rate=1e-3).layers
    'inputs'
    """

    name: ClassVar[str] = "centring"
    stage: ClassVar[Stage] = "optimizer"
    varies: ClassVar[tuple[str, ...]] = ("rate",)
    needs_units: ClassVar[bool] = False
    reads_gradients: ClassVar[bool] = True
    redirects: ClassVar[bool] = True
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"rate": (1e-5, 1e-4, 1e-3)}
    memory: ClassVar[tuple[float, float]] = (0.1, 4.0)
    avoid: ClassVar[str] = "Where inputs have mean 0 already. With parameters sharded over processes."

    rate: float = 1e-4
    layers: Literal["inputs", "all"] = "inputs"

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "rate")
        require(self, "rate", self.rate < 1, "below 1")
        require_choice(self, "layers", ("inputs", "all"))

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(rate=0.1), cls(rate=0.3, layers="all")], [cls(rate=0)]

    def inert(self) -> str | None:
        """With the rate 0, c stays 0."""
        return "rate = 0, so the centre stays at 0" if is_zero(self.rate) else None

    def excludes(self, other: Method) -> str | None:
        """Another method that changes the gradients as a whole."""
        if other.stage == "optimizer":
            return "both replace the gradients that the optimizer gets, so one would act on the result of the other"
        return None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """For each centred weight `product`, P, `[in]`, and `square`, s, `[]`; `held`, W c before the step, `[out]`.

        And `news` and `size`, the present step's G_b^T G_W and |G_b|^2, until they are part of P and s.
        """
        import torch

        state = {}
        for matrix in self.centred(network, tensors):
            weight = tensors[matrix.name]
            dtype = torch.promote_types(weight.dtype, torch.float32)
            rows = matrix.laid_out(weight)
            state[f"{matrix.name}/product"] = torch.zeros(rows.shape[1], dtype=dtype, device=weight.device)
            state[f"{matrix.name}/square"] = torch.zeros((), dtype=dtype, device=weight.device)
            state[f"{matrix.name}/news"] = torch.zeros_like(state[f"{matrix.name}/product"])
            state[f"{matrix.name}/size"] = torch.zeros_like(state[f"{matrix.name}/square"])
            state[f"{matrix.name}/held"] = torch.zeros(rows.shape[0], dtype=dtype, device=weight.device)
        return state

    def centred(self, network: Network, tensors: Tensors) -> list[Matrix]:
        """The weights that are centred."""
        read = {slices.name for layer in network.layers for slices in layer.outgoing}
        return [
            matrix
            for matrix in matrices(network, tensors)
            if len(matrix.biases) == 1
            and not matrix.embedding
            and (self.layers == "all" or matrix.name not in read)
            and tuple(tensors[matrix.biases[0]].shape) == tuple(tensors[matrix.name].shape[matrix.outputs :][:1])
        ]

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Keep what follows the centres, and W c; replace the gradients."""
        if is_zero(self.rate):
            return state
        state = dict(state)
        for matrix in self._trained(step, state):
            dtype = state[f"{matrix.name}/product"].dtype
            push = matrix.laid_out(step.grads[matrix.name]).to(dtype)
            bias = step.grads[matrix.biases[0]].to(dtype)
            state[f"{matrix.name}/news"], state[f"{matrix.name}/size"] = bias @ push, bias @ bias
            weight = matrix.laid_out(whole(self, step, matrix.name)).to(dtype)
            state[f"{matrix.name}/held"] = weight @ self._centre(state, matrix)
        step.grads.update(self.redirect(step, state, step.grads))
        return state

    def redirect(self, step: Step, state: Tensors, grads: Tensors) -> Tensors:
        """The gradients in whose direction the optimizer goes, linear in those given; only the changed ones."""
        found = {}
        for matrix in self._trained(step, state):
            gradient, bias = grads[matrix.name], grads[matrix.biases[0]]
            change = bias.unsqueeze(1) * self._centre(state, matrix).to(bias.dtype)
            found[matrix.name] = gradient - matrix.back(change, gradient)
        return found

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Put into each bias what the change of the weights took away at the centre; then the centres follow.

        Here, as optimizers may ask for gradients several times a step.
        """
        if is_zero(self.rate):
            return state
        state = dict(state)
        for matrix in self._trained(step, state):
            held = state[f"{matrix.name}/held"]
            weight = matrix.laid_out(step.tensors[matrix.name]).to(held.dtype)
            bias = step.tensors[matrix.biases[0]]
            step.tensors[matrix.biases[0]] = bias - (weight @ self._centre(state, matrix) - held).to(bias.dtype)
            state[f"{matrix.name}/product"], state[f"{matrix.name}/square"] = self._followed(state, matrix)
        return state

    def _trained(self, step: Step, state: Tensors) -> list[Matrix]:
        """The centred weights that have a gradient, as has their bias."""
        found = step.once(f"centred by {self.layers}", lambda: self.centred(step.network, step.tensors))
        return [m for m in found if m.name in step.grads and m.biases[0] in step.grads]

    def _followed(self, state: Tensors, matrix: Matrix) -> tuple[Tensor, Tensor]:
        """P and s with the present step in them."""
        import torch

        product, square, news, size = (state[f"{matrix.name}/{what}"] for what in ("product", "square", "news", "size"))
        finite = (news.sum() + size).isfinite()  # an error that overflowed is no news of the inputs
        news, size = (torch.where(finite, new, old) for new, old in ((news, product), (size, square)))
        return product + self.rate * (news - product), square + self.rate * (size - square)

    def _centre(self, state: Tensors, matrix: Matrix) -> Tensor:
        """c, `[in]`."""
        import torch

        product, square = self._followed(state, matrix)
        known = square > _LEAST
        return torch.where(known, product / torch.where(known, square, 1.0), 0.0)
