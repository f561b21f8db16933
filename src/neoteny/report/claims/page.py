"""Judgements of claims, and the page that lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from neoteny.report.claims.criteria import Outcome
from neoteny.report.statistics.cell import markdown_table

__all__ = ["Judgement", "markdown"]

HEADINGS = ("claim", "scale", "test", "effect and 95% interval", "n", "verdict", "figure", "made by")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A claim held against the runs at one scale.

    Attributes:
        paper: title of the paper that makes the claim; empty for one from the leaderboard.
        benchmark: name without version.
        figure: where the claim can be seen.
        claim: its text.
        scale: at which it was looked at.
        criterion: what decides it, in words.
        outcome: what was found.
        commands: what made the runs, or makes the missing ones.
        note: whose claim it is, if it is not the paper's own.
        runs: from how many of each curve it was found: the seeds that all share, else the fewest that a curve has.
        next_seed: the first that none of its curves has had.
        seconds: what one further run of each of its curves takes; 0 where that is not known.
        made: what is to be said of the runs that single commands made.
        chosen: what is to be said of how settings were chosen.
    """

    paper: str
    benchmark: str
    figure: str
    claim: str
    scale: str
    criterion: str
    outcome: Outcome
    commands: tuple[str, ...]
    note: str = ""
    runs: int = 0
    next_seed: int = 0
    seconds: float = 0.0
    made: Mapping[str, str] = field(default_factory=dict)
    chosen: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """What a reader should know of its runs and settings, each once."""
        return tuple(dict.fromkeys((*self.chosen, *self.made.values())))


def markdown(judgements: Sequence[Judgement], remarks: str = "") -> str:
    """The page.

    Args:
        judgements: from `judge`; where they are of several papers, each paper has a heading of its own.
        remarks: Markdown to add below, such as why an effect does not show at a scale.
    """
    parts = [
        "# Claims and verdicts",
        "What the papers claim, and what the runs say to it. `neoteny claims` writes this page from run folders; no "
        "verdict is made by hand.",
        "A claim *holds* if the whole 95% interval of the effect lies on its side of the threshold, *does not hold* if "
        "it lies on the other side, and is *undecided* if the threshold lies within, or if a run turned non-finite: "
        "the others, of which the effect is, came to the end for a reason. Where the test names a difference that does "
        "not matter, two rows are *level* if the whole interval lies within it. Effects are differences within runs "
        "or between runs of the same seeds (Student's t), or between independent runs (Welch's t). First and last "
        "are the first and the last tenth of a run, or what the test says in brackets. The intervals are not corrected "
        "for the number of claims. With the runs that *would decide* an undecided claim four of five such experiments "
        "would, if effect and spread are as they were found; from few runs both are uncertain, and so is this number.",
        "A loss says what it is counted from. *Last, beside fresh networks*: how much worse the run is at its last "
        "tasks than networks that begin anew at these tasks and learn from the same examples with the same optimizer. "
        "*First to last*: how much worse it is at last than at first, where no fresh networks were recorded "
        "(`--fresh-tasks`). A run that still learns from scratch in its first tenth gains there, whatever it loses.",
        "Footnotes mark verdicts that rest on settings chosen on the seeds that are reported, and on runs that no "
        "commit makes again.",
    ]
    notes: dict[str, int] = {}  # footnotes by their text
    papers = dict.fromkeys(one.paper for one in judgements)
    several = len([paper for paper in papers if paper]) > 1
    for paper in papers if several else [None]:
        parts += [f"## {paper or 'The leaderboard'}"] if several else []
        mine = [one for one in judgements if paper in (None, one.paper)]
        waiting = {}
        for benchmark in dict.fromkeys(one.benchmark for one in mine):
            section = [one for one in mine if one.benchmark == benchmark]
            begun = {one.figure for one in section if one.outcome.verdict != "not yet run"}
            if any(one.figure not in begun for one in section):
                waiting[benchmark] = [one for one in section if one.figure not in begun]
            if begun:
                section = [one for one in section if one.figure in begun]
                parts += [f"{'###' if several else '##'} {benchmark}", *_notes(section), *_section(section, notes)]
        parts += [_waiting(waiting)] if waiting else []
    if remarks.strip():
        parts += ["## Remarks", remarks.strip()]
    parts += [f"[^{number}]: {text}" for text, number in notes.items()]
    return "\n\n".join(parts) + "\n"


def _waiting(sections: Mapping[str, Sequence[Judgement]]) -> str:
    """Figures without any verdict, and how to see what they need."""
    lines = []
    for benchmark, section in sections.items():
        names = dict.fromkeys(one.figure for one in section)
        needed = ", ".join(f"`neoteny {name if name == 'leaderboard' else f'figure {name}'}`" for name in names)
        lines.append(" ".join([f"- {benchmark}, {len(section)} claims: {needed}.", *_notes(section)]))
    return "\n".join(["Not yet run; `neoteny figure` lists the commands of a figure's runs:", "", *lines])


def _notes(judgements: Sequence[Judgement]) -> list[str]:
    """Whose the claims are, if none of them is the paper's."""
    notes = dict.fromkeys(one.note for one in judgements)
    return [] if "" in notes else [*notes]


def _section(judgements: Sequence[Judgement], notes: dict[str, int]) -> list[str]:
    """The table of a benchmark, and the commands of its runs, which the table names by number; adds to the notes."""

    def marked(texts: Iterable[str]) -> str:
        return "".join(f"[^{notes.setdefault(text, len(notes) + 1)}]" for text in texts)

    made = dict.fromkeys(command for one in judgements for command in one.commands)
    numbers = {command: number for number, command in enumerate(made, start=1)}
    rows = [HEADINGS, ("---",) * len(HEADINGS)]
    for one in judgements:
        by = ", ".join(str(numbers[command]) for command in one.commands)
        found, verdict = one.outcome, f"**{one.outcome.verdict}**"
        if found.enough:
            verdict += f", about {found.enough:,} runs would decide"
        verdict += marked(one.marks)
        rows.append((one.claim, one.scale, one.criterion, found.effect, found.n, verdict, one.figure, by))
    made = {command: text for one in judgements for command, text in one.made.items()}
    listed = "\n".join(
        f"{number}. `{command}`{marked([made[command]] if command in made else [])}"
        for command, number in numbers.items()
    )
    return [markdown_table(rows), f"Commands:\n\n{listed}"]
