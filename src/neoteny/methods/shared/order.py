"""The order in which the methods of one network act, and the random numbers that each of them draws.

At every step methods act stage by stage, whatever the order of the list; within a stage in the order of the list:

1. `regulariser`: adds to the gradients, or pulls the weights itself (decoupled decay)
2. `optimizer`: changes the gradients as a whole, including what the regularisers added
3. `perturbation`: shrinks the weights and adds noise to them
4. `projection`: puts the weights back where they have to be, after the noise
5. `reset`: makes units, weights or layers new; the new weights stay as they were drawn and are not projected
6. `average`: follows the weights as all other stages have left them

Stages 1 and 2 change the gradients before the optimizer's step. All changes to the weights come after it. A method of
stage `architecture` changes the network before training (`neoteny.prepare`) and does nothing later.

A run has one key, made from `method_seed`. Update number t, counted from 0, folds t into it. Into the result the
regulariser of method i folds 2 i, its intervention 2 i + 1; at a task boundary method i folds in -1, then i; dropout
folds in -2. Here i is the method's place in the list, so it draws the same numbers wherever it acts. A user's network
draws what a run of the laboratory with the same seed draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, get_args

from neoteny.methods.base import Method, Stage

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DROPOUT", "Turn", "at_task", "in_order", "intervene", "key_of", "method_seed", "regularise"]

DROPOUT = -2
"""What dropout folds into the key of an update."""
_BOUNDARY = -1


class Turn(NamedTuple):
    """One method's turn to act.

    Attributes:
        number: the method's place in the list.
        method: the method.
        folded: the numbers that are folded into the key of the update, one after the other, to get the key of this
            turn; see `key_of`.
    """

    number: int
    method: Method
    folded: tuple[int, ...]


def in_order(methods: Sequence[Method]) -> list[int]:
    """The places of methods in their list, in the order in which they act.

    >>> from neoteny.methods import L2, ReDo
    >>> in_order([ReDo(), L2()])
    [1, 0]
    """
    stages = get_args(Stage)
    return sorted(range(len(methods)), key=lambda number: stages.index(methods[number].stage))


def regularise(methods: Sequence[Method]) -> list[Turn]:
    """The turns before the optimizer's step, in order.

    >>> from neoteny.methods import L2, ReDo
    >>> [(turn.number, turn.method.name, turn.folded) for turn in regularise([ReDo(), L2()])]
    [(1, 'l2', (2,)), (0, 'redo', (0,))]
    """
    return [Turn(number, methods[number], (2 * number,)) for number in in_order(methods)]


def intervene(methods: Sequence[Method]) -> list[Turn]:
    """The turns after the optimizer's step, in order.

    >>> from neoteny.methods import L2, ReDo
    >>> [(turn.number, turn.folded) for turn in intervene([ReDo(), L2()])]
    [(1, (3,)), (0, (1,))]
    """
    return [Turn(number, methods[number], (2 * number + 1,)) for number in in_order(methods)]


def at_task(methods: Sequence[Method]) -> list[Turn]:
    """The turns at a task boundary, in order.

    >>> from neoteny.methods import L2, ReDo
    >>> [(turn.number, turn.folded) for turn in at_task([ReDo(), L2()])]
    [(1, (-1, 1)), (0, (-1, 0))]
    """
    return [Turn(number, methods[number], (_BOUNDARY, number)) for number in in_order(methods)]


def key_of(key: Tensor, *numbers: Tensor | int) -> Tensor:
    """The key after folding in these numbers, one after the other.

    >>> import torch
    >>> from neoteny.units import random
    >>> torch.equal(key_of(random.key(0), 7, 2), random.fold_in(random.fold_in(random.key(0), 7), 2))
    True
    """
    from neoteny.units.random import fold_in

    for number in numbers:
        key = fold_in(key, number)
    return key


def method_seed(run_seed: int) -> int:
    """The seed of the key from which everything follows that methods draw in a run."""
    from neoteny.seeds import METHOD, generator

    return int(generator(run_seed, METHOD).integers(2**62))
