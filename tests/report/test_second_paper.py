"""Another paper is a file of data: its figure is drawn, listed and judged by the code that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoteny.cli.main import main
from neoteny.errors import UnknownNameError
from neoteny.report import load
from neoteny.report.claims.page import markdown
from neoteny.report.figures.paper import draw
from neoteny.report.papers import PAPERS, figure, find
from neoteny.report.papers.judging import judge
from report import made_up
from report.second_paper import PAPER
from report.test_figures import check_text, words

(FIGURE,) = PAPER.figures
CHANGES = {"backprop": -0.3, "strength 0.01": 0.02, "strength 0.001": -0.35}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(PAPERS, PAPER.name, PAPER)
    monkeypatch.chdir(tmp_path)
    return made_up.paper_runs(Path("runs"), FIGURE, "small", runs=4, tasks=20, changes=CHANGES)


def test_its_figure_is_drawn(runs: Path):
    drawn = draw(figure("second-1"), load(runs))
    check_text(drawn)
    text = " ".join(one.get_text() for one in words(drawn))
    for told in ("Regularisers", *CHANGES, "95% Student t interval", "After Nobody (2030), Fig. 1.", "Diamonds"):
        assert told in text


def test_its_claims_are_judged(runs: Path):
    found = {one.claim: one.outcome.verdict for one in judge(load(runs), find("second"))}
    assert found == {
        "Backpropagation falls": "holds",
        "The stronger regulariser loses less": "holds",
        "The weaker regulariser is the best at last": "does not hold",
    }


def test_the_commands_know_it(runs: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["figure", "second-1"]) == 0
    assert Path("second-1.png").exists()
    assert main(["figure", "--list", "--paper", "second"]) == 0
    shown = capsys.readouterr().out
    assert "strength 0.01 (4)" in shown
    assert "nature-1b" not in shown
    assert main(["claims", "--paper", "second"]) == 0
    shown = capsys.readouterr().out
    assert "A second paper: trainability" in shown
    assert "continual-imagenet" not in shown
    assert main(["figure", "--list", "--paper", "third"]) == 2
    assert "second" in capsys.readouterr().err
    with pytest.raises(UnknownNameError, match="nature"):
        find("naturr")


def test_the_page_of_several_papers_has_a_heading_for_each(runs: Path):
    page = markdown(judge(load(runs), find()))
    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert headings[:2] == ["# Claims and verdicts", f"## {PAPERS['nature'].title}"]
    assert "- continual-imagenet, " in page.partition(headings[2])[0]  # which has no runs here
    assert headings[-2:] == ["## A second paper", "### trainability"]
