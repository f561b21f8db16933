"""The rank of the loss's curvature: in how many directions the loss of a network bends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from neoteny.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["hessian_rank"]


def hessian_rank(model: nn.Module, inputs: Tensor, tensors: Mapping[str, Tensor] | None = None) -> Tensor:
    """How many eigenvalues hold 99 % of the trace of the Gauss-Newton matrix of the mean cross-entropy.

    With the Jacobian J_e of the logits of example e and its probabilities p_e, the matrix is

        G = 1/E Σ_e J_eᵀ (diag(p_e) - p_e p_eᵀ) J_e

    the part of the Hessian that remains where examples are fitted; it needs no labels and has no negative eigenvalue.
    It has at most E (C - 1) eigenvalues that are not 0: those of the small matrix [E C, E C] that is computed here.
    Memory: E C times that of the parameters.

    Args:
        model: gives logits [E, C]; it is run in evaluation mode and stays as it is.
        inputs: E examples.
        tensors: parameters and buffers to use in place of the model's, by name.

    Returns:
        A number [], float: 0 where the matrix is 0, NaN where it is not finite.

    Raises:
        SettingError: outputs of another shape.

    >>> import torch
    >>> net = torch.nn.Linear(3, 2, bias=False)
    >>> hessian_rank(net, torch.eye(3)[:2])
    tensor(2.)

    Source: the rank of the Hessian as an explanation of lost plasticity: Lewandowski, Tanaka, Schuurmans & Machado,
    "Directions of curvature as an explanation for loss of plasticity", arXiv 2312.00246, 2023; the Gauss-Newton part
    and the share of 99 % are our choice.
    """
    import torch
    from torch.func import functional_call, grad, vmap

    from neoteny.measures.forward import evaluating

    own = dict(model.named_parameters()) | dict(model.named_buffers()) if tensors is None else dict(tensors)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    fixed = {name: value.detach() for name, value in own.items() if name not in names}
    trained = {name: own[name].detach() for name in names}

    def logits(trained: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(model, {**fixed, **trained}, (x.unsqueeze(0),)).squeeze(0)

    with evaluating(model):
        with torch.no_grad():
            outputs = functional_call(model, {**fixed, **trained}, (inputs,))
        if outputs.dim() != 2 or outputs.shape[1] < 2:
            raise SettingError(
                f"hessian_rank takes a model whose outputs are logits [examples, classes], not {outputs.shape}."
            )
        p = outputs.softmax(-1)
        roots = torch.diag_embed(p.sqrt()) - p.unsqueeze(2) * p.sqrt().unsqueeze(1)  # B with B Bᵀ = diag(p) - p pᵀ

        def along(x: Tensor, column: Tensor) -> dict[str, Tensor]:
            return grad(lambda trained: logits(trained, x) @ column)(trained)

        rows = vmap(vmap(along, in_dims=(None, 1)))(inputs, roots)
    products = (flat @ flat.mT for flat in (value.flatten(0, 1).flatten(1) for value in rows.values()))
    matrix = sum((product.double() for product in products), torch.zeros((), dtype=torch.float64, device=p.device))
    # LAPACK fails where a value is not finite, as in a network that has diverged.
    finite = matrix.isfinite().all()
    values = torch.linalg.eigvalsh(matrix.masked_fill(~finite, 0)).clamp_min(0).flip(0)
    within = values.cumsum(0) < 0.99 * values.sum()
    return (within.sum() + (values.sum() > 0)).to(outputs.dtype).masked_fill(~finite, torch.nan)
