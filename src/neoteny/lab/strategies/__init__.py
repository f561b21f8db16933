"""Ways of training R independent runs, chosen by measurement; equal results."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.lab.step import TrainingStep
from neoteny.lab.strategies.base import Strategy
from neoteny.lab.strategies.loop import Loop
from neoteny.lab.strategies.one_call import OneCall
from neoteny.lab.strategies.rank_one import RankOne
from neoteny.lab.strategies.stack import Stack

STRATEGIES: dict[str, type[Strategy]] = {"stack": Stack, "loop": Loop, "rank-one": RankOne, "one-call": OneCall}

STACK_BYTES = 2**18
"""Parameters of a whole stack up to this size fit into a core's cache beside their gradients."""
SHARED_BATCH = 32
"""From so many examples a step on, several threads share the products of a stack better than those of single runs."""


def choose(
    wanted: str, module: nn.Module, step: TrainingStep, example: Tensor, runs: int, compile: bool
) -> type[Strategy]:
    """The strategy asked for, or with `auto` the one that was fastest where it was measured (`make bench`).

    A GPU stacks everything. On a CPU a stack pays while it fits into the cache: there the number of calls decides; or
    where several threads share the products of large batches. One example at a time on a chain of linear layers goes
    through the kernel of rank one; convolutions and other larger networks go one run after the other.

    Raises:
        SettingError: there is no such strategy, or it does not suit the network, optimizer or methods.
    """
    if wanted != "auto" and wanted not in STRATEGIES:
        raise SettingError(f"strategy = {wanted!r} is not one of auto, {', '.join(STRATEGIES)}.")
    if wanted == "rank-one":
        reason = RankOne.suits(module, step, example)
        if reason is not None:
            raise SettingError(f"strategy = 'rank-one' does not suit: {reason}; choose auto, stack or loop.")
    if wanted != "auto":
        return STRATEGIES[wanted]
    size = 4 * sum(parameter.numel() for parameter in module.parameters())
    convolutional = any(parameter.dim() > 2 for parameter in module.parameters())
    small = runs * size <= STACK_BYTES or (
        example.shape[0] >= SHARED_BATCH and runs > 1 and torch.get_num_threads() > 1
    )
    if example.device.type != "cpu" or (small and not convolutional):
        return Stack
    return RankOne if compile and RankOne.suits(module, step, example) is None else Loop


__all__ = ["STRATEGIES", "Loop", "OneCall", "RankOne", "Stack", "Strategy", "choose"]
