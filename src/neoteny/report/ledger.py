"""The ledger: what the paper claims, and what the runs say to it.

The claims are those of Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024, and arXiv
2306.13812; and the same of a robot that the paper does not have. A verdict comes from run folders alone, one for each
scale that was run. Here are the claims about supervised learning; `neoteny.report.ledger_agents` has those of agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from neoteny.report.archive import public_command
from neoteny.report.atlas import CIFAR, FIGURES, IMAGENET, MNIST, REGRESSION, figure
from neoteny.report.claims import (
    All,
    Beats,
    Claim,
    EndsAbove,
    EndsBelow,
    Falls,
    FallsMore,
    Grows,
    Keeps,
    NonOverlapping,
    Outcome,
    Shrinks,
    claims_about,
    each,
)
from neoteny.report.figure import group_of, scales_of
from neoteny.report.ledger_agents import about_agents
from neoteny.report.lines import Line
from neoteny.report.series import Runs

__all__ = ["Entry", "claims_at", "judge", "markdown", "of_the_paper"]

HEADINGS = ("claim", "scale", "test", "effect and 95% interval", "n", "verdict", "figure", "made by")
OWN = "Not the paper's: what it claims of another robot, looked for in this one."
FIELD = "Not the paper's: what is claimed of methods, from the [leaderboard](leaderboard.md)."
EARLY = (0.05, 0.4)  # of a run over 100 classes: 10 to 40 of them; with the first 5 all is still the same


@dataclass(frozen=True)
class Entry:
    """One row of the ledger.

    Attributes:
        claim: what is claimed.
        scale: at which it was looked at.
        outcome: what was found.
        commands: what made the runs, or makes the missing ones.
    """

    claim: Claim
    scale: str
    outcome: Outcome
    commands: tuple[str, ...]


def claims_at(scale: str) -> tuple[Claim, ...]:
    """All claims, about the curves that the figures have at a scale.

    >>> claims_at("paper")[0].test.lines[0].label
    'step size 0.01'
    """
    return (*_imagenet(scale), *_cifar(scale), *_mnist(scale), *_regression(scale), *about_agents())


def judge(runs: Runs, out: Path | None = None) -> list[Entry]:
    """Hold every claim against the runs.

    Args:
        runs: from `load`.
        out: the folder that commands for missing runs name.

    Returns:
        A row a claim and scale that its benchmark was run at; where it never was, one for `small`.
    """
    entries = []
    for benchmark in dict.fromkeys(claim.benchmark for claim in claims_at("small")):
        scales = scales_of(benchmark, runs) or ["small"]
        claims = [[claim for claim in claims_at(scale) if claim.benchmark == benchmark] for scale in scales]
        for same in zip(*claims, strict=True):
            for claim, scale in zip(same, scales, strict=True):
                group = group_of(benchmark, runs, scale)
                shown = figure(claim.figure)
                selection = shown.select(group, scale)
                found = selection.found
                missing = tuple(line for line in claim.test.lines if line not in found)
                made = [
                    public_command(str(source.provenance["command"]))
                    for line in claim.test.lines
                    if line in found
                    for source in found[line].sources
                    if source.provenance.get("command")
                ]
                made += shown.commands(scale, replace(selection, missing=missing), out) if missing else []
                entries.append(Entry(claim, scale, claim.judge(found), tuple(dict.fromkeys(made))))
    return entries


def markdown(entries: Sequence[Entry], remarks: str = "") -> str:
    """The ledger as a page.

    Args:
        entries: from `judge`.
        remarks: Markdown to add below, such as why an effect does not show at a scale.
    """
    parts = [
        "# The ledger of claims",
        "What the paper claims, and what the runs say to it. `neoteny claims` writes this page from run folders; no "
        "verdict is made by hand.",
        "A claim *holds* if the whole 95% interval of the effect lies on its side of the threshold, *does not hold* if "
        "it lies on the other side, and is *undecided* if the threshold lies within. Effects are differences within "
        "runs or between runs of the same seeds (Student's t), or between independent runs (Welch's t). First and last "
        "are the first and the last tenth of a run, or what the test says in brackets; a loss is how much worse it is "
        "at last. The intervals are not corrected for the number of claims.",
    ]
    for benchmark in dict.fromkeys(entry.claim.benchmark for entry in entries):
        mine = [entry for entry in entries if entry.claim.benchmark == benchmark]
        made = dict.fromkeys(command for entry in mine for command in entry.commands)
        numbers = {command: number for number, command in enumerate(made, start=1)}
        rows: list[tuple[str, ...]] = [HEADINGS, ("---",) * len(HEADINGS)]
        for entry in mine:
            claim, outcome = entry.claim, entry.outcome
            test = f"{claim.metric}: {claim.describe()}"
            by = ", ".join(str(numbers[command]) for command in entry.commands)
            rows.append(
                (claim.text, entry.scale, test, outcome.effect, outcome.n, f"**{outcome.verdict}**", claim.figure, by)
            )
        table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
        listed = "\n".join(f"{number}. `{command}`" for command, number in numbers.items())
        parts += [f"## {benchmark}", *_whose(mine), table, f"Commands:\n\n{listed}"]
    if remarks.strip():
        parts += ["## Remarks", remarks.strip()]
    return "\n\n".join(parts) + "\n"


def of_the_paper(benchmark: str) -> bool:
    """Whether the claims about a benchmark are the paper's.

    >>> of_the_paper("ant"), of_the_paper("slippery-half-cheetah")
    (True, False)
    """
    return any(one.source for one in FIGURES.values() if one.benchmark == benchmark)


def _whose(entries: Sequence[Entry]) -> list[str]:
    """A word on claims that are not the paper's."""
    if of_the_paper(entries[0].claim.benchmark):
        return []
    return [FIELD if all(entry.claim.figure not in FIGURES for entry in entries) else OWN]


def _lines(name: str, scale: str) -> tuple[Line, ...]:
    return figure(name).lines_at(scale)


def _by_label(name: str, scale: str) -> dict[str, Line]:
    return {line.label: line for line in figure(name).needs(scale)}


def _imagenet(scale: str) -> tuple[Claim, ...]:
    claim = claims_about(IMAGENET, "test_accuracy", axis="tasks")
    *sizes, linear = _lines("nature-1b", scale)
    one = _by_label("nature-1c", scale)
    variations = _lines("imagenet-variations", scale)[1:]
    return (
        claim("nature-1b", "Backpropagation loses plasticity at every step size", each(Falls, sizes)),
        claim("nature-1b", "A larger step size loses more", FallsMore(sizes[0], sizes[-1])),
        claim(
            "nature-1b",
            "Backpropagation falls to about the linear network's level, or below it",
            Beats(linear, sizes[0], by=-0.02),
        ),
        claim("nature-1c", "Continual backpropagation does not fall", Keeps(one["cbp"], 0.01)),
        claim("nature-1c", "L2 regularisation does not fall", Keeps(one["l2"], 0.01)),
        claim("nature-1c", "Shrink and perturb does not fall", Keeps(one["shrink-and-perturb"], 0.01)),
        claim("nature-1c", "Continual backpropagation ends above L2", Beats(one["cbp"], one["l2"])),
        claim(
            "nature-1c",
            "Continual backpropagation ends above shrink and perturb",
            Beats(one["cbp"], one["shrink-and-perturb"]),
        ),
        claim(
            "nature-1c",
            "Backpropagation and continual backpropagation end with 95% intervals apart",
            NonOverlapping(one["cbp"], one["backprop"]),
        ),
        *(
            claim("imagenet-variations", f"Plasticity is lost also with {line.label}", Falls(line))
            for line in variations
        ),
    )


def _cifar(scale: str) -> tuple[Claim, ...]:
    claim = claims_about(CIFAR, "test_accuracy", axis="tasks")
    one = _by_label("nature-2b", scale)
    base, head, shrink, cbp, new = (
        one[name] for name in ("backprop", "head-reset", "shrink-and-perturb", "cbp", "retrained")
    )
    dormant, rank = {"metric": "dormant_units"}, {"metric": "srank_99", "layer": "last"}
    return (
        claim("nature-2b", "The base system gains from incremental training at first", Beats(base, new, window=EARLY)),
        claim("nature-2b", "The base system ends behind the retrained network", Beats(new, base)),
        claim(
            "nature-2b",
            "Continual backpropagation ends about level with the retrained network",
            Beats(cbp, new, by=-0.01),
        ),
        claim(
            "nature-2b",
            "Head reset and shrink and perturb end between the base system and continual backpropagation",
            All((Beats(head, base), Beats(shrink, base), Beats(cbp, head), Beats(cbp, shrink))),
        ),
        claim(
            "nature-2b",
            "The base system and continual backpropagation end with 95% intervals apart",
            NonOverlapping(cbp, base),
        ),
        claim("nature-2c", "The base system ends with over 50% dormant units", EndsAbove(base, 0.5), **dormant),
        claim(
            "nature-2c", "Continual backpropagation ends with under 2% dormant units", EndsBelow(cbp, 0.02), **dormant
        ),
        claim("nature-2c", "Units of the base system become dormant", Grows(base), **dormant),
        claim(
            "nature-2c",
            "Head reset and shrink and perturb have fewer dormant units than the base system, and more than continual "
            "backpropagation",
            All((Beats(base, head), Beats(base, shrink), Beats(head, cbp), Beats(shrink, cbp))),
            **dormant,
        ),
        claim("nature-2d", "The rank of the base system's representation falls", Shrinks(base), **rank),
        claim(
            "nature-2d",
            "Continual backpropagation ends with a higher rank than the base system",
            Beats(cbp, base),
            **rank,
        ),
    )


def _mnist(scale: str) -> tuple[Claim, ...]:
    claim = claims_about(MNIST, "accuracy")
    sizes, widths = _lines("mnist-step-size", scale), _lines("mnist-width", scale)
    changes, rates = _lines("mnist-change", scale), _lines("mnist-cbp", scale)
    one = _by_label("mnist-systems", scale)
    return (
        claim("mnist-step-size", "Backpropagation loses plasticity at every step size", each(Falls, sizes)),
        claim("mnist-step-size", "A larger step size loses more", FallsMore(sizes[0], sizes[-1])),
        claim("mnist-width", "Networks of every size lose plasticity", each(Falls, widths)),
        claim("mnist-width", "A smaller network loses more", FallsMore(widths[-1], widths[0])),
        claim("mnist-change", "Plasticity is lost however often the permutation changes", each(Falls, changes)),
        claim("mnist-change", "More frequent changes lose more", FallsMore(changes[0], changes[-1])),
        claim("mnist-systems", "Plasticity is lost also with adam", Falls(one["adam"])),
        claim("mnist-systems", "Plasticity is lost also with dropout", Falls(one["dropout 0.1"])),
        claim("mnist-systems", "Plasticity is lost also with normalisation", Falls(one["layer norm"])),
        claim(
            "mnist-systems", "L2 regularisation loses less than backpropagation", FallsMore(one["backprop"], one["l2"])
        ),
        claim("mnist-systems", "Shrink and perturb loses nearly nothing", Keeps(one["shrink-and-perturb"], 0.005)),
        claim("mnist-systems", "Continual backpropagation loses nothing", Keeps(one["cbp"], 0.002)),
        claim(
            "mnist-systems",
            "Backpropagation and continual backpropagation end with 95% intervals apart",
            NonOverlapping(one["cbp"], one["backprop"]),
        ),
        claim(
            "mnist-cbp",
            "Continual backpropagation ends above backpropagation at every rate over two orders of magnitude",
            All(tuple(Beats(rate, rates[0]) for rate in rates[1:])),
        ),
        claim("mnist-measures", "Units die", each(Grows, sizes), metric="dead_units", layer="mean"),
        claim("mnist-measures", "The weights grow", each(Grows, sizes), metric="weight_magnitude", layer="mean"),
        claim(
            "mnist-measures",
            "The rank of the representation falls",
            each(Shrinks, sizes),
            metric="effective_rank",
            layer="mean",
        ),
    )


def _regression(scale: str) -> tuple[Claim, ...]:
    claim = claims_about(REGRESSION, "loss")
    *activations, linear = _lines("regression-activations", scale)
    adam = _lines("regression-adam", scale)[:-1]
    one = _by_label("regression-systems", scale)
    rates = _lines("regression-cbp", scale)
    return (
        claim("regression-activations", "Every activation loses plasticity", each(Falls, activations)),
        claim("regression-activations", "ReLU ends worse than a linear network", Beats(linear, activations[0])),
        claim("regression-adam", "With Adam, too, every activation loses plasticity", each(Falls, adam)),
        claim(
            "regression-step-size",
            "Backpropagation loses plasticity at every step size",
            each(Falls, _lines("regression-step-size", scale)),
        ),
        claim("regression-systems", "Continual backpropagation does not lose plasticity", Keeps(one["cbp"], 0.05)),
        claim(
            "regression-systems",
            "Shrink and perturb loses less than backpropagation",
            FallsMore(one["backprop"], one["shrink-and-perturb"]),
        ),
        claim(
            "regression-systems",
            "L2 regularisation loses less than backpropagation",
            FallsMore(one["backprop"], one["l2"]),
        ),
        claim("regression-systems", "Continual backpropagation ends better than L2", Beats(one["cbp"], one["l2"])),
        claim(
            "regression-systems",
            "Backpropagation and continual backpropagation end with 95% intervals apart",
            NonOverlapping(one["cbp"], one["backprop"]),
        ),
        claim(
            "regression-cbp",
            "Continual backpropagation ends better than backpropagation at every rate over four orders of magnitude",
            All(tuple(Beats(rate, rates[0]) for rate in rates[1:])),
        ),
    )
