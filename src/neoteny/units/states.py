"""Hidden states that a recurrent network gives back beside its output, to be given to it at the next step.

They are no output: a unit that only its own state shows is hidden. `Plasticity.forget` sets what is carried to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

__all__ = ["States"]


class States:
    """What the recurrent modules of a network gave out as their states while this is entered.

    >>> import torch
    >>> rnn = nn.GRU(2, 3)
    >>> with States(rnn) as states:
    ...     out, state = rnn(torch.zeros(4, 2))
    >>> [tensor.shape for tensor in states.removed_from([out, state])]
    [torch.Size([4, 3])]
    """

    def __init__(self, model: nn.Module):
        self._recurrent = [m for m in model.modules() if isinstance(m, (nn.RNNBase, nn.RNNCellBase))]
        self._seen: list[Tensor] = []
        self._handles: list[Any] = []

    def __enter__(self) -> States:
        self._handles = [module.register_forward_hook(self._see) for module in self._recurrent]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _see(self, module: nn.Module, inputs: Any, output: Any) -> None:
        states = output[1] if isinstance(module, nn.RNNBase) else output
        self._seen.extend(leaf for leaf in tree_leaves(states) if isinstance(leaf, Tensor))

    def removed_from(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """A network's outputs without those that are states, or views of them; all, if there are no others."""
        own = {state.untyped_storage().data_ptr() for state in self._seen}
        others = [value for value in outputs if value.untyped_storage().data_ptr() not in own]
        return others or list(outputs)
