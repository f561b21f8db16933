"""Where a monitor's numbers go: a dict, a list, a function, TensorBoard or Weights & Biases.

The last two are told by what they can do, so neither is imported, and anything that does the same serves as well.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, MutableSequence
from typing import Any

from neoteny.errors import SettingError

__all__ = ["Sink", "sink"]

Sink = Callable[[dict[str, float], int], object]
"""Takes values by name, `neoteny/<layer>/<measure>`, and the step."""


def sink(log: Any) -> Sink:
    """One way of logging for all.

    Args:
        log: None; a dict, which gets for each name a list of (step, value); a list, which gets one dict a measurement,
            with its `step`; a TensorBoard `SummaryWriter` (anything with `add_scalar`); a run of Weights & Biases
            (anything with `log`), in rows of their own over the axis `neoteny/step`; or a function of the values by
            name and the step.

    Raises:
        SettingError: it is none of these.

    >>> log = {}
    >>> _ = sink(log)({"neoteny/fc/dead_units": 0.5}, 100)
    >>> log
    {'neoteny/fc/dead_units': [(100, 0.5)]}
    """
    if log is None:
        return lambda values, step: None
    if isinstance(log, MutableMapping):
        return lambda values, step: [log.setdefault(name, []).append((step, value)) for name, value in values.items()]
    if isinstance(log, MutableSequence):
        return lambda values, step: log.append({"step": step, **values})
    if hasattr(log, "add_scalar"):
        return lambda values, step: [log.add_scalar(name, value, step) for name, value in values.items()]
    if hasattr(log, "log"):
        return _runs(log)
    if callable(log):
        return log
    raise SettingError(
        f"log = {log!r}: cannot be logged to; give a dict, a list, a SummaryWriter, a W&B run or a function of "
        "(values, step)."
    )


def _runs(run: Any) -> Sink:
    # An axis of their own: W&B's steps must never go back, and how the caller counts them is not known here.
    if hasattr(run, "define_metric"):
        run.define_metric("neoteny/*", step_metric="neoteny/step")
    return lambda values, step: run.log({**values, "neoteny/step": step})
