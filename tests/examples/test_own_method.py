"""The example package of one's own, installed as any package is: the command line knows what it brings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import neoteny
from examples.running import FOLDER

TINY = ["--scale", "tiny", "--runs", "2", "--no-compile", "--out", "runs"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it, and its entry points."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(FOLDER / "own_method", folder / "source")  # building writes beside the source
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*pip, "--target", str(folder / "site"), str(folder / "source")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def python(folder: Path, *arguments: str) -> str:
    path = [str(folder / "site"), str(Path(neoteny.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_knows_what_is_installed(installed: Path):
    listed = python(installed, "-m", "neoteny", "list", "all")
    for line in ("own-benchmark-v1 ", "mine ", "signed "):
        assert any(row.startswith(line) for row in listed.splitlines())
    assert "--mine.rate" in python(installed, "-m", "neoteny", "run", "own-benchmark", "--help")
    rows = python(installed, "-m", "neoteny", "leaderboard", "--benchmark", "own-benchmark", "--method", "mine",
                  "--scale", "tiny", "--dry-run")  # fmt: skip
    assert "rate 0.001 to 0.1" in rows


def test_it_runs_and_draws(installed: Path):
    run = ["-m", "neoteny", "run", "own-benchmark", "--method"]
    told = python(installed, *run, "mine", "--mine.rate", "0.1", *TINY)
    assert "runs/own-benchmark-v1/mine,mine.rate=0.1" in told
    told = python(installed, *run, "mine", "--grid", "mine.rate=0.01,0.2", "--optimizer", "signed", *TINY)
    folder = installed / "runs" / "own-benchmark-v1" / "mine,optimizer=signed,by-mine.rate"
    assert (folder / "metrics.parquet").exists() and "classes" not in (folder / "config.yaml").read_text()
    python(installed, "-m", "own_method.figure", "runs", "own.png")
    assert (installed / "own.png").stat().st_size > 1_000
