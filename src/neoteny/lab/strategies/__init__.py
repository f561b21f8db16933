"""Ways of training R independent runs: their results are equal, `auto` takes the fastest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.lab.step import TrainingStep
from neoteny.lab.strategies.base import Strategy
from neoteny.lab.strategies.chains import mapped, perturbing, unsuited
from neoteny.lab.strategies.lanes import Lanes
from neoteny.lab.strategies.loop import Loop
from neoteny.lab.strategies.one_call import OneCall
from neoteny.lab.strategies.own_steps import OwnSteps
from neoteny.lab.strategies.rank_one import RankOne
from neoteny.lab.strategies.replacements import inside
from neoteny.lab.strategies.rules import rule_of
from neoteny.lab.strategies.stack import Stack

STRATEGIES: dict[str, type[Strategy]] = {
    "stack": Stack,
    "loop": Loop,
    "rank-one": RankOne,
    "one-call": OneCall,
    "lanes": Lanes,
}

STACK_BYTES = 2**23
"""Up to this size of the parameters and inputs of a whole stack, the calls that each run would make by itself take more
time than a stack loses to a slower memory: 1.1 to 3 times faster up to 6 MB, and slower from 12 MB on."""
STACK_PARAMETERS = 2**14
"""Networks of up to so many parameters take less time for one example than the calls that each run would make by
itself."""
LANES_SIZE, LANES_RUNS = 2**15, 4
"""From so many runs on, networks of up to so many parameters are faster side by side in vectors than each by itself."""
SHARED_BATCH = 32
"""With this many examples in a step or more, several threads speed up the products of a stack more than those of single
runs."""


def choose(
    wanted: str, module: nn.Module, step: TrainingStep, example: Tensor, runs: int, compile: bool
) -> type[Strategy]:
    """The strategy asked for, or with `auto` the one that was fastest in measurements (`make bench`).

    On a CPU a chain of linear layers that learns from one example at a time uses a kernel: several small networks the
    one in lanes, else the rank-one one. On a GPU all other runs are stacked. On a CPU a stack of several runs is
    faster if it is small or if small networks learn from single examples, since then the number of calls decides, or if
    several threads share the products of large batches. Single runs, convolutions and larger networks train one run
    after the other.

    Raises:
        SettingError: there is no such strategy, or it does not suit the network, optimizer or methods.
    """
    if wanted != "auto" and wanted not in STRATEGIES:
        raise SettingError(f"strategy = {wanted!r} is not one of auto, {', '.join(STRATEGIES)}.")
    if wanted in ("rank-one", "lanes"):
        reason = unsuited(module, step, example, lanes=wanted == "lanes")
        if reason is not None:
            raise SettingError(f"strategy = {wanted!r} does not suit: {reason}; choose auto, stack or loop.")
    rank_one = OwnSteps if rule_of(step.objective.phases[0].optimizer) or mapped(step) else RankOne
    if wanted != "auto":
        return rank_one if wanted == "rank-one" else STRATEGIES[wanted]
    parameters = sum(parameter.numel() for parameter in module.parameters())
    several = runs >= LANES_RUNS and parameters <= LANES_SIZE and inside(step) and perturbing(step) is None
    if compile and several and unsuited(module, step, example, lanes=True) is None:
        return Lanes
    if compile and unsuited(module, step, example) is None:
        return rank_one
    convolutional = any(parameter.dim() > 2 for parameter in module.parameters())
    small = (
        (runs > 1 and 4 * runs * (parameters + example.numel()) <= STACK_BYTES)
        or (example.shape[0] == 1 and parameters <= STACK_PARAMETERS)
        or (example.shape[0] >= SHARED_BATCH and runs > 1 and torch.get_num_threads() > 1)
    )
    return Stack if example.device.type != "cpu" or (small and not convolutional) else Loop


__all__ = ["STRATEGIES", "Lanes", "Loop", "OneCall", "OwnSteps", "RankOne", "Stack", "Strategy", "choose"]
