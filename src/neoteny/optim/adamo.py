"""AdamO (Rosseau, Müller and Nowé 2026): Adam, with weight matrices pulled towards orthogonal ones beside it.

A network whose layers change no distances keeps learning. The pull is apart from the gradients, as AdamW's decay is:
inside the loss, Adam would divide it by the size of the gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import require_nonnegative
from neoteny.optim.adam import Adam
from neoteny.optim.base import Counts

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AdamO", "isometry_pull"]

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class AdamO(Adam):
    """W <- W - alpha Adam(g) - alpha lam 4 W (W^T W - I), of weight matrices; Adam for the rest.

    The pull is the gradient of |W^T W - I|^2 (Frobenius norm), which is least where all singular values are 1; Adam's
    averages do not see it. A matrix with fewer rows than columns has |W W^T - I|^2 instead, with the same gradient
    (W W^T - I) W, so the smaller product is taken.

    Matrices are all parameters of two or more dimensions; kernels of convolutions have one row for each map,
    `[out, in * kernel]`. A parameter of three or more dimensions whose first is 1, such as a learned token or
    positions, is no matrix.

    Args:
        step_size: alpha.
        betas: as Adam's.
        eps: as Adam's.
        weight_decay: as Adam's, decoupled too.
        isometry: lam.

    >>> import torch
    >>> adamo, tensors = AdamO(step_size=0.1, isometry=0.5), {"w": torch.tensor([[2.0, 0.0], [0.0, 1.0]])}
    >>> grads, count = {"w": torch.tensor([[0.0, 0.0], [0.0, 3.0]])}, {"w": torch.tensor(1)}
    >>> adamo.update(tensors, grads, adamo.init(tensors), count)
    >>> tensors["w"].diagonal()  # 2 - 0.1 * 0.5 * 4 * 2 * (4 - 1); 1 - 0.1
    tensor([0.8000, 0.9000])

    Source: Rosseau, Müller & Nowé, "Preserving plasticity in continual learning via dynamical isometry", ICML 2026,
    arXiv 2606.09762; the isometry step has Adam's step size, the paper's default. The authors begin with orthogonal
    weights.
    """

    isometry: float = 1e-3
    name: ClassVar[str] = "adamo"
    varies: ClassVar[tuple[str, ...]] = ("step_size", "isometry")

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_nonnegative(self, "isometry")

    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Tensor] | None = None,
    ) -> None:
        """One update."""
        before = {name: tensors[name] for name in grads if is_matrix(tensors[name])}
        super().update(tensors, grads, optim, count, signals)
        for name, weight in before.items():
            tensors[name] = tensors[name] - (self.step_size * self.isometry) * isometry_pull(weight)


def is_matrix(weight: Tensor) -> bool:
    """Whether a parameter is a weight matrix or a kernel."""
    return weight.dim() == 2 or (weight.dim() > 2 and weight.shape[0] > 1)


def isometry_pull(weight: Tensor) -> Tensor:
    """4 W (W^T W - I), of the weight's shape; dimensions after the first are one, the columns of W.

    >>> import torch
    >>> isometry_pull(torch.tensor([[0.6, 0.8]]))  # of length 1
    tensor([[0., 0.]])
    """
    import torch

    w = weight.flatten(1)
    rows, columns = w.shape
    side = torch.eye(min(rows, columns), dtype=w.dtype, device=w.device)
    pull = w @ (w.mT @ w - side) if rows > columns else (w @ w.mT - side) @ w
    return (4 * pull).reshape(weight.shape)
