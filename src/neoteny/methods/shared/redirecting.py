"""Which gradients an optimizer follows after methods that map them linearly (`Method.redirects`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.base import Method, Step

__all__ = ["Redirecting"]

Tensors = dict[str, "Tensor"]


class Redirecting:
    """Applies methods' maps to all gradients of a step but the loss's own, which `regularise` has mapped.

    Args:
        grads: the loss's gradients, before any method has changed them.
        predicted: gradients of the prediction, where an optimizer follows one; else none.
        factors: gradients of the factors of the curvature, `[F, ...]`, where an optimizer reads them.
    """

    def __init__(self, grads: Tensors, predicted: Tensors, factors: Tensors | None = None):
        self.own, self.predicted, self.factors = dict(grads), dict(predicted), dict(factors or {})

    def regularise(self, method: Method, step: Step, state: Tensors) -> Tensors:
        """Let a method change the loss's gradients in `step`, and map all others likewise. Returns its new state."""
        import torch

        pulled = self.pulled(step) if self.predicted else []
        state = method.regularise(step, state)
        if method.redirects:
            if self.factors:
                self.factors |= torch.vmap(lambda own: method.redirect(step, state, own))(self.factors)
            if self.predicted:
                self.predicted |= method.redirect(step, state, self.predicted)
                mapped = method.redirect(step, state, self.own)
                # what the map does not make of them is a pull: that of methods before, or this one's noise
                apart = mapped.keys() if method.draws_before else pulled
                self.own |= {name: value if name in apart else step.grads[name] for name, value in mapped.items()}
        return state

    def pulled(self, step: Step) -> list[str]:
        """The parameters whose gradients regularisers have added to."""
        return [name for name, value in step.grads.items() if value is not self.own[name]]
