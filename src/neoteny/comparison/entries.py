"""The entries of a comparison, what each predicted, and which of them is better than the bare loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neoteny.comparison.learning import Way
from neoteny.errors import UnknownNameError
from neoteny.report.statistics.paired import Difference, differences

__all__ = ["ALPHA", "BARE", "FRESH", "Entries", "Entry"]

BARE, FRESH = "bare loop", "fresh network"
ALPHA = 0.05
"""A difference counts whose p-value, corrected for the number of comparisons, is below this."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One way of learning, and what it predicted.

    Attributes:
        name: of its methods; `bare loop` and `fresh network` have none.
        way: the methods with the settings that were chosen, and what the step sizes were multiplied by.
        losses: of each batch before it was learned from, [seeds, batches].
        accuracies: the same for classes; None for other targets.
        seconds: of the fastest run through the stream.
        tried: points of the tuning, each with its score for each tuning seed.
    """

    name: str
    way: Way
    losses: NDArray[np.float64]
    accuracies: NDArray[np.float64] | None
    seconds: float
    tried: tuple[tuple[Way, tuple[float, ...]], ...] = ()

    @property
    def values(self) -> NDArray[np.float64]:
        """What it is judged by: accuracies of classes, else losses, [seeds, batches]."""
        return self.losses if self.accuracies is None else self.accuracies

    @property
    def settings(self) -> str:
        """The chosen settings of its methods that were varied, in words."""
        parts = [f"{name} {getattr(method, name):g}" for method in self.way.methods for name in method.grid]
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class Entries:
    """All entries of a comparison, and the statistics over their seeds.

    Attributes:
        entries: the bare loop, the fresh network and the methods.
        sizes: examples of each batch.
        first: number of the batch from which on is reported; what comes before served for tuning.
        anew: numbers of the batches at which the fresh network began anew.
        step_sizes: the optimizer's own, of its groups.
        left_out: methods of the short list that cannot act on this network, and why.
        tasks: numbers of the batches with which a task began.
        names: what network and optimizer are made by, in code.
    """

    entries: tuple[Entry, ...]
    sizes: tuple[int, ...]
    first: int
    anew: tuple[int, ...]
    step_sizes: tuple[float, ...]
    left_out: Mapping[str, str]
    tasks: tuple[int, ...] = ()
    names: tuple[str, str] = ("build", "make_optimizer")

    def __getitem__(self, name: str) -> Entry:
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise UnknownNameError(name, [entry.name for entry in self.entries], "entry of this comparison")

    @property
    def metric(self) -> str:
        """`accuracy` or `loss`."""
        return "loss" if self.entries[0].accuracies is None else "accuracy"

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.metric == "accuracy" else -1

    @property
    def seeds(self) -> int:
        """Runs of each entry."""
        return len(self.entries[0].losses)

    def scores(self, name: str, batches: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """The mean over the examples that are reported, for each seed; not finite for a run that became so.

        Args:
            name: of an entry.
            batches: numbers of the batches, instead of those that are reported.
        """
        which = np.arange(self.first, len(self.sizes)) if batches is None else batches
        return np.average(self[name].values[:, which], axis=1, weights=np.asarray(self.sizes, dtype=float)[which])

    @cached_property
    def against_bare(self) -> dict[str, Difference]:
        """Each method's difference to the bare loop, seed by seed, with p-values corrected together (Holm).

        Methods with a run that became non-finite are not there; none are where the bare loop has such a run, or where
        there is one seed alone.
        """
        scores = {entry.name: self.scores(entry.name) for entry in self.entries if entry.name != FRESH}
        finite = {name: own for name, own in scores.items() if np.isfinite(own).all()}
        return differences(finite, to=BARE) if BARE in finite and self.seeds > 1 else {}

    @property
    def better(self) -> tuple[str, ...]:
        """Names of the methods that are better than the bare loop, the best mean first."""
        if not np.isfinite(self.scores(BARE)).all():
            found = [e.name for e in self.entries if e.way.methods and np.isfinite(self.scores(e.name)).all()]
        else:
            found = [n for n, one in self.against_bare.items() if one.p < ALPHA and self.sign * one.mean > 0]
        return tuple(sorted(found, key=lambda name: -self.sign * float(self.scores(name).mean())))

    @property
    def best(self) -> str:
        """The name of the best of the methods that are better than the bare loop; the bare loop's if none is."""
        return self.better[0] if self.better else BARE

    @property
    def level(self) -> tuple[str, ...]:
        """Names of the methods that are better than the bare loop, too, and cannot be told from the best."""
        if len(self.better) < 2 or self.seeds < 2:
            return ()
        found = differences({name: self.scores(name) for name in self.better}, to=self.best)
        return tuple(name for name, one in found.items() if one.p >= ALPHA)

    def step_size(self, entry: Entry) -> str:
        """The step sizes of an entry's groups, as text."""
        return ", ".join(f"{entry.way.factor * size:.3g}" for size in dict.fromkeys(self.step_sizes))

    @property
    def title(self) -> str:
        """What the table is of."""
        return f"{len(self.sizes):,} batches, reported from batch {self.first:,} on"
