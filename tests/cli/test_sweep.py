"""`neoteny sweep`, and the options that say where stacks are trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoteny.cli.main import main
from sweeps import minute

FILE = f"""
benchmark: slowly-changing-regression
scale: {minute.SCALE}
runs: 2
tuning_runs: 2
rows:
  backprop:
  fast: {{method: backprop, grid: {{step_size: {{low: 0.01, high: 0.1, log: true}}}}}}
search: {{points: 2}}
"""


@pytest.fixture
def neoteny(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command in a folder with a file: gives what it printed; fails unless it ended as it should."""
    monkeypatch.chdir(tmp_path)
    minute.add_scale(monkeypatch)
    Path("it.yaml").write_text(FILE)

    def run(*arguments: str, status: int = 0) -> str:
        found = main(list(arguments))
        out, err = capsys.readouterr()
        assert found == status, err
        return out if status == 0 else err

    return run


HERE = ("sweep", "it.yaml", "--executor", "here", "--no-compile", "--device", "cpu")


def test_a_sweep_in_pieces_and_as_a_whole(neoteny):
    shown = neoteny(*HERE, "--row", "fast", "--out", "pieces")
    assert "2 points" in shown and " backprop " not in shown
    state = neoteny(*HERE, "--out", "pieces", "--dry-run")
    assert "2 of 2" in state and "step_size=0." in state
    shown = neoteny(*HERE, "--out", "pieces")
    neoteny(*HERE, "--out", "whole")
    for name in ("table.parquet", "table.txt"):
        pieces, whole = (Path(out, minute.SCALE, name).read_bytes() for out in ("pieces", "whole"))
        assert pieces == whole
    assert Path("pieces", minute.SCALE, "table.txt").read_text() in shown


def test_what_cannot_be(neoteny):
    assert "cannot be read" in neoteny("sweep", "nothing.yaml", status=2)
    assert "no row called 'fats'. Did you mean 'fast'" in neoteny(*HERE, "--row", "fats", status=2)
    assert "executor called 'sulrm'. Did you mean 'slurm'" in neoteny(
        "sweep", "it.yaml", "--executor", "sulrm", status=2
    )
    Path("it.yaml").write_text(FILE.replace("runs: 2", "runs: 1001", 1))
    assert "at most 1000" in neoteny(*HERE, status=2)


def test_where_stacks_are_trained(neoteny):
    run = ("run", "slowly-changing-regression", "--scale", minute.SCALE, "--runs", "1", "--method", "backprop")
    assert "NAME=VALUE" in neoteny(*run, "--executor", "slurm", "--executor-option", "timeout", status=2)
    assert "setting of the executor here called 'options'" in neoteny(
        *run[:-1], "backprop,l2", "--executor", "here", "--executor-option", "a=1", status=2
    )
    for wrong in ("--jobs 0", "--gpus -1", "--cores 0", "--retries -1", "--executor-option a=1", "--executor sulrm"):
        assert wrong.split()[1].partition("=")[0] in neoteny(
            *run, *wrong.split(), status=2
        )  # one system needs no executor
    shown = neoteny(*run[:-1], "backprop,l2", "--executor", "here", "--no-compile")
    assert "runs/slowly-changing-regression-v1/l2" in shown
