"""The check-up during training: measures of every layer, every `every` steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neoteny.checks import require_at_least_one
from neoteny.errors import CheckpointError, SettingError, UnknownNameError
from neoteny.measures.catalogue import FEATURE_MEASURES
from neoteny.measures.forward import checked, thawed
from neoteny.measures.layers import loss_on, measure_layers
from neoteny.measures.sinks import sink
from neoteny.measures.symptoms import PlasticityLossWarning, findings

if TYPE_CHECKING:
    import polars as pl
    import torch
    from torch import Tensor, nn

    from neoteny.units import Network

__all__ = ["Monitor"]

MEASURES = (
    "dead_units", "dormant_units", "dormant_score", "saturated_units", "srank_99", "effective_rank", "weight_magnitude",
)  # fmt: skip
"""Measured by default; with a loss or targets also the gradient norm."""

_OTHERS = ("weight_magnitude", "gradient_norm")
_HOOK = "register_step_post_hook"
_GROWTH = "weight_growth"
_VERSION = 1


class Monitor:
    """Measure a network every `every` steps, without changing its training, and log the values.

    As with `neoteny.diagnose`, parameters, buffers, gradients, modes, hooks and torch's random generator stay as they
    were. The first measurement is taken when the monitor is made; `weight_growth` is relative to it. Names are
    `neoteny/<layer>/<measure>`.

    Args:
        model: the network, at its start.
        probe: the fixed inputs that measures are taken on: a batch as the network takes it, on its device.
        every: steps between two measurements.
        log: where values are written, see `neoteny.measures.sinks.sink`: a dict or list, a function of (values by name,
            step), a TensorBoard `SummaryWriter`, a W&B run.
        measures: names from `neoteny.measures.FEATURE_MEASURES`, `weight_magnitude` (which adds `weight_growth`) and,
            with a loss or targets, `gradient_norm`.
        optimizer: if given, the monitor counts its steps; otherwise call `step` after every step.
        loss: for gradient norms: a function of the model's output, or of output and targets, to a scalar.
        targets: for gradient norms: those of the probe.
        units: the unit layers, if they are known already (`plasticity.units`).
        warn: whether to warn, once for each layer, when it begins to show a sign of `Report.signs`.

    Attributes:
        steps: number of steps so far.

    Raises:
        NetworkError: the network has no hidden units, or cannot be run on the probe.
        SettingError: `every` is no whole number of at least 1, a gradient norm has no loss, targets do not fit the
            output, `log` is of no known kind, or `optimizer` is no single optimizer.
        UnknownNameError: a measure does not exist.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> optimizer = torch.optim.SGD(net.parameters(), 0.1)
    >>> log = {}
    >>> monitor = Monitor(net, torch.randn(100, 3), every=2, log=log, optimizer=optimizer)
    >>> for x in torch.randn(4, 10, 3):
    ...     net(x).mean().backward()
    ...     optimizer.step()
    >>> [step for step, value in log["neoteny/0/dormant_units"]]
    [0, 2, 4]
    """

    def __init__(
        self,
        model: nn.Module,
        probe: Any,
        *,
        every: int = 1_000,
        log: Any = None,
        measures: Sequence[str] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        loss: Callable[..., Tensor] | None = None,
        targets: Tensor | None = None,
        units: Network | None = None,
        warn: bool = False,
    ):
        from neoteny.units import find
        from neoteny.units.fitting import fitted
        from neoteny.units.maps import unwrapped_optimizer

        if optimizer is not None and not hasattr(optimizer := unwrapped_optimizer(optimizer), _HOOK):
            raise SettingError(
                f"Monitor: optimizer is a {type(optimizer).__name__}, whose steps cannot be counted; give one "
                "torch.optim.Optimizer, or none and call monitor.step() after every step."
            )
        require_at_least_one(every=every)
        self._loss = loss_on(targets, loss)
        self._measures = _checked(measures, self._loss is not None)
        self._every, self._warn = every, warn
        self._model, self._probe = checked(model, probe, "Monitor")
        self._sink = sink(log)
        with thawed(self._model):
            every_unit: Any = {"residual_stream": True, "only_preserving": False, "verify": False}
            found = find(self._model, self._probe, **every_unit) if units is None else fitted(units, model, "Monitor")
            self._network = found
        self._rows: list[tuple[int, str, str, float]] = []
        self._warned: set[str] = set()
        self.steps = 0
        self._reference: dict[str, dict[str, float]] = {}
        self._reference = self.measure()
        self._handle = None
        if optimizer is not None:
            self._handle = optimizer.register_step_post_hook(lambda *_: self.step())

    def step(self) -> None:
        """Count a step, and measure if it is due."""
        self.steps += 1
        if self.steps % self._every == 0:
            self.measure()

    def measure(self) -> dict[str, dict[str, float]]:
        """Measure now, log the values and add them to the history; gives them by layer and measure."""
        found, _ = measure_layers(self._model, self._network, self._probe, self._measures, self._loss)
        for layer, values in found.items():
            if "weight_magnitude" in values:
                start = self._reference.get(layer, values)["weight_magnitude"]
                values[_GROWTH] = values["weight_magnitude"] / start if start else float("nan")
        flat = {(layer, name): value for layer, values in found.items() for name, value in values.items()}
        self._rows += [(self.steps, name, layer, value) for (layer, name), value in flat.items()]
        self._sink({f"neoteny/{layer}/{name}": value for (layer, name), value in flat.items()}, self.steps)
        if self._warn:
            self._tell(found)
        return found

    def _tell(self, found: dict[str, dict[str, float]]) -> None:
        for layer, values in found.items():
            measured = {name: value for name, value in values.items() if name != _GROWTH}  # NaN where it began at 0
            signs = list(findings(layer, measured, self._reference.get(layer, {}), "the start"))
            if signs and layer not in self._warned:
                self._warned.add(layer)
                message = f"After {self.steps} steps {' '.join(map(str, signs))}"
                warnings.warn(message, PlasticityLossWarning, stacklevel=4)

    def history(self) -> pl.DataFrame:
        """Every value so far: step, metric, layer, value."""
        import polars as pl

        columns = {"step": pl.Int64, "metric": pl.String, "layer": pl.String, "value": pl.Float64}
        return pl.DataFrame(self._rows, schema=columns, orient="row")

    def detach(self) -> None:
        """Take the hook off the optimizer; the history stays."""
        if self._handle is not None:
            self._handle.remove()

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint: plain containers and numbers."""
        return {
            "version": _VERSION,
            "steps": self.steps,
            "reference": {layer: dict(values) for layer, values in self._reference.items()},
            "history": [list(row) for row in self._rows],
            "warned": sorted(self._warned),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; what this monitor has measured before is dropped.

        Raises:
            CheckpointError: it is of another version, of other layers or of other measures; nothing is changed.
        """
        if state.get("version") != _VERSION:
            raise CheckpointError(
                f"The checkpoint has version {state.get('version')!r}, this neoteny reads version {_VERSION}; give the "
                "state_dict of a Monitor, saved by this neoteny."
            )
        was, is_now = (
            {layer: sorted(values) for layer, values in reference.items()}
            for reference in (state["reference"], self._reference)
        )
        if was != is_now:
            raise CheckpointError(
                f"The checkpoint's monitor measured {was}, this one {is_now}; make it for the same network with the "
                "same measures."
            )
        self.steps = state["steps"]
        self._reference = {layer: dict(values) for layer, values in state["reference"].items()}
        self._rows = [(step, metric, layer, value) for step, metric, layer, value in state["history"]]
        self._warned = set(state["warned"])


def _checked(measures: Sequence[str] | None, with_loss: bool) -> tuple[str, ...]:
    if measures is None:
        return (*MEASURES, "gradient_norm") if with_loss else MEASURES
    for name in measures:
        if name.partition("(")[0] not in (*FEATURE_MEASURES, *_OTHERS):
            raise UnknownNameError(name, (*FEATURE_MEASURES, *_OTHERS), "measure to monitor")
    if "gradient_norm" in measures and not with_loss:
        raise SettingError("measures: gradient_norm needs a loss; give loss or targets, or leave it out.")
    return tuple(measures)
