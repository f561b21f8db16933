"""How many directions the features span: four ranks from the singular values of the feature matrix.

Features are activations [..., examples, units]; with positions [..., examples, units, positions], each position of each
example is a row of the matrix. There may be leading dimensions (a stack of runs). The rank of a zero matrix is 0; that
of a matrix with a value that is not finite is NaN. Let sigma_1 >= sigma_2 >= ... be the singular values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.measures.units import rows_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["approx_rank_99", "effective_rank", "singular_values", "srank_99", "stable_rank"]


def singular_values(features: Tensor, positions: bool = False) -> Tensor:
    """The singular values of the feature matrix, [..., min(rows, units)], largest first; NaN where it is not finite.

    Args:
        features: activations on the probe set, [..., examples, units].
        positions: whether a further dimension of positions follows, [..., examples, units, positions].

    >>> import torch
    >>> singular_values(torch.tensor([[3.0, 0.0], [0.0, -4.0], [0.0, 0.0]]))
    tensor([4.0000, 3.0000])
    """
    import torch

    matrix = rows_of(features, positions)
    matrix = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    # LAPACK fails for the whole stack if one value is not finite, so such a matrix is replaced by zeros.
    finite = matrix.isfinite().all(dim=-1).all(dim=-1)[..., None]
    sigma = torch.linalg.svdvals(matrix.masked_fill(~finite[..., None], 0))
    return sigma.masked_fill(~finite, torch.nan)


def srank_99(features: Tensor, positions: bool = False) -> Tensor:
    """The least k with sigma_1 + ... + sigma_k >= 0.99 of the sum of all; the Nature paper plots it as "stable rank".

    Args:
        features: activations on the probe set, [..., examples, units].
        positions: whether a further dimension of positions follows, [..., examples, units, positions].

    Returns:
        [...], whole numbers as floats.

    >>> import torch
    >>> srank_99(torch.diag(torch.tensor([90.0, 9.5, 0.5])))
    tensor(2.)

    Source: Kumar et al., ICLR 2021 (arXiv 2010.14498), Eq. 1 with delta 0.01; Dohare et al., Nature 632, 2024.
    """
    return _srank_99(singular_values(features, positions))


def approx_rank_99(features: Tensor, positions: bool = False) -> Tensor:
    """The least k with sigma_1^2 + ... + sigma_k^2 >= 0.99 of the sum of all squares.

    Args:
        features: activations on the probe set, [..., examples, units].
        positions: whether a further dimension of positions follows, [..., examples, units, positions].

    Returns:
        [...], whole numbers as floats.

    >>> import torch
    >>> approx_rank_99(torch.diag(torch.tensor([90.0, 9.5, 0.5])))
    tensor(2.)
    >>> approx_rank_99(torch.diag(torch.tensor([90.0, 9.0, 0.5])))
    tensor(1.)

    Source: Yang et al., ICLR 2020 (arXiv 1909.12255), "approximate rank".
    """
    return _approx_rank_99(singular_values(features, positions))


def effective_rank(features: Tensor, positions: bool = False) -> Tensor:
    """exp(-sum p_i ln p_i) with p_i = sigma_i / sum sigma: the singular values' entropy as a number of directions.

    Args:
        features: activations on the probe set, [..., examples, units].
        positions: whether a further dimension of positions follows, [..., examples, units, positions].

    Returns:
        [...], between 1 and min(rows, units).

    >>> import torch
    >>> effective_rank(torch.eye(7))
    tensor(7.)

    Source: Roy and Vetterli, EUSIPCO 2007, Definition 1.
    """
    return _effective_rank(singular_values(features, positions))


def stable_rank(features: Tensor, positions: bool = False) -> Tensor:
    """The squared Frobenius norm over the squared spectral norm, sum sigma_i^2 / sigma_1^2.

    Not what the paper plots under this name: that is `srank_99`.

    Args:
        features: activations on the probe set, [..., examples, units].
        positions: whether a further dimension of positions follows, [..., examples, units, positions].

    Returns:
        [...], between 1 and min(rows, units).

    >>> import torch
    >>> stable_rank(torch.diag(torch.tensor([2.0, 1.0, 1.0])))
    tensor(1.5000)

    Source: Rudelson and Vershynin, J. ACM 54(4), 2007.
    """
    return _stable_rank(singular_values(features, positions))


def _srank_99(sigma: Tensor) -> Tensor:
    import torch

    total = sigma.sum(dim=-1, keepdim=True)
    # A margin for rounding, so that 99 of 100 equal values count as 99% of the sum.
    margin = 1 - sigma.shape[-1] * torch.finfo(sigma.dtype).eps
    short = sigma.cumsum(dim=-1) < 0.99 * margin * total
    count = (short.sum(dim=-1) + 1).clamp(max=sigma.shape[-1]).to(sigma.dtype)
    return _zero_or_nan(count, total[..., 0])


def _approx_rank_99(sigma: Tensor) -> Tensor:
    return _srank_99(_scaled(sigma).square())


def _effective_rank(sigma: Tensor) -> Tensor:
    import torch

    total = sigma.sum(dim=-1, keepdim=True)
    return _zero_or_nan(torch.special.entr(sigma / total).sum(dim=-1).exp(), total[..., 0])


def _stable_rank(sigma: Tensor) -> Tensor:
    return _zero_or_nan(_scaled(sigma).square().sum(dim=-1), sigma[..., 0])


def _scaled(sigma: Tensor) -> Tensor:
    """The singular values divided by the largest, so that their squares neither overflow nor vanish."""
    import torch

    return sigma / sigma[..., :1].clamp(min=torch.finfo(sigma.dtype).tiny)


def _zero_or_nan(rank: Tensor, total: Tensor) -> Tensor:
    """0 where all singular values are 0, NaN where they are NaN."""
    return rank.masked_fill(total == 0, 0).masked_fill(total.isnan(), float("nan"))


FROM_SINGULAR_VALUES = {
    "srank_99": _srank_99,
    "approx_rank_99": _approx_rank_99,
    "effective_rank": _effective_rank,
    "stable_rank": _stable_rank,
}
"""The ranks as functions of the singular values, for several ranks of one matrix."""
