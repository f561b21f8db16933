"""Units that methods replace inside a kernel.

When a replacement is due is known beforehand, and so is the random key of its new weights; which unit it is the kernel
finds out. So the new weights are drawn before the kernel begins, by the method's own rule.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from neoteny.lab.step import TrainingStep
from neoteny.lab.strategies.acting import Judge, judging
from neoteny.methods import ContinualBackprop
from neoteny.methods.shared import order
from neoteny.units import random
from neoteny.units.records import Network, UnitLayer
from neoteny.units.reset import fresh_rows

__all__ = ["EVENT", "drawn", "inside"]

EVENT = np.dtype(
    [("step", np.int64), *((name, np.int32) for name in ("lane", "layer", "count", "stride")), ("fresh", np.uint64)]
)
"""One replacement, as the kernels read it (`chain.h`)."""


def inside(step: TrainingStep) -> bool:
    """Whether kernels make units new themselves: they know neither the compensation nor medians of step sizes."""
    compensating = any(method.compensate for method in step.methods if isinstance(method, ContinualBackprop))
    return not compensating and getattr(step.objective.phases[0].optimizer, "newborn_step", "initial") == "initial"


def drawn(
    step: TrainingStep,
    method: Judge,
    keys: Tensor,
    counts: Tensor,
    due: np.ndarray | None,
    like: Callable[[str], Tensor],
    lanes: int = 1,
) -> tuple[np.ndarray, np.ndarray, list[Tensor]]:
    """The replacements of R runs, ordered by block of runs and step; where each block's end; and the new weights.

    Args:
        step: the step.
        method: with the runs' own settings.
        keys: of the runs.
        counts: updates that the runs had so far, `[R]`.
        due: `[R, S, layers]`, or None.
        like: gives a parameter of one run by its name.
        lanes: how many runs are a block.
    """
    blocks = -(-len(counts) // lanes)
    if due is None or not len(found := np.flatnonzero(due)):
        return np.empty(0, EVENT), np.zeros(blocks, np.int64), []
    run, at, place = np.unravel_index(found, due.shape)
    events, fresh = np.zeros(len(run), EVENT), []
    events["step"], events["lane"], events["layer"], events["count"] = at, run % lanes, place, due[run, at, place]
    number = judging(step)
    folded = next(turn.folded for turn in step.intervening if turn.number == number)
    steps = counts[run] + torch.as_tensor(at, dtype=torch.int32)
    own = order.key_of(random.fold_in(keys[run], steps), *folded)
    for i, layer in enumerate(step.network.layers):
        here = np.flatnonzero(place == i)
        if len(here):
            fresh.append(_fresh(method, step.network, layer, random.fold_in(own[here], method.draw_number(i)), like))
            several, length = fresh[-1].shape[1:]
            events["stride"][here] = length if several > 1 else 0
            events["fresh"][here] = fresh[-1].data_ptr() + 4 * several * length * np.arange(len(here))
    events = events[np.lexsort((place, at, run // lanes))]
    return events, np.cumsum(np.bincount(run // lanes, minlength=blocks)), fresh


def _fresh(method: Judge, network: Network, layer: UnitLayer, keys: Tensor, like: Callable[[str], Tensor]) -> Tensor:
    """New incoming weights by the keys of several resets, `[resets, units or 1, inputs]`."""
    (slices,), shared = layer.incoming, method.draws_one_row(layer)
    example, initialiser = like(slices.name), network.initialisers[slices.name]

    def draw(key: Tensor) -> Tensor:
        return fresh_rows(slices, network, random.fold_in(key, 0), example, shared)

    many = initialiser.kind in ("uniform", "sign") and not initialiser.whole  # these take many keys at once
    rows = draw(keys) if many else torch.func.vmap(draw)(keys)
    return rows.flatten(2).contiguous()
