"""Many small chains of linear layers side by side, one example at a step: a run is one lane of the processor's vectors.

The kernel `lanes.cpp` does the steps of as many runs at once as a vector has lanes (8 with AVX), and keeps their
weights in the nearest cache. It learns by SGD, or by a rule with a step size for each weight. The methods that
`acting.py` names act inside it, replacements included; every other method acts by its own rule, between two calls.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from neoteny import compiling
from neoteny.lab.objective import Batch
from neoteny.lab.step import Carry
from neoteny.lab.strategies import acting, replacements
from neoteny.lab.strategies.base import Due, Strategy
from neoteny.lab.strategies.chains import SUMS, chain, pointers, resets, squared
from neoteny.lab.strategies.rules import rule_of

SOURCE = Path(__file__).with_name("lanes.cpp")


class Lanes(Strategy):
    """All runs at once; one call does all steps up to the next one at which another method acts."""

    name: ClassVar[str] = "lanes"

    @cached_property
    def _library(self) -> ctypes.CDLL:
        """The kernel, compiled for the rule and the methods."""
        optimizer = self.step.bound(self.hyper)[0][0]
        rule = rule_of(optimizer)
        name = "SGD" if rule is None else rule.name(optimizer)
        return compiling.kernel(SOURCE, f"RULE={name}", *acting.defined(self.step))

    def load(self, carry: Carry) -> None:
        """Take over a carry of all runs."""
        self._lanes: int = self._library.neoteny_width()
        self._rule = rule_of(self.step.objective.phases[0].optimizer)
        self._blocks = -(-self.runs // self._lanes)
        tensors = carry["tensors"]
        self._tensors = {name: self._laid(value) for name, value in tensors.items()}
        self._optim = {
            parameter: {name: self._laid(value) for name, value in state.items()}
            for parameter, state in carry["optim"].items()
        }
        self._states = {
            number: {name: self._laid(value) for name, value in carry["methods"][number].items()}
            for number in acting.within(self.step)
        }
        self._rest = carry

    def carry(self) -> Carry:
        """The carry of all runs."""
        methods = list(self._rest["methods"])
        for number, state in self._states.items():
            methods[number] = self._back(state)
        optim = {parameter: self._back(state) for parameter, state in self._optim.items()}
        return {**self._rest, "tensors": self._back(self._tensors), "optim": optim, "methods": methods}

    def take_sums(self) -> dict[str, Tensor]:
        """Sums of loss and accuracy since they were last taken, float64 `[R]`; sets them back to 0."""
        sums = self._rest["sums"]
        self._rest = {**self._rest, "sums": {name: torch.zeros_like(value) for name, value in sums.items()}}
        return sums

    def _laid(self, value: Tensor) -> Tensor:
        """`[runs, ...]` as `[blocks, ..., lanes]`; lanes beyond the last run repeat it."""
        runs = torch.arange(self._blocks * self._lanes).clamp_max(self.runs - 1)
        return value[runs].unflatten(0, (self._blocks, self._lanes)).movedim(1, -1).contiguous()

    def _back(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: v.movedim(-1, 1).flatten(0, 1)[: self.runs].contiguous() for name, v in values.items()}

    def use(self, module: nn.Module, example: Tensor) -> None:
        """Read the chain of layers from the network, before the first step."""
        found = chain(module, example)
        assert found is not None  # checked by `choose`
        self._train = self._library.neoteny_lanes
        self._linears, self._activation = found
        outputs = [module.get_parameter(f"{name}.weight").shape[0] for name in self._linears]
        self._sizes = [example.shape[1], *outputs]

    @torch.no_grad()
    def advance(self, batches: Batch, due: Due) -> None:
        """Train on batches, a pytree of tensors `[R, S, B, ...]`."""
        parts = [batches[name] for name in ("inputs", "targets", "latest", "truth") if name in batches]
        steps = parts[0].shape[1]
        number = acting.judging(self.step) if replacements.inside(self.step) else None
        others = [rows for place, rows in enumerate(due) if rows is not None and place != number]
        stops = np.unique(np.concatenate([np.nonzero(rows)[1] for rows in others])) if others else []
        replacing = None if number is None else due[number]
        begun = 0
        # each call does as many steps as possible and ends with a step in which another method acts
        for stop in [*map(int, stops), None]:
            end = steps if stop is None else stop + 1
            own = None if replacing is None else replacing[:, begun : end if stop is None else stop]
            if end > begun:
                features = self._kernel([part[:, begun:end].contiguous() for part in parts], own)
                if stop is not None:
                    self._act([None if rows is None else rows[:, stop] for rows in due], features)
            begun = end

    def _act(self, due: Due, features: dict[str, Tensor]) -> None:
        """Do what is due after the last step by the methods' own rules; `due` is `[R, columns]` for each method."""
        active = tuple(rows is not None and bool(rows.any()) for rows in due)
        rows = [torch.as_tensor(rows) for rows, on in zip(due, active, strict=True) if on and rows is not None]
        carry = self.carry()
        new = torch.func.vmap(resets(self.step, active))(carry, self.hyper, self.keys, features, rows)
        self.load({**carry, **new})

    def _kernel(self, parts: list[Tensor], due: np.ndarray | None) -> dict[str, Tensor]:
        """Train on all examples; returns the hidden activations of the last example, `[R, 1, units, 1]` by layer."""
        steps, layers, number = parts[0].shape[1], self.step.network.layers, acting.judging(self.step)
        (optimizer,), methods = self.step.bound(self.hyper)
        decays = [method.coupled_decay for method in methods]
        decay: Any = sum(0.0 if own is None else own for own in decays)
        centred, divided = acting.utility(self.step)
        events, until, fresh = np.empty(0, replacements.EVENT), np.zeros(self._blocks, np.int64), []
        if number is not None:
            count, like = self._rest["count"], lambda name: self._tensors[name][0, ..., 0]
            given = methods[number], self.keys, count, due, like, self._lanes
            events, until, fresh = replacements.drawn(self.step, *given)  # pyright: ignore[reportArgumentType]
        rule = self._rule
        second = decay if rule is None else getattr(optimizer, rule.meta)
        hyper = self._settings([optimizer.step_size, second, *acting.settings(self.step, methods)])
        fixed = [] if rule is None else rule.fixed(optimizer)
        newborn = self._settings([] if rule is None else rule.newborn(optimizer))
        features = [torch.empty(self._blocks, layer.size, self._lanes) for layer in layers]
        sums = torch.zeros(self._blocks, len(SUMS), self._lanes, dtype=torch.float64)
        self._train(
            self._places("weight"),
            self._places("bias"),
            (ctypes.c_int * len(self._sizes))(*self._sizes),
            len(self._linears),
            self._activation,
            int(squared(self.step)),
            ctypes.c_long(self._blocks),
            ctypes.c_long(self.runs),
            ctypes.c_long(steps),
            *(ctypes.c_void_p(part.data_ptr()) for part in parts),
            *[None] * (4 - len(parts)),
            ctypes.c_void_p(hyper.data_ptr()),
            (ctypes.c_float * len(fixed))(*fixed),
            ctypes.c_void_p(newborn.data_ptr()),
            pointers(acting.kept(self.step, self._states)),
            pointers(acting.centres(self.step, self._states, f"{self._linears[0]}.weight")),
            int(centred),
            int(divided),
            pointers(features),
            ctypes.c_void_p(sums.data_ptr()),
            ctypes.c_void_p(events.ctypes.data),
            ctypes.c_void_p(until.ctypes.data),
        )
        del fresh  # the events point into it
        found = sums.movedim(-1, 1).flatten(0, 1)[: self.runs]
        added = {name: value + found[:, SUMS[name]] for name, value in self._rest["sums"].items()}
        self._rest = {**self._rest, "sums": added, "count": self._rest["count"] + steps}
        named = self._back({layer.name: value for layer, value in zip(layers, features, strict=True)})
        return {name: value[:, None, :, None] for name, value in named.items()}

    def _settings(self, values: list[Any]) -> Tensor:
        """Numbers, or tensors of one for each run, as `[values, blocks, lanes]`."""
        found = [torch.as_tensor(value, dtype=torch.float32).expand(self.runs) for value in values]
        return torch.stack([self._laid(value) for value in found]) if found else torch.empty(0)

    def _places(self, what: str):
        """Addresses of the weights or biases of each layer, then of each kind of their state."""
        names = [f"{linear}.{what}" for linear in self._linears]
        states = () if self._rule is None else self._rule.states
        kinds = [self._tensors, *({name: self._optim[name][state] for name in names} for state in states)]
        return pointers([kind[name] for kind in kinds for name in names])
