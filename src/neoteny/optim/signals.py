"""The error and the traces that streaming rules read: what a phase gives to its optimizer besides a gradient.

A rule of `neoteny.optim` follows one of two gradients (`Optimizer.follows`).

- A *loss* is descended: SGD, Adam. The phase's value is the loss, and there are no signals.
- A *prediction* v has an error delta, and w moves by delta times the gradient g of v, or times a trace of such
  gradients: ObGD, TIDBD. The phase's value is the prediction itself (v(s); Q(s, a); log pi(a|s), with delta from the
  critic), and its error is a signal. The gradient of the loss would not do: that of half the squared error is
  -delta g, and a trace sums up g, each time before the errors are known that it will be multiplied with.
- Some rules follow *either*: IDBD and Autostep see whether `delta` is given.

Signals are tensors `[]` of one run, in the dict `Evaluation.signals` under these names:

- `delta`: the error. TD: r + gamma v(s') - v(s), without v(s') where the episode terminated; supervised: target - v.
  The rule adds a multiple of delta times the trace: a positive delta raises the prediction.
- `trace_decay`: gamma lambda; the trace is z <- trace_decay z + g in each step, before z is used. A 0 there forgets
  all earlier gradients, which is Watkins' cut before a non-greedy action.
- `ended`: bool, whether the trace is set to 0 after this update, since an episode has ended.

A phase of TD(lambda) on a network, with `batch` tensors of one example:

    def evaluate(forward, batch, key):
        value = forward(batch["states"]).squeeze()
        following = forward(batch["next_states"], observed=False).squeeze().detach()
        delta = batch["rewards"].squeeze() + gamma * following * batch["goes_on"].squeeze() - value.detach()
        signals = {DELTA: delta, TRACE_DECAY: torch.full_like(delta, decay_of(gamma, lamda)), ENDED: batch["ended"][0]}
        return Evaluation(value, {"value_loss": delta.square()}, signals)

    Phase(name="value", evaluate=evaluate, optimizer=ObGD(kappa=2.0), signals=SIGNALS)

The metric that is named like the phase's loss is recorded in place of the prediction. Regularisers add to the gradient
of a loss; in such a phase what they add is a step of its own, w <- w - step_size * pull, beside the optimizer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from neoteny.checks import is_number
from neoteny.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DELTA", "ENDED", "SIGNALS", "TRACE_DECAY", "decay_of", "kept", "trace"]

DELTA = "delta"
TRACE_DECAY = "trace_decay"
ENDED = "ended"
SIGNALS = (DELTA, TRACE_DECAY, ENDED)
"""What a phase with a prediction gives."""


def decay_of(gamma: float, lamda: float) -> float:
    """What a trace keeps from step to step: gamma * lambda.

    Raises:
        SettingError: one of them is outside [0, 1].

    >>> round(decay_of(0.99, 0.8), 3)
    0.792
    """
    for name, value in (("gamma", gamma), ("lambda", lamda)):
        if not (is_number(value) and 0 <= value <= 1):
            raise SettingError(f"{name} = {value!r} is not a number in [0, 1]: traces would grow without bound.")
    return gamma * lamda


def trace(old: Tensor, gradient: Tensor, signals: Mapping[str, Any]) -> Tensor:
    """The trace that an update uses: z <- trace_decay z + g."""
    return signals[TRACE_DECAY] * old + gradient


def kept(used: Tensor, signals: Mapping[str, Any]) -> Tensor:
    """What the next step finds of a trace: 0 after the end of an episode."""
    return used.masked_fill(signals[ENDED], 0.0)
