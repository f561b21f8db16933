"""The gradient of a penalty on what the network does on a reference batch: shared by the regularisers that have one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from neoteny.errors import SettingError
from neoteny.methods.base import OnReference, Step, Tensors

if TYPE_CHECKING:
    from torch import Tensor

Penalty = Callable[["Tensor", Tensors, Tensors], "Tensor"]
"""Of the outputs, the hidden activations by layer, and what is differentiated beside the network: a number, `[]`."""


def on_reference(step: Step) -> OnReference:
    """The network on the reference batch.

    Raises:
        SettingError: this training has no reference batch.
    """
    if step.on_reference is None:
        raise SettingError(
            "A method needs a reference batch, and this training has none; attach the method with reference=batch, or "
            "leave it out."
        )
    return step.on_reference


def gradients(step: Step, penalty: Penalty, beside: Tensors | None = None) -> tuple[Tensors, Tensors]:
    """The gradient of a penalty on what the network does on the reference batch.

    Args:
        step: the step; parameters that have no gradient in it are constants.
        penalty: the penalty.
        beside: tensors that are differentiated with the network, by name.

    Returns:
        Gradients by the parameters that are being trained, and by the tensors beside them.
    """
    network = on_reference(step)

    def value(trained: Tensors, beside: Tensors) -> Tensor:
        return penalty(*network({**step.tensors, **trained}), beside)

    trained = {name: step.tensors[name] for name in step.grads}
    pulls, others = step.gradient_of(value, trained, beside or {})
    return pulls, others


def at_least_single(tensor: Tensor) -> Tensor:
    """In single precision or the tensor's own, whichever is finer."""
    import torch

    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
