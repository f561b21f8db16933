"""One example at a time on a chain of linear layers, with a step size for each weight: Autostep, IDBD.

Also SGD, where methods map its gradients.

The kernel `own_steps.cpp` keeps the weights from one input and their state side by side, and leaves alone what an input
of 0 does not change. The tensors of a run's carry are views of the kernel's memory, so nothing is copied between calls.
The methods that `acting.py` names act inside it; every other method acts by its own rule, between two calls.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from neoteny import compiling
from neoteny.lab.objective import Batch
from neoteny.lab.step import Carry
from neoteny.lab.strategies import acting, replacements
from neoteny.lab.strategies.acting import Judge
from neoteny.lab.strategies.base import Due
from neoteny.lab.strategies.chains import SUMS, pointers
from neoteny.lab.strategies.rank_one import RankOne
from neoteny.lab.strategies.rules import PLAIN, rule_of

SOURCE = Path(__file__).with_name("own_steps.cpp")
LANES = 16
"""A line is filled up to a multiple of so many weights."""


class OwnSteps(RankOne):
    """The strategy `rank-one` for rules with a step size for each weight."""

    def load(self, carry: Carry) -> None:
        """Take over a carry of all runs."""
        super().load(carry)
        self._memory: list[list[Tensor] | None] = [None] * self.runs

    def use(self, module: nn.Module, example: Tensor) -> None:
        """Read the chain of layers from the network, before the first step."""
        super().use(module, example)
        method = None if self._judging is None else self.step.methods[self._judging]
        one_row = isinstance(method, Judge) and all(map(method.draws_one_row, self.step.network.layers))
        self._inside = one_row and replacements.inside(self.step)

    def _compiled(self) -> Callable[..., None]:
        optimizer = self.step.bound(self.hyper)[0][0]
        rule = self._rule = rule_of(optimizer) or PLAIN
        return compiling.kernel(SOURCE, f"RULE={rule.name(optimizer)}", *acting.defined(self.step)).neoteny_own_steps

    def _laid_out(self, run: int) -> list[Tensor]:
        """The kernel's memory of each layer, lines of `[1 + states, width]`; the carry becomes views of it.

        A line has the weights from one input, and the last the biases; in the first layer, where inputs are centred,
        the weights to one unit and its bias.
        """
        memory = self._memory[run]
        if memory is not None:
            return memory
        carry, memory = self._carries[run], []
        tensors, optim = dict(carry["tensors"]), {name: dict(state) for name, state in carry["optim"].items()}
        by_unit = acting.centring(self.step) is not None
        for name, inputs, outputs in zip(self._linears, self._sizes, self._sizes[1:], strict=False):
            lines, width = (outputs, inputs + 1) if by_unit else (inputs + 1, outputs)
            memory.append(torch.zeros(lines, 1 + len(self._rule.states), -(-width // LANES) * LANES))
            for number, kind in enumerate((None, *self._rule.states)):
                to_units = memory[-1][:, number] if by_unit else memory[-1][:, number].T
                for what, view in (("weight", to_units[:outputs, :inputs]), ("bias", to_units[:outputs, inputs])):
                    owner, own = (tensors, f"{name}.{what}") if kind is None else (optim[f"{name}.{what}"], kind)
                    owner[own] = view.copy_(owner[own])
            by_unit = False
        self._carries[run] = {**carry, "tensors": tensors, "optim": optim}
        self._memory[run] = memory
        return memory

    def _advance_one(self, run: int, batches: Batch, due: Due) -> None:
        x, y = batches["inputs"].contiguous(), batches["targets"].contiguous()
        number = self._judging if self._inside else None
        others = [rows for place, rows in enumerate(due) if rows is not None and place != number]
        stops = np.flatnonzero(np.any([rows.any(-1) for rows in others], axis=0)) if others else []
        begun = 0
        # each call does as many steps as possible and ends with a step in which another method acts
        for stop in [*map(int, stops), None]:
            end = x.shape[0] if stop is None else stop + 1
            if end > begun:
                inside = None if number is None else due[number]
                inside = None if inside is None else inside[None, begun : end if stop is None else stop]
                features = self._steps(run, x[begun:end], y[begun:end], inside)
                if stop is not None:
                    active = tuple(rows is not None and bool(rows[stop].any()) for rows in due)
                    rows = [torch.as_tensor(r[stop]) for r, on in zip(due, active, strict=True) if on and r is not None]
                    self._reset(run, active, rows, features)
                    self._memory[run] = None
            begun = end

    def _steps(self, run: int, x: Tensor, y: Tensor, due: np.ndarray | None) -> dict[str, Tensor]:
        """Train on all of x; returns the hidden activations of the last example."""
        memory = self._laid_out(run)
        carry, steps, layers = self._carries[run], x.shape[0], self.step.network.layers
        hyper = {name: value[run] for name, value in self.hyper.items()}
        (optimizer,), methods = self.step.bound(hyper)
        features = {layer.name: torch.empty(1, layer.size, 1) for layer in layers}
        events, fresh = np.empty(0, replacements.EVENT), []
        states = {number: carry["methods"][number] for number in acting.within(self.step)}
        if self._judging is not None:
            given = methods[self._judging], self.keys[run : run + 1], carry["count"][None], due
            events, _, fresh = replacements.drawn(self.step, *given, carry["tensors"].__getitem__)  # pyright: ignore[reportArgumentType]
        own = [float(value) for value in acting.settings(self.step, methods)]
        centred, divided = acting.utility(self.step)
        fixed = self._rule.fixed(optimizer)
        newborn = self._rule.newborn(optimizer)
        sums = torch.zeros(len(SUMS), dtype=torch.float64)
        self._train(
            pointers(memory),
            (ctypes.c_int * len(self._sizes))(*self._sizes),
            (ctypes.c_int * len(memory))(*(block.shape[2] for block in memory)),
            len(memory),
            self._activation,
            int(self._squared),
            ctypes.c_void_p(x.data_ptr()),
            ctypes.c_void_p(y.data_ptr()),
            ctypes.c_long(steps),
            ctypes.c_float(getattr(optimizer, self._rule.meta)),
            (ctypes.c_float * len(fixed))(*fixed),
            (ctypes.c_float * len(newborn))(*newborn),
            pointers(acting.kept(self.step, states)),
            pointers(acting.centres(self.step, states, f"{self._linears[0]}.weight")),
            (ctypes.c_float * len(own))(*own),
            int(centred),
            int(divided),
            ctypes.c_void_p(events.ctypes.data),
            ctypes.c_void_p(events.ctypes.data + events.nbytes),
            pointers(list(features.values())),
            ctypes.c_void_p(sums.data_ptr()),
        )
        del fresh  # the events point into it
        for name in carry["sums"]:
            carry["sums"][name] += sums[SUMS[name]]
        carry["count"] += steps
        return features
