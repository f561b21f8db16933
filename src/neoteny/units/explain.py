"""Say in a table which units were found in a network, and what was left out and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.units.records import Network, UnitLayer

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["explained"]


def explained(network: Network) -> Table:
    """A table of the unit layers with their tensors, then of what is left out.

    >>> import torch
    >>> from neoteny.units import find
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> explained(find(net, torch.zeros(1, 3))).row_count
    1
    """
    from rich.table import Table

    table = Table(
        title=f"{sum(layer.size for layer in network.layers):,} hidden units, layers: {len(network.layers):,}",
        caption="Function-preserving: every consumer is known and zeroed, so a newborn contributes nothing.",
        caption_justify="left",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("units", justify="right")
    table.add_column("function-preserving")
    table.add_column("fed by", overflow="fold")
    table.add_column("read by", overflow="fold")
    for layer in network.layers:
        fed = ", ".join(slices.name for slices in layer.incoming)
        read = ", ".join(slices.name for slices in layer.outgoing)
        table.add_row(layer.name, f"{layer.size:,}", _preserving(layer), fed, read)
    if network.skipped:
        table.add_section()
        for name, reason in network.skipped.items():
            table.add_row(name or "the network", "-", "left out", reason, "")
    return table


def _preserving(layer: UnitLayer) -> str:
    if not layer.preserving:
        return "no"
    return f"yes, but for the statistics of {', '.join(layer.coupled)}" if layer.coupled else "yes"
