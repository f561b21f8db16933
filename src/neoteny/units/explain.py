"""Say in a table which units were found in a network, and what was left out and why; and say it short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Row", "as_html", "listed", "table"]


class Row(NamedTuple):
    """A unit layer, as the table shows it.

    Attributes:
        layer: its name.
        units: how many.
        preserving: whether making one of them new leaves the network's output as it is.
        coupled: norms whose statistics run over the units.
        fed: names of the weights that feed them.
        read: names of the weights that read them.
        stays: names of parameters on their way that a reset leaves as they are.
    """

    layer: str
    units: int
    preserving: bool
    coupled: Sequence[str]
    fed: Sequence[str]
    read: Sequence[str]
    stays: Sequence[str] = ()


def table(
    rows: Sequence[Row], skipped: Mapping[str, str], notes: Mapping[str, str] | None = None, checked: str = ""
) -> Table:
    """A table of the unit layers with their tensors, then of what is left out, then of what was guessed.

    >>> table([Row("0", 4, True, (), ["0.weight"], ["2.weight"])], {"2": "it is the head"}).row_count
    2
    """
    from rich.table import Table

    shown = Table(
        title=f"{sum(row.units for row in rows):,} hidden units, layers: {len(rows):,}",
        caption=f"Function-preserving: every consumer is known and zeroed, so a newborn contributes nothing. {checked}",
        caption_justify="left",
    )
    shown.add_column("layer", overflow="fold")
    shown.add_column("units", justify="right")
    shown.add_column("function-preserving")
    shown.add_column("fed by", overflow="fold")
    shown.add_column("read by", overflow="fold")
    for row in rows:
        preserving = "no" if not row.preserving else "yes"
        if row.preserving and row.coupled:
            preserving = f"yes, but for the statistics of {', '.join(row.coupled)}"
        fed = ", ".join(row.fed) + (f"; only partly new: {', '.join(row.stays)} stay as they are" if row.stays else "")
        shown.add_row(row.layer, f"{row.units:,}", preserving, fed, ", ".join(row.read))
    if skipped:
        shown.add_section()
        for name, reason in skipped.items():
            shown.add_row(name or "the network", "-", "left out", reason, "")
    if notes:
        shown.add_section()
        for name, note in notes.items():
            shown.add_row(name, "-", "drawn by guess", note, "")
    return shown


def as_html(shown: Table) -> str:
    """A table for a notebook."""
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), record=True, width=140)
    console.print(shown)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def listed(names: Sequence[str], most: int = 4, length: int = 60) -> str:
    """Some names in words of bounded length.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    words = ", ".join(name if len(name) <= length else f"{name[: length - 3]}..." for name in names[:most])
    return words + (f" and {len(names) - most:,} more" if len(names) > most else "")
