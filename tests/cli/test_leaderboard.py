"""`neoteny leaderboard`, at a scale of moments."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from neoteny.cli.main import main
from sweeps import minute


@pytest.fixture
def neoteny(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command in an empty folder: gives what it printed; fails unless it ended as it should."""
    monkeypatch.chdir(tmp_path)
    minute.add_scale(monkeypatch)

    def run(*arguments: str, status: int = 0) -> str:
        found = main(["leaderboard", *arguments])
        out, err = capsys.readouterr()
        assert found == status, err
        return out if status == 0 else err

    return run


SHORT = ("--benchmark", "slowly-changing-regression", "--scale", minute.SCALE, "--runs", "2", "--tuning-runs", "2")
HERE = ("--executor", "here", "--no-compile")


def test_the_table_grows_and_is_drawn_anew_from_itself(neoteny):
    assert "leaderboard.parquet" in neoteny("--method", "backprop", *SHORT, *HERE)
    shown = neoteny("--method", "linear", *SHORT, *HERE, "--to", "there")
    assert "there/leaderboard.md" in shown
    assert "there/leaderboard.png" in shown
    frame = pl.read_parquet("there/leaderboard.parquet")
    assert frame["row"].unique().sort().to_list() == ["backprop", "linear"]
    page, figure = (Path("there", name).read_bytes() for name in ("leaderboard.md", "leaderboard.png"))
    assert figure.startswith(b"\x89PNG")
    Path("elsewhere").mkdir()
    neoteny("--draw", "there/leaderboard.parquet", "--to", "elsewhere")
    assert Path("elsewhere/leaderboard.md").read_bytes() == page
    assert Path("elsewhere/leaderboard.png").read_bytes() == figure
    main(["claims", "--out", "there/claims.md"])
    page = Path("there/claims.md").read_text()
    assert "## The leaderboard" in page and "claims: `neoteny leaderboard`" in page  # rows of the methods are missing


def test_rows_of_a_table_are_kept_and_not_run_again(neoteny):
    rows = ("--method", "backprop,linear", *SHORT, *HERE)
    neoteny("--method", "backprop", *SHORT, *HERE, "--to", "there")
    first = pl.read_parquet("there/leaderboard.parquet")
    shutil.rmtree("runs")  # another machine has the table alone
    assert "there has 1 of these rows" in neoteny(*rows, "--plan", "--to", "there")
    assert "there has 1 of these rows" in neoteny(*rows, "--to", "there")
    assert not [path for path in Path("runs").rglob("reporting/*/*") if path.name.startswith("backprop")]
    both = pl.read_parquet("there/leaderboard.parquet")
    assert both.filter(row="backprop").equals(first)
    assert both["row"].unique().sort().to_list() == ["backprop", "linear"]
    neoteny(*rows, "--to", "there", "--anew")
    assert [path for path in Path("runs").rglob("reporting/*/*") if path.name.startswith("backprop")]
    again = pl.read_parquet("there/leaderboard.parquet")
    assert again.drop("made_with").equals(both.drop("made_with"))
    shutil.rmtree("runs")
    neoteny("--method", "linear", *SHORT, *HERE, "--to", "there", "--anew")  # the other row stays
    assert pl.read_parquet("there/leaderboard.parquet").drop("made_with").equals(both.drop("made_with"))
    more = ("--method", "linear", *SHORT, *HERE, "--runs", "3", "--out", "more", "--to", "there")
    assert "of these rows" not in neoteny(*more)  # too few runs
    runs = pl.read_parquet("there/leaderboard.parquet").filter(phase="reporting", quantity="last").group_by("row").len()
    assert dict(runs.iter_rows()) == {"backprop": 2, "linear": 3}
    other = ("--method", "linear", "--benchmark", "slowly-changing-regression", "--scale", "fast", "--to", "there")
    assert f"there/leaderboard.parquet is of the scale {minute.SCALE}, and fast" in neoteny(*other, status=2)


def test_what_would_be_run(neoteny):
    shown = neoteny("--method", "backprop,adam", *SHORT, "--dry-run")
    row = next(line for line in shown.splitlines() if " adam " in line)
    assert "step_size 5e-05 to 0.02" in row
    assert "--dry-run and --plan" in neoteny("--dry-run", "--plan", status=2)
    assert "threads = 0" in neoteny("--method", "adam", *SHORT, "--dry-run", "--threads", "0", status=2)
    assert "budget = -1.0" in neoteny("--method", "adam", *SHORT, "--dry-run", "--budget", "-1", status=2)
    assert not Path("runs").exists()


def test_what_is_left_is_said_and_stands_on_the_page(neoteny):
    neoteny("--method", "backprop", *SHORT, *HERE, "--to", "there")
    shown = neoteny("--method", "backprop,momentum", *SHORT, "--no-compile", "--plan", "--to", "there")
    assert "slowly-changing-regression-v1 momentum: at most 38 runs" in shown  # (12 + 6) points twice, and two
    assert "slowly-changing-regression-v1: 1 of 1 rows left" in shown
    page = Path("there/leaderboard.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("| momentum |"))
    assert "## What was not run" in page and float(line.split("|")[2]) > 0
    neoteny("--method", "momentum", *SHORT, *HERE, "--to", "there")
    page = Path("there/leaderboard.md").read_text()
    assert "## What was not run" not in page
    line = next(line for line in page.splitlines() if "| momentum |" in line)
    assert re.search(r"\| - \| \d+\.\d\d \| \d\.\d\d \|", line)  # compiled, and memory


def test_what_cannot_be(neoteny):
    assert "'cbp'" in neoteny("--method", "cpb", *SHORT, status=2)
    assert "no benchmark called 'mnist'" in neoteny("--benchmark", "mnist", status=2)
    assert "at most 1000" in neoteny("--runs", "2000", *SHORT[:4], status=2)
    assert "jobs = -1" in neoteny("--jobs", "-1", *SHORT, status=2)
    assert "cannot be read" in neoteny("--draw", "nothing.parquet", status=2)
