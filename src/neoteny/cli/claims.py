"""`neoteny claims`: which claims of the papers hold in the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from neoteny.cli.own import console_for
from neoteny.cli.reading import read_options
from neoteny.errors import SettingError

if TYPE_CHECKING:
    from neoteny.report.claims.page import Judgement

__all__ = ["main"]

RUNS = Path("runs")
STYLE = {"holds": "green", "does not hold": "red", "level": "cyan", "undecided": "yellow", "not yet run": "dim"}


@dataclass(frozen=True)
class ClaimsOptions:
    """Judge the papers' claims by run folders: which hold, which do not, which are undecided or not yet run."""

    runs_dir: Annotated[Path, tyro.conf.Positional] = RUNS
    """the folder that `neoteny run --out` wrote to, or any above it"""
    out: Path | None = None
    """write the verdicts here as Markdown, such as docs/evidence/claims.md; a file beside it whose name ends in
    .remarks.md instead is added below them"""
    leaderboard: Path | None = None
    """the table of `neoteny leaderboard`, for the claims that it decides; by default leaderboard.parquet beside --out,
    if there is one"""
    plan: tyro.conf.FlagCreatePairsOff[bool] = False
    """which further runs would decide what is undecided, the cheapest first, and the commands that make them"""
    paper: str | None = None
    """only the claims of this paper, such as nature; none from the leaderboard unless --leaderboard is given"""


def main(arguments: Sequence[str]) -> None:
    """Show the verdicts, or write them and print where they are."""
    options = read_options(ClaimsOptions, arguments, "neoteny claims")
    if options.plan and options.out is not None:
        raise SettingError("--plan prints which runs are lacking and --out writes the verdicts: give one of them.")
    if options.out is not None and options.out.suffix != ".md":
        raise SettingError(f"--out {options.out}: the page of claims is Markdown; end its name with .md.")
    from neoteny.report.claims.page import markdown
    from neoteny.report.files import write
    from neoteny.report.papers import find
    from neoteny.report.papers.judging import judge
    from neoteny.report.runs.groups import load_any

    papers, directory = find(options.paper), options.runs_dir
    judgements = judge(load_any(directory, absent=directory == RUNS), papers)
    table = options.leaderboard
    if table is None and options.out is not None and options.paper is None:
        beside = options.out.with_name("leaderboard.parquet")
        table = beside if beside.exists() else None
    if table is not None:
        from neoteny.report.leaderboard.claims import judge_board
        from neoteny.report.leaderboard.reading import read

        judgements += judge_board(read(table))
    if options.plan or options.out is None:
        (_plan if options.plan else _show)(judgements)
        return
    remarks = options.out.with_suffix(".remarks.md")
    text = markdown(judgements, remarks.read_text(encoding="utf-8") if remarks.exists() else "")
    print(write(options.out, text.encode()))


def _plan(judgements: Sequence[Judgement]) -> None:
    """The further runs, claim by claim."""
    from neoteny.report.claims.planning import further_runs

    found, total = further_runs(judgements), 0.0
    for one in found:
        total += one.hours
        claim = one.judgement
        print(f"{claim.benchmark}, {claim.scale}: {claim.claim}")
        print(f"  {one.runs:,} more runs, {one.hours:.2g} hours ({total:.2g} with all before)")
        for command in one.commands:
            print(f"  {command}")
    undecided = sum(one.outcome.verdict == "undecided" for one in judgements)
    if found:
        print(
            "Start all runs of a claim and judge it once, at their end: who stops at the first verdict finds too many."
        )
    print(f"{len(found)} of {undecided} undecided claims, {total:.2g} hours in all.")


def _show(judgements: Sequence[Judgement]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = console_for(200)
    for paper, benchmark in dict.fromkeys((one.paper, one.benchmark) for one in judgements):
        mine = [one for one in judgements if (one.paper, one.benchmark) == (paper, benchmark)]
        title = f"{paper}: {benchmark}" if paper else f"{benchmark} (from the leaderboard)"
        title += " (not in the paper)" if paper and mine[0].note else ""
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("claim", "scale", "effect and 95% interval", "n", "verdict"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "verdict")
        for one in mine:
            row = (one.claim, one.scale, one.outcome.effect, one.outcome.n)
            verdict = one.outcome.verdict
            table.add_row(*map(Text, row), Text(verdict + "*" * bool(one.marks), STYLE[verdict]))
        console.print(table)
        for mark in dict.fromkeys(mark for one in mine for mark in one.marks):
            console.print(Text(f"* {mark}", "dim"))
