"""Signs that often come with a loss of plasticity, their thresholds, and the methods that act on them.

Every sign is a change since a reference: the network at its start, or a freshly initialised copy. Absolute values would
not do, as they depend on the architecture: a deep ReLU network without norms starts with many dormant units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from neoteny.registry.ranking import best_first

__all__ = ["SLOW_LEARNING", "SYMPTOMS", "UNREADY", "Finding", "PlasticityLossWarning", "Symptom", "findings"]

DORMANT_RISE = 0.1
"""Share of units that became dormant. Published curves begin near 0 and lie between 10% and all where networks have
lost plasticity (Dohare et al. 2024, Extended Data Fig. 3 and 4; Sokar et al. 2023, Fig. 2)."""
WEIGHT_GROWTH = 2.0
"""Mean |w| divided by the reference's. The effective step size of a layer that a norm follows is proportional to
1 / |w|^2 (van Laarhoven 2017), so weights twice as large quarter it."""
RANK_FALL = 0.5
"""Rank divided by the reference's: half of the directions are lost. Our choice; published curves of networks that lost
plasticity fall to a fraction of where they begin (Dohare et al. 2024, Extended Data Fig. 3c; Kumar et al. 2021)."""
GUESS = math.sqrt(6)
"""Factor on the growth threshold where the initial distribution had to be guessed. The guess is torch's default;
Kaiming's weights for ReLU, the largest in use, are larger by this factor."""
FEW = 5
"""So many units, or directions of features, may differ between two draws of a network."""
READY_FALL = 0.5
"""Optimization readiness divided by that of new networks: gradients of minibatches agree half as well. Our choice."""


class PlasticityLossWarning(UserWarning):
    """A layer has begun to show a sign of plasticity loss."""


@dataclass(frozen=True)
class Symptom:
    """One sign of plasticity loss, in one measure.

    Attributes:
        name: what it is called.
        measure: the field of a layer's record that shows it.
        change: `rise`: the value minus the reference's is at least the threshold; `growth`: their ratio is at least the
            threshold; `fall`: their ratio is at most the threshold; `gone`: the value is 0 and was not.
        threshold: see `change`.
        says: the sentence for a reader, with `{now}` and `{then}`.
        methods: some that act on it, names in `neoteny.registry.METHODS`; they are put in the leaderboard's order.
        source: who showed that the sign comes with the loss of plasticity, and that such methods act on it.
        implied_by: another symptom that includes this one; if that one is shown, this one is left out.
    """

    name: str
    measure: str
    change: Literal["rise", "growth", "fall", "gone"]
    threshold: float
    says: str
    methods: tuple[str, ...]
    source: str
    implied_by: str = ""

    def __post_init__(self) -> None:
        """Rank the methods."""
        object.__setattr__(self, "methods", best_first(self.methods))

    def shows(self, now: float, then: float | None, slack: float = 1.0) -> bool:
        """Whether the change is there; without a reference only `gone` can be seen. `slack` multiplies `growth`."""
        if self.change == "gone":
            return now == 0 and then != 0
        if then is None:
            return False
        match self.change:
            case "rise":
                return now - then >= self.threshold
            case "growth":
                return now >= self.threshold * slack * then and now > 0
            case "fall":
                return now <= self.threshold * then and then > 0


@dataclass(frozen=True)
class Finding:
    """A sign that a layer shows, and why.

    Attributes:
        layer: its name; `""` is the network as a whole.
        symptom: the name of the sign.
        reason: the numbers, in words.
        methods: names of the registered methods that act on it, in the order of the leaderboard.
    """

    layer: str
    symptom: str
    reason: str
    methods: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.layer or 'the whole network'}: {self.reason}. Acting on that: {', '.join(self.methods)}."


NOT_FINITE = Symptom(
    "not finite", "", "gone", 0.0, "its weights or activations are not finite",
    ("full-reset",), "nothing can be learned from there",
)  # fmt: skip
SLOW_LEARNING = best_first(("spectral", "cbp", "redo", "l2-init", "upgd", "shrink-and-perturb", "full-reset"))
"""Methods for a network of which `neoteny.measures.Trainability.losing` says that it learns worse than a new one: the
short list without what builds another network, for this one is trained already (docs/evidence/leaderboard.md)."""
UNREADY = Symptom(
    "contradicting gradients", "readiness", "fall", READY_FALL,
    "on new targets the gradients of minibatches agree {now:.2f} times as well as a new network's",
    SLOW_LEARNING, "Wang et al. 2026 (optimization readiness)",
)  # fmt: skip
SYMPTOMS = (
    Symptom(
        "dormant units", "dormant_units", "rise", DORMANT_RISE,
        "{now:.0%} of its units are dormant ({then:.0%} in {reference})",
        ("cbp", "redo", "shrink-and-perturb", "snr", "crelu"), "Sokar et al. 2023; Dohare et al. 2024",
    ),
    Symptom(
        "weak units", "dormant_score", "rise", DORMANT_RISE,
        "{now:.0%} of its units hardly respond ({then:.0%} in {reference})",
        ("redo", "cbp", "shrink-and-perturb", "cpr"), "Sokar et al. 2023", implied_by="dormant units",
    ),
    Symptom(
        "saturated units", "saturated_units", "rise", DORMANT_RISE,
        "{now:.0%} of its units are saturated ({then:.0%} in {reference})",
        ("l2-init", "shrink-and-perturb", "l2", "layer-norm", "cbp"), "Glorot & Bengio 2010; Lyle et al. 2024",
    ),
    Symptom(
        "falling rank", "srank_99", "fall", RANK_FALL,
        "its features span {now:.0f} directions ({then:.0f} in {reference})",
        ("cbp", "shrink-and-perturb", "l2-init", "l2-er", "parseval"), "Kumar et al. 2021, 2023; Dohare et al. 2024",
    ),
    Symptom(
        "growing weights", "weight_magnitude", "growth", WEIGHT_GROWTH,
        "its mean |w| is {now:.3g} ({then:.3g} in {reference})",
        ("l2", "l2-init", "shrink-and-perturb", "weight-clipping", "normalise-and-project"),
        "Lyle et al. 2023; Kumar et al. 2023; Dohare et al. 2024",
    ),
    Symptom(
        "no gradient", "gradient_norm", "gone", 0.0, "no gradient reaches its weights",
        ("cbp", "redo", "regrama", "full-reset"), "Dohare et al. 2024",
    ),
)  # fmt: skip
"""The signs that every layer is checked for."""


def findings(
    layer: str,
    now: Mapping[str, float | None],
    then: Mapping[str, float | None],
    reference: str,
    guessed: bool = False,
    units: int | None = None,
) -> Iterator[Finding]:
    """The signs that one layer shows.

    Args:
        layer: its name.
        now: its measures by name; those that were not taken are missing or None.
        then: the reference's measures.
        reference: the name of the reference in the sentences.
        guessed: whether the reference's weights were drawn from a guessed distribution.
        units: how many units the layer has, where the reference is another draw of the network. Then a change by fewer
            than five units, or directions, may be chance and does not count.

    >>> [finding.symptom for finding in findings("fc", {"dormant_units": 0.4}, {"dormant_units": 0.05}, "the start")]
    ['dormant units']
    """
    if not all(math.isfinite(value) for value in now.values() if value is not None):
        yield Finding(layer, NOT_FINITE.name, NOT_FINITE.says, NOT_FINITE.methods)
        return
    shown: set[str] = set()
    for symptom in SYMPTOMS:
        value, before = now.get(symptom.measure), then.get(symptom.measure)
        if symptom.implied_by in shown or value is None:
            continue
        if units is not None and before is not None:
            size = {"rise": (value - before) * units, "fall": before - value}.get(symptom.change, math.inf)
            if size < FEW - 1e-6:
                continue
        if symptom.shows(value, before, GUESS if guessed else 1.0):
            shown.add(symptom.name)
            reason = symptom.says.format(now=value, then=before, reference=reference)
            yield Finding(layer, symptom.name, reason, symptom.methods)
