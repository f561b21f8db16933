"""Many small chains of linear layers side by side, one example at a step: a run is one lane of the processor's vectors.

The kernel `lanes.cpp` does the steps of 16 runs at once and keeps their weights in the first-level cache. Continual
backpropagation replaces units inside it. When a replacement is due is known beforehand, and so is the random key of its
new weights; which unit it is the kernel finds out. Every other method acts by its own rule, between two calls.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from neoteny import compiling
from neoteny.lab.objective import Batch
from neoteny.lab.step import Carry
from neoteny.lab.strategies.base import Due, Strategy
from neoteny.lab.strategies.chains import UTILITIES, chain, judging, pointers, resets, squared
from neoteny.methods import ContinualBackprop
from neoteny.methods.base import Method
from neoteny.methods.shared import order
from neoteny.units import random
from neoteny.units.records import UnitLayer
from neoteny.units.reset import fresh_rows

SOURCE = Path(__file__).with_name("lanes.cpp")
LANES = 16
EVENT = np.dtype(
    [("step", np.int64), *((name, np.int32) for name in ("lane", "layer", "count", "stride")), ("fresh", np.uint64)]
)
_STATE = ("share", "mean", "utility", "age", "replaced")


class Lanes(Strategy):
    """All runs at once; one call does all steps up to the next one at which another method acts."""

    name: ClassVar[str] = "lanes"

    @classmethod
    def replaces_inside(cls, methods: Sequence[Method]) -> bool:
        """Whether the kernel makes units new itself: it does not know the compensation."""
        return not any(method.compensate for method in methods if isinstance(method, ContinualBackprop))

    def load(self, carry: Carry) -> None:
        """Take over a carry of all runs."""
        self._blocks = -(-self.runs // LANES)
        tensors = carry["tensors"]
        self._tensors = {name: self._laid(value) for name, value in tensors.items()}
        number = judging(self.step)
        methods = list(carry["methods"])
        self._state = {} if number is None else {name: self._laid(value) for name, value in methods[number].items()}
        self._rest = carry

    def carry(self) -> Carry:
        """The carry of all runs."""
        methods, number = list(self._rest["methods"]), judging(self.step)
        if number is not None:
            methods[number] = self._back(self._state)
        return {**self._rest, "tensors": self._back(self._tensors), "methods": methods}

    def take_sums(self) -> dict[str, Tensor]:
        """Sums of loss and accuracy since they were last taken, float64 `[R]`; sets them back to 0."""
        sums = self._rest["sums"]
        self._rest = {**self._rest, "sums": {name: torch.zeros_like(value) for name, value in sums.items()}}
        return sums

    def _laid(self, value: Tensor) -> Tensor:
        """`[runs, ...]` as `[blocks, ..., LANES]`; lanes beyond the last run repeat it."""
        runs = torch.arange(self._blocks * LANES).clamp_max(self.runs - 1)
        return value[runs].unflatten(0, (self._blocks, LANES)).movedim(1, -1).contiguous()

    def _back(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: v.movedim(-1, 1).flatten(0, 1)[: self.runs].contiguous() for name, v in values.items()}

    def use(self, module: nn.Module, example: Tensor) -> None:
        """Read the chain of layers from the network, before the first step."""
        found = chain(module, example)
        assert found is not None  # checked by `choose`
        self._train = compiling.kernel(SOURCE).neoteny_lanes
        self._linears, self._activation = found
        outputs = [module.get_parameter(f"{name}.weight").shape[0] for name in self._linears]
        self._sizes = [example.shape[1], *outputs]

    @torch.no_grad()
    def advance(self, batches: Batch, due: Due) -> None:
        """Train on batches, a pytree of tensors `[R, S, B, ...]`."""
        x, y = batches["inputs"], batches["targets"]
        number = judging(self.step) if self.replaces_inside(self.step.methods) else None
        others = [rows for place, rows in enumerate(due) if rows is not None and place != number]
        stops = np.unique(np.concatenate([np.nonzero(rows)[1] for rows in others])) if others else []
        replacing = None if number is None else due[number]
        begun = 0
        # each call does as many steps as possible and ends with a step in which another method acts
        for stop in [*map(int, stops), None]:
            end = x.shape[1] if stop is None else stop + 1
            inside = None if replacing is None else replacing[:, begun : end if stop is None else stop]
            if end > begun:
                features = self._kernel(x[:, begun:end].contiguous(), y[:, begun:end].contiguous(), inside)
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

    def _kernel(self, x: Tensor, y: Tensor, due: np.ndarray | None) -> dict[str, Tensor]:
        """Train on all of x; returns the hidden activations of the last example, `[R, 1, units, 1]` by layer."""
        steps, layers, number = x.shape[1], self.step.network.layers, judging(self.step)
        (optimizer,), methods = self.step.bound(self.hyper)
        decays = [method.coupled_decay for method in methods]
        decay: Any = sum(0.0 if own is None else own for own in decays)
        eta, maturity, centred, divided = 0.0, 0, False, False
        state: dict[str, list[Tensor] | None] = dict.fromkeys(_STATE)
        if number is not None:
            method = methods[number]
            assert isinstance(method, ContinualBackprop)
            eta, maturity, (centred, divided) = method.decay_rate, method.maturity_threshold, UTILITIES[method.utility]
            for what in _STATE:
                if what != "mean" or centred:
                    state[what] = [self._state[f"{layer.name}/{what}"] for layer in layers]
        settings = [torch.as_tensor(s, dtype=torch.float32) for s in (optimizer.step_size, decay, eta, maturity)]
        hyper = torch.stack([self._laid(setting.expand(self.runs)) for setting in settings])
        features = [torch.empty(self._blocks, layer.size, LANES) for layer in layers]
        sums = torch.zeros(self._blocks, 2, LANES, dtype=torch.float64)
        events, until, fresh = self._events(due)
        self._train(
            pointers([self._tensors[f"{name}.weight"] for name in self._linears]),
            pointers([self._tensors[f"{name}.bias"] for name in self._linears]),
            (ctypes.c_int * len(self._sizes))(*self._sizes),
            len(self._linears),
            self._activation,
            int(squared(self.step)),
            ctypes.c_long(self._blocks),
            ctypes.c_long(self.runs),
            ctypes.c_long(steps),
            ctypes.c_void_p(x.data_ptr()),
            ctypes.c_void_p(y.data_ptr()),
            ctypes.c_void_p(hyper.data_ptr()),
            *(pointers(state[what]) for what in _STATE),
            int(centred),
            int(divided),
            pointers(features),
            ctypes.c_void_p(sums.data_ptr()),
            ctypes.c_void_p(events.ctypes.data),
            ctypes.c_void_p(until.ctypes.data),
        )
        del fresh  # the events point into it
        found = sums.movedim(-1, 1).flatten(0, 1)[: self.runs]
        added = {name: value + found[:, place] for place, (name, value) in enumerate(self._rest["sums"].items())}
        self._rest = {**self._rest, "sums": added, "count": self._rest["count"] + steps}
        named = self._back({layer.name: value for layer, value in zip(layers, features, strict=True)})
        return {name: value[:, None, :, None] for name, value in named.items()}

    def _events(self, due: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, list[Tensor]]:
        """The replacements that are due, ordered by block and step; where each block's end; and the new weights."""
        number = judging(self.step)
        nothing = np.empty(0, EVENT), np.zeros(self._blocks, np.int64), list[Tensor]()
        if due is None or number is None:
            return nothing
        run, step, place = np.nonzero(due)
        if not len(run):
            return nothing
        method, network = self.step.bound(self.hyper)[1][number], self.step.network
        assert isinstance(method, ContinualBackprop)
        events, fresh = np.zeros(len(run), EVENT), []
        events["step"], events["lane"], events["layer"] = step, run % LANES, place
        events["count"] = due[run, step, place]
        folded = next(turn.folded for turn in self.step.intervening if turn.number == number)
        at = self._rest["count"][run] + torch.as_tensor(step, dtype=torch.int32)
        keys = order.key_of(self.keys[run], at, *folded)
        for i, layer in enumerate(network.layers):
            own = np.flatnonzero(place == i)
            if len(own):
                fresh.append(self._fresh(method, layer, random.fold_in(keys[own], 2 * i + 1)))
                several, length = fresh[-1].shape[1:]
                events["stride"][own] = length if several > 1 else 0
                events["fresh"][own] = fresh[-1].data_ptr() + 4 * several * length * np.arange(len(own))
        events = events[np.lexsort((place, step, run // LANES))]
        return events, np.cumsum(np.bincount(run // LANES, minlength=self._blocks)), fresh

    def _fresh(self, method: ContinualBackprop, layer: UnitLayer, keys: Tensor) -> Tensor:
        """New incoming weights by the keys of several resets, `[resets, units or 1, inputs]`."""
        (slices,), network = layer.incoming, self.step.network
        like, shared = self._tensors[slices.name][0, ..., 0], method.draws_one_row(layer)
        drawn = torch.func.vmap(lambda key: fresh_rows(slices, network, random.fold_in(key, 0), like, shared))(keys)
        return drawn.flatten(2).contiguous()
