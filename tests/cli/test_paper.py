"""`neoteny figure`, `claims` and `archive`, on made-up runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoteny.cli.main import main
from neoteny.report.papers import figure, figures
from neoteny.report.papers.condition import Condition
from report import made_up


@pytest.fixture
def neoteny(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command in an empty folder: gives what it printed; fails unless it ended as it should."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, status: int = 0) -> str:
        found = main(arguments)
        out, err = capsys.readouterr()
        assert found == status, err
        return out if status == 0 else err

    return run


@pytest.fixture
def runs() -> Path:
    lines = (Condition("backprop", "backprop"), Condition("cbp", "cbp"))
    return made_up.paper_runs(Path("runs"), figure("nature-1c"), "small", lines, runs=3, tasks=20)


def test_a_figure_is_drawn_where_it_is_asked_for(neoteny, runs):
    assert neoteny("figure", "nature-1c").strip() == "nature-1c.png"
    assert Path("nature-1c.png").read_bytes().startswith(b"\x89PNG")
    assert neoteny("figure", "nature-1c", "runs", "--out", "there/it.pdf", "--scale", "small").strip() == "there/it.pdf"
    assert Path("there/it.pdf").read_bytes().startswith(b"%PDF")
    told = neoteny("figure", "nature-1b", "--scale", "paper", status=2)
    assert "paper" in told
    assert "nature-1c" in neoteny("figure", "nature-1d", status=2)
    assert ".svg" in neoteny("figure", "nature-1c", "--out", "it.gif", status=2)
    assert "--list" in neoteny("figure", status=2)
    assert "add --list" in neoteny("figure", "nature-1c", "--paper", "nature", status=2)
    assert "is not a directory" in neoteny("figure", "nature-1c", "elsewhere", status=2)


def test_a_figure_without_runs_tells_the_commands(neoteny):
    told = neoteny("figure", "mnist-step-size", status=2)
    grid = "--method backprop --grid step_size=0.01,0.003,0.001 --resume"
    assert f"  neoteny run online-permuted-mnist --scale small --runs 10 {grid}" in told.splitlines()


def test_the_list_says_what_is_there_and_what_is_missing(neoteny, runs):
    shown = neoteny("figure", "--list")
    for name in figures():
        assert name in shown
    row = shown.partition("\nnature-1c  ")[2].splitlines()[1]
    assert row.strip() == "small scale: backprop (3), cbp (3); missing: linear, l2, shrink-and-perturb"
    after = shown.partition("# nature-1c, small scale\n")[2]
    assert after.splitlines()[0] == (
        "neoteny run continual-imagenet --scale small --runs 3 --method linear,l2,shrink-and-perturb --resume"
    )
    Path("runs").rename("there")
    other = neoteny("figure", "--list", "there")
    assert "backprop (3), cbp (3)" in other
    assert "--out there --resume" in other
    one = neoteny("figure", "nature-1c", "there", "--list", "--scale", "paper")
    assert "nature-1b" not in one
    assert "--scale paper --runs 30" in one
    assert "Did you mean 'paper'" in neoteny("figure", "--list", "there", "--scale", "papper", status=2)
    assert "nature-1c" in neoteny("figure", "--list")  # nothing has been run yet


def test_the_claims(neoteny, runs):
    shown = neoteny("claims")
    assert "Continual backpropagation does not fall" in shown
    assert "not yet run" in shown
    Path("docs").mkdir()
    Path("docs/claims.remarks.md").write_text("Too short to show it.\n")
    assert neoteny("claims", "runs", "--out", "docs/claims.md").strip() == "docs/claims.md"
    page = Path("docs/claims.md").read_text()
    assert page.startswith("# Claims and verdicts")
    assert "Too short to show it." in page
    assert neoteny("claims", "--out", "claims.txt", status=2)
    assert "give one of them" in neoteny("claims", "--plan", "--out", "docs/claims.md", status=2)


def test_archive_then_draw(neoteny, runs):
    folders = sorted(str(path.parent) for path in runs.rglob("config.yaml"))
    shown = neoteny("archive", *folders, "--to", "slim").split()
    assert shown == [f"slim/continual-imagenet-v1/{Path(folder).name}" for folder in folders]
    assert neoteny("figure", "nature-1c", "slim").strip() == "nature-1c.png"
    neoteny("claims", "slim")
    neoteny("report", "slim")
    assert "no run folder" in neoteny("archive", "runs", "--to", "slim", status=2)
