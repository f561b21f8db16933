"""One example at a time on a chain of linear layers: gradients of rank one, applied in place.

With one example the gradient of a linear layer is the outer product delta h^T. So a step needs no new memory of the
weights' size and reads the weights at most twice, which a general graph does not guarantee. The kernel `rank_one.cpp`
does this. It also updates the running averages of continual backpropagation: the sums of |w| that they need come from
the same passes over the weights. The reset itself is rare and is done by the method's own rule. The noise of shrink and
perturb is added inside it, too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from neoteny import compiling
from neoteny.lab.graph import Graph
from neoteny.lab.objective import Batch
from neoteny.lab.strategies.acting import UTILITIES, judging
from neoteny.lab.strategies.base import Due, plan
from neoteny.lab.strategies.chains import chain, perturbing, pointers, resets, squared
from neoteny.lab.strategies.loop import Loop
from neoteny.methods import ContinualBackprop, ShrinkAndPerturb
from neoteny.methods.base import Method
from neoteny.units import noise

SOURCE = Path(__file__).with_name("rank_one.cpp")


class RankOne(Loop):
    """Each run by itself and in place; one call does all steps up to the next reset."""

    name: ClassVar[str] = "rank-one"

    def use(self, module: nn.Module, example: Tensor) -> None:
        """Read the chain of layers from the network, before the first step."""
        found = chain(module, example)
        assert found is not None  # checked by `choose`
        self._train = self._compiled()
        self._judging, self._squared = judging(self.step), squared(self.step)
        self._perturbing = perturbing(self.step)
        self._draw = None if self._perturbing is None else noise.drawer()
        self._linears, self._activation = found
        outputs = [module.get_parameter(f"{name}.weight").shape[0] for name in self._linears]
        self._sizes = [example.shape[1], *outputs]

    def _compiled(self) -> Callable[..., None]:
        return compiling.kernel(SOURCE).neoteny_rank_one

    def _advance_one(self, run: int, batches: Batch, due: Due) -> None:
        x, y = batches["inputs"].contiguous(), batches["targets"].contiguous()
        steps, begun = x.shape[0], 0
        # each call does as many steps as possible and ends with a step in which something is due
        for stop, _, active in [call for call in plan(due, steps, (steps,)) if any(call[2])]:
            features = self._kernel(run, x[begun : stop + 1], y[begun : stop + 1])
            rows = [torch.as_tensor(r[stop]) for r, on in zip(due, active, strict=True) if on and r is not None]
            self._reset(run, active, rows, features)
            begun = stop + 1
        if begun < steps:
            self._kernel(run, x[begun:], y[begun:])

    def _kernel(self, run: int, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Train on all of x; returns the hidden activations of the last example."""
        carry, steps = self._carries[run], x.shape[0]
        hyper = {name: value[run].item() for name, value in self.hyper.items()}  # CPU tensors: no transfer
        (optimizer,), methods = self.step.bound(hyper)  # pyright: ignore[reportArgumentType]
        decay = sum(method.coupled_decay or 0.0 for method in methods)
        layers = self.step.network.layers
        features = {layer.name: torch.empty(1, layer.size, 1) for layer in layers}
        share = mean = utility = None
        eta, centred, divided = 0.0, False, False
        if self._judging is not None:
            method, state = methods[self._judging], carry["methods"][self._judging]
            assert isinstance(method, ContinualBackprop)
            eta, (centred, divided) = method.decay_rate, UTILITIES[method.utility]
            share, utility = ([state[f"{layer.name}/{what}"] for layer in layers] for what in ("share", "utility"))
            mean = [state[f"{layer.name}/mean"] for layer in layers] if centred else None
            for layer in layers:
                state[f"{layer.name}/age"] += steps
        sums = torch.zeros(2, dtype=torch.float64)
        tensors = carry["tensors"]
        self._train(
            pointers([tensors[f"{name}.weight"] for name in self._linears]),
            pointers([tensors[f"{name}.bias"] for name in self._linears]),
            (ctypes.c_int * len(self._sizes))(*self._sizes),
            len(self._linears),
            self._activation,
            int(self._squared),
            ctypes.c_void_p(x.data_ptr()),
            ctypes.c_void_p(y.data_ptr()),
            ctypes.c_float(optimizer.step_size),
            ctypes.c_float(decay),
            ctypes.c_long(steps),
            pointers(share),
            pointers(mean),
            pointers(utility),
            ctypes.c_float(eta),
            int(centred),
            int(divided),
            pointers(list(features.values())),
            ctypes.c_void_p(sums.data_ptr()),
            self._draw,
            ctypes.c_void_p(self.keys[run].data_ptr()),
            int(carry["count"]),
            *self._noise_of(methods),
        )
        for number, name in enumerate(carry["sums"]):
            carry["sums"][name] += sums[number]
        carry["count"] += steps
        return features

    def _noise_of(self, methods: Sequence[Method]) -> tuple[int, ctypes.c_float]:
        """What is folded into the key of a step for its noise, and the factor of the noise."""
        if self._perturbing is None:
            return 0, ctypes.c_float(0)
        method = methods[self._perturbing]
        assert isinstance(method, ShrinkAndPerturb)
        (folded,) = next(turn.folded for turn in self.step.intervening if turn.number == self._perturbing)
        return folded, ctypes.c_float(method.sigma)

    def _reset(self, run: int, active: tuple[bool, ...], rows: list[Tensor], features: dict[str, Tensor]) -> None:
        """Do what is due after the last step, by the methods' own rules."""
        old = self._carries[run]
        hyper = {name: value[run] for name, value in self.hyper.items()}
        leaves, spec = tree_flatten((old, hyper, self.keys[run], features, rows))
        leaves = [leaf.contiguous() for leaf in leaves]  # a graph is compiled for such
        if (0, active) not in self._graphs:
            self._graphs[0, active] = Graph(resets(self.step, active), spec, self.compile)
        graph = self._graphs[0, active]
        assert isinstance(graph, Graph)
        # the kernel gets the addresses at each call; the tensors only have to be contiguous
        new = [leaf.contiguous() for leaf in graph(leaves)]
        self._carries[run] = {**old, **tree_unflatten(new, graph.result)}
