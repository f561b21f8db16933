"""Which further runs would decide what is undecided, the cheapest first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from neoteny.report.claims.page import Judgement

__all__ = ["Further", "further_runs"]

HOUR = 3600.0


@dataclass(frozen=True)
class Further:
    """The runs that a claim lacks.

    Attributes:
        judgement: the claim, which is undecided.
        runs: how many more of each of its curves would decide it in four of five cases, if effect and spread are as
            they were found.
        hours: what they take, in hours of the stacks that made the others.
        commands: that make them.
    """

    judgement: Judgement
    runs: int
    hours: float
    commands: tuple[str, ...]


def further_runs(judgements: Sequence[Judgement]) -> list[Further]:
    """The undecided claims of which it is known how many runs would decide them and what a run costs.

    Args:
        judgements: from `neoteny.report.papers.judging.judge`.

    Returns:
        The cheapest first. A command makes runs with the seeds after those that are there.
    """
    found = []
    for one in judgements:
        more = one.outcome.enough - one.runs
        if one.outcome.verdict == "undecided" and more > 0 and one.seconds > 0:
            commands = (_continued(command, one.next_seed, more, one.outcome.enough) for command in one.commands)
            found.append(Further(one, more, more * one.seconds / HOUR, tuple(dict.fromkeys(commands))))
    return sorted(found, key=lambda one: (one.hours, one.judgement.claim))


def _continued(command: str, seed: int, runs: int, together: int) -> str:
    """A command of `neoteny run` with further runs; or one of a study, which keeps what it has, with all `together`.

    >>> _continued("neoteny run trainability --runs 5 --resume --method l2", 5, 12, 17)
    'neoteny run trainability --resume --method l2 --seed 5 --runs 12'
    >>> _continued("python docs/evidence/replay.py --only ratio", 5, 12, 17)
    'python docs/evidence/replay.py --only ratio --seeds 17'
    """
    kept = re.sub(r"\s--(?:runs|seeds?)[ =]\S+", "", command)
    return f"{kept} --seed {seed} --runs {runs}" if kept.startswith("neoteny run ") else f"{kept} --seeds {together}"
