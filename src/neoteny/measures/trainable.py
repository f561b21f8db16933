"""The direct measure of plasticity: how well does the network, as it is now, still learn?

A copy of the network and a new network are trained on the same new targets, by the user's own kind of loss and own
optimizer, for the same number of steps. What is compared is what a user sees of it: the mean error while they learn.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from neoteny.checks import known_keywords, require_at_least_one
from neoteny.errors import SettingError, UnknownNameError
from neoteny.measures.copies import copy_with, initialisers_of
from neoteny.measures.forward import ordinary, outside_inference
from neoteny.measures.probing import Make, Probe, Targets
from neoteny.measures.verdict import Trainability
from neoteny.seeds import checked_seed

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from neoteny.units import Initialiser

__all__ = ["trainability"]

SLOWED = (1.0, 1 / 4, 1 / 16, 1 / 64)
"""What the step size is multiplied by, in this order, until no copy diverges."""


@known_keywords()
@outside_inference
def trainability(
    model: nn.Module,
    inputs: Any,
    *,
    steps: int = 200,
    targets: Targets = "function",
    classes: int | None = None,
    scale: float | None = None,
    optimizer: torch.optim.Optimizer | Make | None = None,
    repeats: int = 5,
    batch_size: int = 32,
    seed: int = 0,
    reference: nn.Module | Mapping[str, Any] | None = None,
    initialisers: Mapping[str, Initialiser] | None = None,
) -> Trainability:
    """Train copies of the network and new networks on new targets, and compare their errors.

    Classes are learned by cross-entropy, the error is the share of wrong answers. Values are learned by the squared
    error around each copy's own mean output, and the error is that over the variance of the targets. Both are the mean
    before each step.

    The network itself is not changed. The copies are trained in evaluation mode (no dropout), but batch norms use the
    statistics of the batch, as in training. Outputs may have any structure and shape. If they are bounded
    (probabilities), much of the target is out of reach and errors are alike: give the model that computes the logits.
    Parameters that do not train stay as they are in both copies.

    Where a copy diverges at the optimizer's step size, all is measured again at a quarter of it, down to 1/64, with the
    network and new networks alike; `Trainability.slowed` says so.

    Args:
        model: any network; its hidden units need not be found.
        inputs: a batch on the model's device, as the network takes it: a tensor, a tuple of positional arguments, or a
            mapping of named ones; some hundred recent examples.
        steps: number of training steps of each copy: as many as it takes in your stream until something changes again.
        targets: `function`: what another random network of the architecture makes of the inputs; `noise`: random
            numbers or classes, which can only be memorised.
        classes: the number of classes of a classifier. Outputs with so many entries in the last dimension, or else in
            dimension 1, learn classes; others, and all without it, learn values.
        scale: the standard deviation of your targets, where these are values; the new ones have the same. By default
            that of the outputs, of the network or of a new one, whichever is larger.
        optimizer: yours: a function from parameters to an optimizer; or an optimizer, of which class and settings are
            taken (not its state). By default Adam with a step size of 1e-3, and then there is no verdict.
        repeats: number of repetitions, each with other targets and another new network.
        batch_size: examples in a step; all of them if the inputs' tensors differ in their first dimension.
        seed: equal seeds give equal numbers.
        reference: the network at its start, or its `state_dict`, if there is one: it shows better than trained weights
            how parameters were initialised.
        initialisers: how parameters were initialised, by name, as far as it is known.

    Raises:
        NetworkError: no parameter trains, no output depends on those that do, or the model cannot be copied.
        SettingError: a number is out of range, no output has so many classes, or a new network diverges at 1/64 of the
            step size too.
        CheckpointError: the reference is of another network.
        UnknownNameError: there is no such setting, or no such kind of targets.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> found = trainability(net, torch.randn(64, 4), steps=20, repeats=2, classes=2)
    >>> len(found.differences), -0.5 < found.difference < 0.5
    (2, True)

    Source: after Lyle et al., "Understanding plasticity in neural networks", ICML 2023, who fit random targets from the
    network's present state; the comparison with new networks is ours. Readiness: Wang et al., "Predicting plasticity in
    deep continual learning", 2026 (arXiv 2605.09044). What the verdict is worth: docs/evidence/checkup.md.
    """
    from neoteny.units.inputs import as_dict

    require_at_least_one(none=True, steps=steps, repeats=repeats, batch_size=batch_size, classes=classes)
    if classes == 1:
        raise SettingError("classes = 1: trainability needs at least 2.")
    if scale is not None and not 0 < scale < math.inf:
        raise SettingError(f"scale = {scale}: give the standard deviation of your targets, above 0.")
    if targets not in get_args(Targets):
        raise UnknownNameError(targets, get_args(Targets), "kind of targets")
    start = None if reference is None else _start(model, reference)
    said, notes = initialisers_of(model, start, initialisers)
    probe = Probe(
        model, ordinary(as_dict(inputs)), said, targets, classes, scale, steps, batch_size, checked_seed(seed)
    )
    probe.check()
    make = _maker(optimizer)
    sound = all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    for slowed in SLOWED:
        pairs = probe.measure(repeats, _slowed(make, slowed), whole=not sound or slowed == SLOWED[-1])
        if len(pairs) == repeats:
            break
    else:
        raise SettingError(
            f"trainability: a new network diverges, also at {SLOWED[-1]:g} of the step size, so there is nothing to "
            "compare with; give an optimizer that suits a new network, such as "
            "lambda parameters: torch.optim.Adam(parameters, 1e-4)."
        )
    own, fresh = zip(*pairs, strict=True)
    learns = f"{'values' if classes is None else f'{classes} classes'} by {_words(make)}"
    return Trainability(
        tuple(each.error for each in own),
        tuple(each.error for each in fresh),
        steps,
        learns,
        tuple(each.readiness for each in own),
        tuple(each.readiness for each in fresh),
        slowed,
        optimizer is not None,
        tuple(notes),
    )


def _start(model: nn.Module, reference: nn.Module | Mapping[str, Any]) -> nn.Module:
    weights = reference if isinstance(reference, Mapping) else reference.state_dict()
    return copy_with(model, weights)


def _maker(optimizer: torch.optim.Optimizer | Make | None) -> Make:
    import torch

    if optimizer is None:
        return lambda parameters: torch.optim.Adam(parameters, 1e-3)
    if not isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    kind = type(optimizer)
    known = inspect.signature(kind).parameters
    settings = {name: value for name, value in optimizer.param_groups[0].items() if name in known and name != "params"}
    return lambda parameters: kind(parameters, **settings)


def _words(make: Make) -> str:
    """The optimizer's name and step size."""
    import torch

    optimizer = make([torch.zeros(1, requires_grad=True)])
    size = optimizer.param_groups[0].get("lr")
    return type(optimizer).__name__ + (f" at {float(size):g}" if size is not None else "")


def _slowed(make: Make, factor: float) -> Make:
    """The optimizer with its step size multiplied."""

    def made(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        optimizer = make(parameters)
        for group in optimizer.param_groups:
            if "lr" in group and factor != 1:
                group["lr"] = group["lr"] * factor
        return optimizer

    return made
