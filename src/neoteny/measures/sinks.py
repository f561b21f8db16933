"""Where a monitor writes its values: a dict, a list, a function, TensorBoard or Weights & Biases.

The last two are recognised by their methods, so neither is imported, and any object with the same methods will do.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, MutableSequence
from typing import Any

from neoteny.errors import SettingError

__all__ = ["Sink", "sink"]

Sink = Callable[[dict[str, float], int], object]
"""A function of the values by name, `neoteny/<layer>/<measure>`, and the step."""


def sink(log: Any) -> Sink:
    """A function that writes values to `log`.

    Args:
        log: None; a dict, which gets a list of (step, value) for each name; a list, which gets one dict for each
            measurement, with its `step`; a TensorBoard `SummaryWriter` (anything with `add_scalar`); a Weights & Biases
            run (anything with `log`), whose axis is then `neoteny/step`; or a function of the values by name and the
            step.

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
    # An axis of its own: W&B's own step must never decrease, and the caller may count it otherwise.
    if hasattr(run, "define_metric"):
        run.define_metric("neoteny/*", step_metric="neoteny/step")
    return lambda values, step: run.log({**values, "neoteny/step": step})
