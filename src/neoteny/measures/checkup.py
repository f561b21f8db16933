"""The report of a check-up: one record a layer, a table for the terminal, a data frame, signs, and the verdict."""

from __future__ import annotations

import io
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from neoteny.measures.symptoms import SLOW_LEARNING, UNREADY, Finding, findings

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Group
    from rich.table import Table

    from neoteny.measures.verdict import Trainability

__all__ = ["LayerReport", "Report"]


@dataclass(frozen=True)
class LayerReport:
    """One layer of hidden units. The fields from `dead_units` on are the measures of these names.

    Attributes:
        layer: the name of the module whose outputs the units are.
        units: how many there are.
        dead_units: share of them that are zero on every probe example.
        dormant_units: share that are non-zero on less than 1% of the examples (and positions).
        dormant_score: share whose mean |activation| is at most 2.5% of the layer's mean; for activations that are never
            exactly zero.
        srank_99: number of singular values of the features that make up 99% of their sum.
        approx_rank_99: the same for the sum of their squares.
        effective_rank: exp of the entropy of the singular values.
        stable_rank: squared Frobenius over squared spectral norm.
        weight_magnitude: mean absolute incoming weight.
        saturated_units: share that are near a bound of their activation function (tanh, sigmoid) on 75% of the examples
            or more: hardly any gradient passes them.
        gradient_norm: Euclidean norm of the loss's gradient with respect to the incoming weights; None without a loss.
        weight_growth: `weight_magnitude` divided by the reference's; None without a reference.
        guessed: whether the reference's weights were drawn from a distribution that had to be guessed.
    """

    layer: str
    units: int
    dead_units: float
    dormant_units: float
    dormant_score: float
    srank_99: float
    approx_rank_99: float
    effective_rank: float
    stable_rank: float
    weight_magnitude: float
    saturated_units: float = 0.0
    gradient_norm: float | None = None
    weight_growth: float | None = None
    guessed: bool = False


@dataclass(frozen=True)
class Report:
    """The result of a check-up. Print it, or take it as a data frame.

    Attributes:
        layers: one record for each layer of hidden units, in order of execution.
        examples: size of the probe set.
        weight_magnitude: mean absolute weight over all weights of the network (parameters of two dimensions or more).
        reference: the report that this one is compared with: of the network at its start, or of a fresh copy.
        reference_is: which of these it is, in words.
        others: further fresh copies. A sign counts only if it shows against each of them.
        trainability: how well the network still learns, if that was measured.
    """

    layers: tuple[LayerReport, ...]
    examples: int
    weight_magnitude: float
    reference: Report | None = None
    reference_is: str = ""
    others: tuple[Report, ...] = ()
    trainability: Trainability | None = None

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

    @property
    def weight_growth(self) -> float | None:
        """`weight_magnitude` divided by the reference's."""
        then = self.reference.weight_magnitude if self.reference else 0.0
        return self.weight_magnitude / then if then else None

    @property
    def losing(self) -> bool | None:
        """The verdict: whether the network learns new targets worse than a new one.

        It comes from `trainability` alone: None where that was not measured, or does not decide it.
        """
        return None if self.trainability is None else self.trainability.losing

    def signs(self) -> tuple[Finding, ...]:
        """What has changed in each layer in a way that often comes with a loss of plasticity, and what acts on it.

        A sign is to be watched, and tells where to look; it is no verdict, since many networks that have learned
        anything show one and learn new targets as well as ever. A layer with several signs is listed once for each. A
        finding with an empty layer name is about the whole network. Signs and thresholds: `neoteny.measures.SYMPTOMS`.
        """
        found = self._against(self.reference)
        for other in self.others:
            shown = {(finding.layer, finding.symptom) for finding in self._against(other)}
            found = [finding for finding in found if (finding.layer, finding.symptom) in shown]
        direct = self.trainability
        if direct is not None and direct.ready is not None and UNREADY.shows(direct.ready, 1.0):
            found.append(Finding("", UNREADY.name, UNREADY.says.format(now=direct.ready), UNREADY.methods))
        return tuple(found)

    def _against(self, reference: Report | None) -> list[Finding]:
        then = {layer.layer: asdict(layer) for layer in reference.layers} if reference else {}
        return [
            finding
            for layer in self.layers
            for finding in findings(
                layer.layer,
                _measures(layer),
                then.get(layer.layer, {}),
                self.reference_is,
                layer.guessed,
                layer.units if self.others else None,
            )
        ]

    def to_frame(self) -> pl.DataFrame:
        """One row for each layer, one column for each measure; `signs` lists those that the layer shows."""
        import polars as pl

        signs: dict[str, list[str]] = {layer.layer: [] for layer in self.layers}
        for finding in self.signs():
            signs.setdefault(finding.layer, []).append(finding.symptom)
        types = {"gradient_norm": pl.Float64, "weight_growth": pl.Float64, "signs": pl.List(pl.String)}
        rows = [{**asdict(layer), "signs": signs[layer.layer]} for layer in self.layers]
        return pl.DataFrame(rows, schema_overrides=types)

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        lines = [
            f"Of {self.units:,} hidden units {self.dead_units:.1%} are dead: zero on every example; "
            f"{self.dormant_units:.1%} dormant: non-zero on less than 1%.",
            f"Mean |w| over all weights: {self.weight_magnitude:.4g}"
            + (f", {self.weight_growth:.3g} times that of {self.reference_is}." if self.weight_growth else "."),
        ]
        if any(layer.guessed for layer in self.layers):
            lines.append(
                "~ compared with torch's default: the weights do not show how they were initialised; give a reference."
            )
        found = self.signs()
        if not found:
            lines.append("No layer shows a sign of plasticity loss.")
        parts = [self._table({finding.layer for finding in found}), *map(Text, lines)]
        parts += [_findings_table(found)] if found else []
        style = {True: "red", False: "green", None: "yellow"}[self.losing]
        return Group(*parts, Text.assemble(("\nVerdict: ", "bold"), (f"{self._verdict()}.", style)))

    def _verdict(self) -> str:
        if self.trainability is None:
            more = " Signs alone are no verdict: they are to be watched." if self.signs() else ""
            how = "none, as it was not measured how the network learns (trainability={'optimizer': optimizer})."
            return f"{how}{more}".removesuffix(".")
        acting = f". Acting on that: {', '.join(SLOW_LEARNING)}" if self.losing else ""
        return f"{self.trainability}{acting}"

    def _table(self, marked: set[str]) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        title = f"Check-up on {self.examples:,} examples"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("layer", overflow="fold")
        for heading in (
            "units",
            "dead",
            "dormant",
            "weak",
            "saturated",
            "srank 99%",
            "effective",
            "mean |w|",
            "growth",
        ):
            table.add_column(heading, justify="right")
        with_gradient = any(layer.gradient_norm is not None for layer in self.layers)
        if with_gradient:
            table.add_column("|grad|", justify="right")
        for layer in self.layers:
            growth = layer.weight_growth
            table.add_row(
                short(layer.layer),
                f"{layer.units:,}",
                f"{layer.dead_units:.1%}",
                f"{layer.dormant_units:.1%}",
                f"{layer.dormant_score:.1%}",
                f"{layer.saturated_units:.1%}",
                f"{layer.srank_99:.0f}",
                f"{layer.effective_rank:.1f}",
                f"{layer.weight_magnitude:.4g}",
                "" if growth is None else f"{'~' if layer.guessed else ''}{growth:.2f}",
                *([f"{layer.gradient_norm:.3g}"] if with_gradient else []),
                style="yellow" if layer.layer in marked else None,
            )
        return table

    def __str__(self) -> str:
        from rich.console import Console

        out = io.StringIO()
        Console(file=out, width=max(110, shutil.get_terminal_size((110, 24)).columns)).print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def short(name: str, length: int = 28) -> str:
    """A layer's name, shortened to its end; for several modules together the first and the number of others.

    >>> short("decoder.blocks.11.feed_forward.up"), short("encoder.layers.0.linear2+encoder.layers.1.linear2")
    ('…r.blocks.11.feed_forward.up', 'encoder.layers.0.linear2 +1')
    """
    if len(name) <= length:
        return name
    first, *others = name.split("+")
    more = f" +{len(others)}" if others else ""
    room = length - len(more)
    return (first if len(first) <= room else f"…{first[1 - room :]}") + more


def _findings_table(found: tuple[Finding, ...]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="\nSigns to watch", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("layer", "why", "methods that act on that"):
        table.add_column(heading, overflow="fold")
    for place, finding in enumerate(found):
        again = place > 0 and found[place - 1].layer == finding.layer
        name = Text("" if again else finding.layer or "all", style="yellow")
        table.add_row(name, Text(finding.reason), Text(", ".join(finding.methods)))
    return table


def _measures(layer: LayerReport) -> dict[str, float | None]:
    return {name: value for name, value in asdict(layer).items() if name not in ("layer", "units", "guessed")}
