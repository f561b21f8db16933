"""Footnotes of the page of claims: runs that no commit makes again, settings chosen on reported seeds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from neoteny.cli.main import main
from neoteny.report import load
from neoteny.report.claims.marks import CHANGED, UNKNOWN, Chosen
from neoteny.report.claims.page import Judgement, markdown
from neoteny.report.papers import figure, figures, find
from neoteny.report.papers.judging import judge
from report import made_up

NATURE_1C = figure("nature-1c")


def committed(directory: Path, system: str, commit: str | None) -> None:
    """Let the provenance of a system's runs name a commit."""
    for path in directory.rglob("provenance.json"):
        facts = json.loads(path.read_text())
        if f"--method {system} " in facts["command"]:
            path.write_text(json.dumps({**facts, "git_commit": commit}))


def judged(directory: Path) -> dict[str, Judgement]:
    return {one.claim: one for one in judge(load(directory), find("nature")) if one.figure == NATURE_1C.name}


def test_runs_that_no_commit_makes_again_are_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    made_up.paper_runs(tmp_path, NATURE_1C, "paper", runs=4, tasks=20)
    committed(tmp_path, "l2", "0123abc+")
    committed(tmp_path, "cbp", None)
    found = judged(tmp_path)
    assert found["L2 regularisation does not fall"].marks == (CHANGED,)
    assert found["Continual backpropagation does not fall"].marks == (UNKNOWN,)
    assert set(found["Continual backpropagation ends above L2"].marks) == {CHANGED, UNKNOWN}
    assert found["Shrink and perturb does not fall"].marks == ()
    (command,) = found["L2 regularisation does not fall"].commands
    assert found["L2 regularisation does not fall"].made == {command: CHANGED}

    page = markdown(list(found.values()), "By hand.")
    numbers = {text: number for number, text in re.findall(r"^\[\^(\d+)\]: (.+)$", page, flags=re.M)}
    assert set(numbers) == {CHANGED, UNKNOWN}
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in page.splitlines() if line.startswith("| ")}
    assert f"**[^{numbers[CHANGED]}] |" in rows["L2 regularisation does not fall"]
    assert "[^" not in rows["Shrink and perturb does not fall"]
    assert f"`{command}`[^{numbers[CHANGED]}]" in page
    assert page.index("By hand.") < page.index(f"[^{numbers[CHANGED]}]: ")

    assert main(["claims", str(tmp_path), "--paper", "nature"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"(holds|hold|undecided)\* ", shown)
    assert f"* {UNKNOWN}" in shown


def test_without_marks_the_page_has_no_footnotes(tmp_path: Path):
    made_up.paper_runs(tmp_path, NATURE_1C, "paper", runs=4, tasks=20)
    assert not re.search(r"^\[\^", markdown(list(judged(tmp_path).values())), flags=re.M)


@pytest.mark.parametrize(
    ("seeds", "reported", "said"),
    [
        ((0, 1), range(5), "The rate was chosen, on the seeds 0 and 1, which are among those reported."),
        ((3,), range(5), "The rate was chosen, on the seed 3, which are among those reported."),
        ((100, 101), range(5), ""),
        (range(3, 9), range(5), "The rate was chosen, on the seeds 3 to 8, of which 3 and 4 are among those reported."),
        ((), range(5), "The rate was chosen; on which seeds was not recorded."),
        ((), (), ""),
    ],
)
def test_the_seeds_of_a_choice_are_held_against_those_reported(seeds, reported, said: str):
    assert Chosen(said="The rate was chosen", seeds=seeds, scale="small").note(reported) == said


def test_settings_chosen_on_reported_seeds_are_marked(tmp_path: Path):
    """PPO's step size was chosen with standard PPO on the half-cheetah's seeds 0 and 1."""
    cheetah, ant = figure("friction-half-cheetah"), figure("nature-3c")
    for which, scale in ((cheetah, "small"), (cheetah, "paper"), (ant, "small")):
        made_up.paper_runs(tmp_path, which, scale, runs=5, tasks=20)
    entries = judge(load(tmp_path), find("nature"))
    marked = {
        (one.figure, one.scale): one.marks for one in entries if one.claim == "L2 regularisation goes on improving"
    }
    (note,) = marked[cheetah.name, "small"]
    assert note.startswith("The step size 0.001 was chosen with standard PPO")
    assert note.endswith("on the seeds 0 and 1, which are among those reported.")
    assert marked[cheetah.name, "paper"] == marked[ant.name, "small"] == ()


def test_choices_are_of_curves_that_the_figures_have():
    for one in figures().values():
        for chosen in one.chosen:
            assert set(chosen.curves) <= {condition.label for condition in one.needs(chosen.scale)}
            assert chosen.said[0].isupper() and not chosen.said.endswith(".")


def test_a_choice_counts_for_its_curves_alone(tmp_path: Path):
    tracking = figure("streaming-tracking")
    made_up.paper_runs(tmp_path, tracking, "paper", runs=4, tasks=20)
    found = {one.claim: one.marks for one in judge(load(tmp_path), find("streaming")) if one.figure == tracking.name}
    idbd, lms = found["IDBD comes to about 1.5"], found["The same, untuned: Autostep"]
    assert [one.partition(" was")[0] for one in idbd] == ["The setting of IDBD"]
    assert [one.partition(" was")[0] for one in lms] == ["The setting of LMS"]
    assert all("of which 0 to 3 are among those reported" in one for one in (*idbd, *lms))
