"""The check-up: is a network losing its ability to learn? Layer by layer, on a fixed probe set."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from neoteny.measures.catalogue import of_features
from neoteny.measures.weights import weight_magnitude

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table
    from torch import nn

__all__ = ["LayerReport", "Report", "diagnose"]


@dataclass(frozen=True)
class LayerReport:
    """One layer of hidden units; the fields from `dead_units` on are the measures of these names.

    Attributes:
        layer: the name of the module whose outputs the units are.
        units: how many.
        dead_units: share of them that are zero on every probe example.
        dormant_units: share that are non-zero on less than 1% of the examples (and positions).
        srank_99: singular values of the features that make up 99% of their sum.
        approx_rank_99: the same with squares.
        effective_rank: exp of the entropy of the singular values.
        stable_rank: squared Frobenius over squared spectral norm.
        weight_magnitude: mean absolute incoming weight.
    """

    layer: str
    units: int
    dead_units: float
    dormant_units: float
    srank_99: float
    approx_rank_99: float
    effective_rank: float
    stable_rank: float
    weight_magnitude: float


@dataclass(frozen=True)
class Report:
    """What a check-up found; print it, or take it as a data frame.

    Attributes:
        layers: one record a layer of hidden units, in order of execution.
        examples: size of the probe set.
        weight_magnitude: mean absolute weight over all weights of the network (parameters of two dimensions or more).
    """

    layers: tuple[LayerReport, ...]
    examples: int
    weight_magnitude: float

    @property
    def units(self) -> int:
        """The number of hidden units."""
        return sum(layer.units for layer in self.layers)

    @property
    def dead_units(self) -> float:
        """Share of all hidden units that are zero on every probe example."""
        return sum(layer.dead_units * layer.units for layer in self.layers) / self.units

    @property
    def dormant_units(self) -> float:
        """Share of all hidden units that are non-zero on less than 1% of the examples (and positions)."""
        return sum(layer.dormant_units * layer.units for layer in self.layers) / self.units

    def to_frame(self) -> pl.DataFrame:
        """One row a layer, one column a measure."""
        import polars as pl

        return pl.DataFrame([asdict(layer) for layer in self.layers])

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table(
            title=f"Check-up on {self.examples:,} examples",
            caption=(
                f"Of {self.units:,} hidden units {self.dead_units:.1%} are dead: zero on every example;\n"
                f"{self.dormant_units:.1%} dormant: non-zero on less than 1%.\n"
                f"Mean |w| over all weights: {self.weight_magnitude:.4g}."
            ),
            caption_justify="left",
        )
        table.add_column("layer", overflow="fold")
        for heading in ("units", "dead", "dormant", "srank 99%", "approx. 99%", "effective", "stable", "mean |w|"):
            table.add_column(heading, justify="right")
        for layer in self.layers:
            table.add_row(
                layer.layer,
                f"{layer.units:,}",
                f"{layer.dead_units:.1%}",
                f"{layer.dormant_units:.1%}",
                f"{layer.srank_99:.0f}",
                f"{layer.approx_rank_99:.0f}",
                f"{layer.effective_rank:.1f}",
                f"{layer.stable_rank:.2f}",
                f"{layer.weight_magnitude:.4g}",
            )
        return table

    def __str__(self) -> str:
        from rich.console import Console

        out = io.StringIO()
        Console(file=out, width=max(100, shutil.get_terminal_size((100, 24)).columns)).print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def diagnose(model: nn.Module, probe_inputs: Any) -> Report:
    """Check up on any network: dead and dormant units, ranks of the features, size of the weights, layer by layer.

    The network is run once in evaluation mode; its parameters, buffers, gradients and mode stay exactly as they were,
    and so does torch's generator. A unit's activation is what the module that reads it is given, so after a pooling in
    between. Dead and dormant units mean something for activations that can be exactly zero (ReLU); with others look at
    the ranks and weights.

    Arguments:
        model: any network whose hidden units `neoteny.units.find` can find.
        probe_inputs: a batch on the model's device - 1,000 examples, say, always the same ones: a tensor, a tuple of
            positional arguments, or a dict of named ones.

    Raises:
        NetworkError: the model has no hidden units, or cannot be run on `probe_inputs`.

    >>> import torch
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> report = diagnose(net, torch.randn(100, 3))
    >>> report.layers[0].layer, report.layers[0].units
    ('0', 8)
    """
    import torch

    from neoteny.units import Observer, find

    network = find(model, probe_inputs)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad(), _evaluated(model):
        with Observer(model, network) as observer:
            _call(model, probe_inputs)
            features = observer.take()
        reports = []
        for layer in network.layers:
            if layer.name not in features:
                continue
            seen = features[layer.name]
            names = ("dead_units", "dormant_units", "srank_99", "approx_rank_99", "effective_rank", "stable_rank")
            found = {name: value.item() for name, value in of_features(names, seen).items()}
            weights = [slices.rows(parameters[slices.name]) for slices in layer.incoming]
            size = weight_magnitude(weights).item()
            reports.append(LayerReport(layer=layer.name, units=layer.size, **found, weight_magnitude=size))
        total = weight_magnitude([parameter for parameter in model.parameters() if parameter.dim() > 1]).item()
    examples = len(next(iter(features.values())))
    return Report(tuple(reports), examples, total)


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards modes, buffers and generators are as they were."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    cuda = sorted({parameter.device.index for parameter in model.parameters() if parameter.is_cuda})
    with torch.random.fork_rng(devices=cuda):
        try:
            for module, _ in modes:
                # Not `model.eval()`, which a model may have made do more than this.
                module.training = False
            yield
        finally:
            for module, training in modes:
                module.training = training
            for module, name, buffer, value in buffers:
                module._buffers[name] = buffer
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
