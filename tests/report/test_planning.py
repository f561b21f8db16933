"""Which runs would decide a claim: how many, what they cost, and the commands that make them."""

from __future__ import annotations

from dataclasses import replace

from neoteny.cli.main import main
from neoteny.report.claims.criteria import Outcome
from neoteny.report.claims.page import Judgement, markdown
from neoteny.report.claims.planning import further_runs


def judgement(claim: str, verdict: str = "undecided", enough: int = 9, seconds: float = 60.0) -> Judgement:
    return Judgement(
        paper="p",
        benchmark="b",
        figure="f",
        claim=claim,
        scale="small",
        criterion="c",
        outcome=Outcome(verdict, enough=enough),
        commands=("neoteny run b --runs 5 --method a", "neoteny run b --runs 5 --method a", "study.py --only a"),
        runs=5,
        next_seed=7,
        seconds=seconds,
    )


def test_the_cheapest_claim_comes_first_and_what_is_known_of_none_is_left_out():
    found = further_runs(
        [
            judgement("dear", enough=65),
            judgement("cheap"),
            judgement("holds", "holds"),
            judgement("nobody knows how many", enough=0),
            judgement("nobody knows what it costs", seconds=0.0),
        ]
    )
    assert [(one.judgement.claim, one.runs, one.hours) for one in found] == [("cheap", 4, 4 / 60), ("dear", 60, 1.0)]
    assert found[0].commands == ("neoteny run b --method a --seed 7 --runs 4", "study.py --only a --seeds 9")


def test_the_command_plans_from_run_folders(tmp_path, monkeypatch, capsys):
    """Two runs that differ leave claims open; their folders say what a run took."""
    monkeypatch.chdir(tmp_path)
    run = ["run", "slowly-changing-regression", "--scale", "small", "--runs", "2", "--no-compile", "--executor", "here"]
    assert (
        main([*run, "--tasks", "2", "--task-length", "1000", "--bin-size", "100", "--method", "backprop,linear"]) == 0
    )
    capsys.readouterr()
    assert main(["claims", "--plan"]) == 0
    assert "undecided claims" in capsys.readouterr().out.splitlines()[-1]


def test_a_figure_that_was_not_run_is_named_below_the_table_of_those_that_were():
    made, missing = judgement("it holds", "holds"), judgement("it waits", "not yet run")
    together = markdown([made, missing])
    assert "| it waits |" in together  # its figure has another claim that was decided
    apart = markdown([made, replace(missing, figure="g")])
    assert "| it holds |" in apart
    assert "it waits" not in apart
    assert "- b, 1 claims: `neoteny figure g`." in apart
