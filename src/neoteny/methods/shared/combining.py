"""Several methods on one network: the order in which they act, and the pairs that make no sense.

At every step methods act stage by stage, whichever way they were listed; within a stage as listed:

1. `regulariser`: adds to the gradients, or pulls the weights by itself (decoupled decay)
2. `optimizer`: changes the gradients as a whole, the regularisers' part of them included
3. `perturbation`: shrinks the weights and makes them noisy
4. `projection`: puts the weights back where they have to be, the noise included
5. `reset`: makes units, weights or layers new; these lie where the initialiser put them, projected by nobody
6. `average`: follows the weights, as everything before has left them

The optimizer's step comes after what stages 1 and 2 do to the gradients, and before all that is done to weights. A
method of stage `architecture` changes the network before training (`prepare`) and nothing later.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, get_args

from neoteny.errors import SettingError
from neoteny.methods.base import Method, Stage

if TYPE_CHECKING:
    from torch import nn

__all__ = ["in_order", "prepare", "prepared", "refuse_impossible"]

_PREPARED = "_neoteny_prepared"


def in_order(methods: Sequence[Method]) -> list[int]:
    """Numbers of methods in the order in which they act.

    >>> from neoteny.methods import L2, ReDo
    >>> in_order([ReDo(), L2()])
    [1, 0]
    """
    stages = get_args(Stage)
    return sorted(range(len(methods)), key=lambda number: stages.index(methods[number].stage))


def refuse_impossible(methods: Sequence[Method]) -> None:
    """Refuse methods that cannot act on one network.

    Raises:
        SettingError: two of them exclude each other; the message says why.
    """
    for one, other in combinations(methods, 2):
        reason = one.excludes(other) or other.excludes(one)
        if reason:
            raise SettingError(f"{one.name} and {other.name} cannot act together: {reason}. Leave one of them out.")


def prepare(model: nn.Module, methods: Method | Sequence[Method], example_inputs: Any) -> nn.Module:
    """The network as the methods want it: with other activations, norms or dropout, say.

    Call it before an optimizer is made of the network's parameters; then attach the same methods. A network that none
    of the methods wants otherwise comes back as it is; the others are copies.

    Args:
        model: the network, without wrappers.
        methods: one method or several.
        example_inputs: a batch as the network takes it: a tensor, a tuple of arguments or a dict of named ones.

    Raises:
        SettingError: two of the methods exclude each other.
        NetworkError: the network is not one that a method knows to change.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, neoteny.SmoothLeaky(), torch.zeros(1, 3))[1]
    SmoothLeakyReLU(alpha=0.1, c=5.0, p=3.0)
    """
    chosen = [methods] if isinstance(methods, Method) else list(methods)
    refuse_impossible(chosen)
    done = prepared(model)
    for number in in_order(chosen):
        method = chosen[number]
        if method.prepares and method.name not in done:
            done = (*done, method.name)
            model = method.prepare(model, example_inputs)
            setattr(model, _PREPARED, done)
    return model


def prepared(model: nn.Module) -> tuple[str, ...]:
    """Names of the methods that a network was prepared for."""
    return getattr(model, _PREPARED, ())
