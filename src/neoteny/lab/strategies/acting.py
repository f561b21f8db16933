"""Methods that kernels carry out themselves, at every step: who judges units, and who centres inputs.

They are continual backpropagation, backbone and fringe, and centring; the dynamic learner is the last two in one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from neoteny.checks import is_zero
from neoteny.lab.step import TrainingStep
from neoteny.methods import Centring, ContinualBackprop, Dynamic, Fringe

__all__ = [
    "KEPT",
    "KNOWN",
    "SETTINGS",
    "UTILITIES",
    "Judge",
    "centres",
    "centring",
    "defined",
    "judging",
    "kept",
    "settings",
    "utility",
    "within",
]

Judge = ContinualBackprop | Fringe
KNOWN = (ContinualBackprop, Fringe, Dynamic, Centring)
UTILITIES = {
    # centred on the running mean, divided by the incoming weights
    "contribution": (False, False),
    "zero_contribution": (True, False),
    "adaptable_contribution": (True, True),
}
KEPT = ("share", "mean", "utility", "age", "backbone", "replaced", "promoted", "demoted", "disturbance")
"""What methods keep of each layer's units, in the kernels' order (`chain.h`)."""
SETTINGS = ("decay_rate", "maturity", "threshold", "protection", "centring_rate")
"""Settings of methods, which may differ between runs, in the kernels' order."""


def judging(step: TrainingStep) -> int | None:
    """The place of the method that judges units: continual backpropagation, or that with a fringe."""
    return next((number for number, method in enumerate(step.methods) if isinstance(method, Judge)), None)


def centring(step: TrainingStep) -> int | None:
    """The place of the method that centres the network's inputs; None where none is or its rate is 0."""
    return next(
        (
            number
            for number, method in enumerate(step.methods)
            if (isinstance(method, Centring) and not is_zero(method.rate))
            or (isinstance(method, Dynamic) and not is_zero(method.centring_rate))
        ),
        None,
    )


def within(step: TrainingStep) -> set[int]:
    """The places of all methods that kernels carry out."""
    return {number for number, method in enumerate(step.methods) if isinstance(method, Judge | Centring)}


def defined(step: TrainingStep) -> tuple[str, str]:
    """What kernels are compiled for."""
    number = judging(step)
    kind = "NOTHING" if number is None else "BACKBONE" if isinstance(step.methods[number], Fringe) else "CONTRIBUTION"
    return f"JUDGED={kind}", f"CENTRED={int(centring(step) is not None)}"


def utility(step: TrainingStep) -> tuple[bool, bool]:
    """Whether continual backpropagation's utility is centred, and divided, where it acts."""
    number = judging(step)
    method = None if number is None else step.methods[number]
    return UTILITIES[method.utility] if isinstance(method, ContinualBackprop) else (False, False)


def settings(step: TrainingStep, methods: Any) -> list[Any]:
    """The values of `SETTINGS`, of methods with the runs' own settings; 0 where there is none."""
    found: dict[str, Any] = {}
    if (number := judging(step)) is not None:
        method = methods[number]
        found |= {name: getattr(method, name, 0.0) for name in SETTINGS}
        found["maturity"] = getattr(method, "maturity_threshold", found["maturity"])
    if (number := centring(step)) is not None:
        method = methods[number]
        found["centring_rate"] = method.rate if isinstance(method, Centring) else method.centring_rate
    return [found.get(name, 0.0) for name in SETTINGS]


def kept(step: TrainingStep, states: Mapping[int, Mapping[str, Tensor]]) -> list[Tensor | None]:
    """The tensors of `KEPT`, by kind, then by layer, from the states of methods by their places."""
    number = judging(step)
    own: Mapping[str, Tensor] = {} if number is None else states[number]
    return [own.get(f"{layer.name}/{what}") for what in KEPT for layer in step.network.layers]


def centres(step: TrainingStep, states: Mapping[int, Mapping[str, Tensor]], weight: str) -> list[Tensor | None]:
    """What follows the centre of the inputs of a weight, P and s (`methods.Centring`)."""
    number = centring(step)
    return [None, None] if number is None else [states[number][f"{weight}/{what}"] for what in ("product", "square")]
