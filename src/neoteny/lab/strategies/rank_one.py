"""One example at a time on a chain of linear layers: gradients of rank one, applied in place.

With one example the gradient of a linear layer is the outer product delta h^T. So a step needs no new memory of the
weights' size and reads the weights at most twice, which a general graph does not guarantee. The kernel `rank_one.cpp`
does this. It also updates the running averages of continual backpropagation: the sums of |w| that they need come from
the same passes over the weights. The reset itself is rare and is done by the method's own rule.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from neoteny.lab import compiling
from neoteny.lab.compiling import Compiled, own_code
from neoteny.lab.losses import MeanSquaredError
from neoteny.lab.objective import Batch, Prediction
from neoteny.lab.step import Carry, TrainingStep
from neoteny.lab.strategies.base import Due, plan
from neoteny.lab.strategies.loop import Loop
from neoteny.methods import ContinualBackprop
from neoteny.methods.shared import order
from neoteny.optim import SGD
from neoteny.units import random

SOURCE = Path(__file__).with_name("rank_one.cpp")
ACTIVATIONS: tuple[type[nn.Module], ...] = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Tanh, nn.Sigmoid, nn.SiLU)
UTILITIES = {
    # centred on the running mean, divided by the incoming weights
    "contribution": (False, False),
    "zero_contribution": (True, False),
    "adaptable_contribution": (True, True),
}


class RankOne(Loop):
    """Each run by itself and in place; one call does all steps up to the next reset."""

    name: ClassVar[str] = "rank-one"

    @classmethod
    def suits(cls, module: nn.Module, step: TrainingStep, example: Tensor) -> str | None:
        """None if this strategy gives the same results as the others, else the reason why not."""
        found = chain(module, example)
        if found is None or found[0][:-1] != [layer.name for layer in step.network.layers]:
            return "the network is not a chain of linear layers with one of the six activations between them"
        if example.shape[0] != 1 or example.device.type != "cpu" or compiling.compiler() is None:
            return "it takes one example at a step, on a CPU, with a C++ compiler at hand"
        if not step.plain:
            return "it takes float32, one of the two usual losses, and outputs that all take part"
        optimizer = step.objective.phases[0].optimizer
        if not isinstance(optimizer, SGD) or optimizer.momentum:
            return "it takes SGD without momentum"
        judging = [method for method in step.methods if isinstance(method, ContinualBackprop)]
        kept = [m for m in judging if m.utility in UTILITIES and (UTILITIES[m.utility][0] or not m.compensate)]
        if len(judging) > 1 or kept != judging:
            return f"it keeps one utility of {', '.join(UTILITIES)}"
        for method in step.methods:
            if not isinstance(method, ContinualBackprop) and (method.acts_always or method.coupled_decay is None):
                return f"method {method.name} acts at every step, beyond a coupled weight decay"
            if method.reads_gradients or method.needs_reference:
                return f"method {method.name} needs more than what units did"
        return None

    def use(self, module: nn.Module, example: Tensor) -> None:
        """Read the chain of layers from the network, before the first step."""
        found = chain(module, example)
        assert found is not None  # checked by `suits`
        self._train = compiling.kernel(SOURCE).neoteny_rank_one
        judging = [number for number, method in enumerate(self.step.methods) if isinstance(method, ContinualBackprop)]
        self._judging = judging[0] if judging else None
        evaluate = self.step.objective.phases[0].evaluate
        self._squared = isinstance(evaluate, Prediction) and isinstance(evaluate.loss, MeanSquaredError)
        self._linears, self._activation = found
        outputs = [module.get_parameter(f"{name}.weight").shape[0] for name in self._linears]
        self._sizes = [example.shape[1], *outputs]

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
            _pointers([tensors[f"{name}.weight"] for name in self._linears]),
            _pointers([tensors[f"{name}.bias"] for name in self._linears]),
            (ctypes.c_int * len(self._sizes))(*self._sizes),
            len(self._linears),
            self._activation,
            int(self._squared),
            ctypes.c_void_p(x.data_ptr()),
            ctypes.c_void_p(y.data_ptr()),
            ctypes.c_float(optimizer.step_size),
            ctypes.c_float(decay),
            ctypes.c_long(steps),
            _pointers(share),
            _pointers(mean),
            _pointers(utility),
            ctypes.c_float(eta),
            int(centred),
            int(divided),
            _pointers(list(features.values())),
            ctypes.c_void_p(sums.data_ptr()),
        )
        for number, name in enumerate(carry["sums"]):
            carry["sums"][name] += sums[number]
        carry["count"] += steps
        return features

    def _reset(self, run: int, active: tuple[bool, ...], rows: list[Tensor], features: dict[str, Tensor]) -> None:
        """Do what is due after the last step, by the methods' own rules."""
        if (0, active) not in self._graphs:
            self._graphs[0, active] = Compiled(own_code(resets(self.step, active)), self.compile)
        old = self._carries[run]
        hyper = {name: value[run] for name, value in self.hyper.items()}
        new = self._graphs[0, active](old, hyper, self.keys[run], features, rows)
        # the kernel gets the addresses at each call; the tensors only have to be contiguous
        self._carries[run] = {**old, **tree_map(torch.Tensor.contiguous, new)}


def resets(step: TrainingStep, active: tuple[bool, ...]):
    """The part of a step that comes after the optimizer's update and the utilities: only resets."""

    def act(
        carry: Carry, hyper: dict[str, Tensor], key: Tensor, features: dict[str, Tensor], due: list[Tensor]
    ) -> Carry:
        optimizers, methods = step.bound(hyper)
        view = step.view(carry, key, optimizers, {}, features)
        states, rows = list(carry["methods"]), iter(due)
        key = random.fold_in(key, carry["count"] - 1)
        given = {number: next(rows) for number, is_due in enumerate(active) if is_due}
        for number, _, folded in step.intervening:
            if number in given:
                method, view.key = methods[number], order.key_of(key, *folded)
                rule = method.replace if isinstance(method, ContinualBackprop) else method.intervene
                states[number] = rule(view, states[number], given[number])
        return {"tensors": view.tensors, "methods": states}

    return act


def chain(module: nn.Module, example: Tensor) -> tuple[list[str], int] | None:
    """The names of a network's linear layers in order and the number of the activation between them, or None.

    The network's output is compared with that of the chain.
    """
    leaves = [(name, child) for name, child in module.named_modules() if not list(child.children())]
    linears = [(name, child) for name, child in leaves if isinstance(child, nn.Linear)]
    kinds = {type(child) for _, child in leaves if not isinstance(child, nn.Linear | nn.Identity | nn.Flatten)}
    if not linears or len(kinds) > 1 or not kinds <= set(ACTIVATIONS) or example.dim() != 2:
        return None
    if any(layer.bias is None or not layer.weight.requires_grad for _, layer in linears):
        return None
    kind = kinds.pop() if kinds else None
    h = torch.linspace(-1, 1, example.shape[1]).expand(example.shape).to(linears[0][1].weight)
    with torch.no_grad():
        expected = module(h)
        for number, (_, layer) in enumerate(linears):
            if h.shape[-1] != layer.in_features:
                return None
            h = layer(h)
            if kind is not None and number + 1 < len(linears):
                h = kind()(h)
    if h.shape != expected.shape or not torch.allclose(h, expected):
        return None
    return [name for name, _ in linears], len(ACTIVATIONS) if kind is None else ACTIVATIONS.index(kind)


def _pointers(tensors: Sequence[Tensor] | None):
    """An array of the tensors' addresses, or a null pointer."""
    if tensors is None:
        return None
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
