"""Chains of linear layers that learn from one example at a time: what the two hand-written kernels have in common."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from neoteny import compiling
from neoteny.lab.losses import MeanSquaredError
from neoteny.lab.prediction import ErrorPrediction, Prediction
from neoteny.lab.step import Carry, TrainingStep
from neoteny.lab.strategies.acting import KNOWN, UTILITIES, Judge, judging, within
from neoteny.lab.strategies.rules import rule_of
from neoteny.lab.temporal import Delayed
from neoteny.methods import Centring, ContinualBackprop, ShrinkAndPerturb
from neoteny.methods.base import Method
from neoteny.methods.shared import order
from neoteny.optim import SGD
from neoteny.units import random

__all__ = ["SUMS", "chain", "mapped", "perturbing", "pointers", "resets", "squared", "unsuited"]

SUMS: Mapping[str, int] = {"loss": 0, "accuracy": 1, "effective_step": 2, "bounded": 3}
"""Where kernels put which metric."""

ACTIVATIONS: tuple[type[nn.Module], ...] = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Tanh, nn.Sigmoid, nn.SiLU)


def perturbing(step: TrainingStep) -> int | None:
    """The place of the one method that adds noise to all parameters at every step, where nothing else needs them."""
    places = [number for number, draws in enumerate(step.draws) if draws]
    alone = len(places) == 1 and isinstance(step.methods[places[0]], ShrinkAndPerturb) and judging(step) is None
    return places[0] if alone else None


def unsuited(module: nn.Module, step: TrainingStep, example: Tensor, lanes: bool = False) -> str | None:
    """Why a kernel does not give the results of the other strategies; None if it does.

    Args:
        module: the network.
        step: what is done.
        example: inputs of a step.
        lanes: whether it is the kernel for many networks, which predicts examples whose labels come later; the other
            one adds noise at every step.
    """
    found = chain(module, example)
    if found is None or found[0][:-1] != [layer.name for layer in step.network.layers]:
        return "the network is not a chain of linear layers with one of the six activations between them"
    if example.shape[0] != 1 or example.device.type != "cpu" or compiling.compiler() is None:
        return "it takes one example at a step, on a CPU, with a C++ compiler at hand"
    if not step.plain:
        return "it takes float32, one of the two usual losses, and outputs that all take part"
    if not lanes and isinstance(step.objective.phases[0].evaluate, Delayed):
        return "its labels come at once"
    optimizer = step.objective.phases[0].optimizer
    rule = rule_of(optimizer)
    if rule is None and not (type(optimizer) is SGD and not optimizer.momentum):
        return "it takes SGD without momentum, Autostep and IDBD"
    outputs = module.get_parameter(f"{found[0][-1]}.weight").shape[0]
    inside = within(step)
    added = [m.name for n, m in enumerate(step.methods) if n not in inside and _regularises(m)]
    if rule is not None and rule.several_factors(optimizer, 1 if squared(step) and outputs == 1 else outputs):
        return 'it takes curvature = "gauss-newton" for one output and the squared error'
    if added and rule is not None:
        return f"method {added[0]} adds to the gradients, which it takes from {SGD.__name__} alone"
    if added and mapped(step):
        return f"method {added[0]} adds to the gradients that another method maps"
    if any(isinstance(method, Centring) and method.layers != "inputs" for method in step.methods):
        return "it centres the network's inputs alone"
    if any(type(step.methods[number]) not in KNOWN for number in inside):
        return "a method of a class of its own acts by its own rule"
    measured = [method for method in step.methods if isinstance(method, Judge)]
    kept = [
        m
        for m in measured
        if not isinstance(m, ContinualBackprop)
        or (m.utility in UTILITIES and (UTILITIES[m.utility][0] or not m.compensate) and not m.authors_code)
    ]
    if len(measured) > 1 or kept != measured:
        return f"it keeps one utility of {', '.join(UTILITIES)}, or one backbone"
    adding = perturbing(step) if rule is None and not lanes and not mapped(step) else None
    if adding is not None and [
        name for name in step.network.initialisers if name in dict(module.named_parameters())
    ] != [f"{n}.{kind}" for n in found[0] for kind in ("weight", "bias")]:
        return "the parameters are not those of the layers in order"
    for number, method in enumerate(step.methods):
        if number != adding and number not in inside and (method.acts_always or method.coupled_decay is None):
            return f"method {method.name} acts at every step, beyond a coupled weight decay"
        if number not in inside and (method.reads_gradients or method.needs_reference):
            return f"method {method.name} needs more than what units did"
    return None


def mapped(step: TrainingStep) -> bool:
    """Whether a method that kernels carry out maps the gradients."""
    return any(_regularises(step.methods[number]) for number in within(step))


def _regularises(method: Method) -> bool:
    return type(method).regularise is not Method.regularise


def squared(step: TrainingStep) -> bool:
    """Whether the loss is the mean squared error; else it is the cross-entropy."""
    evaluate = step.objective.phases[0].evaluate
    evaluate = evaluate.evaluate if isinstance(evaluate, Delayed) else evaluate
    return isinstance(evaluate, Prediction | ErrorPrediction) and isinstance(evaluate.loss, MeanSquaredError)


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
                rule = method.replace if isinstance(method, Judge) else method.intervene
                states[number] = rule(view, states[number], given[number])
        return {"tensors": view.tensors, "optim": view.optim, "methods": states}

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


def pointers(tensors: Sequence[Tensor | None] | None):
    """An array of the tensors' addresses, with null pointers where there is none; or a null pointer."""
    if tensors is None:
        return None
    return (ctypes.c_void_p * len(tensors))(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))
