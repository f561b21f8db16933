"""What commands list fits a terminal of 80 columns, and is not folded letter by letter."""

from __future__ import annotations

import re

import pytest

from neoteny.cli.main import main


@pytest.mark.parametrize(
    ("command", "most"),
    [
        ("list", 40),
        ("list benchmarks", 160),
        ("list scales", 160),
        ("list systems", 500),
        ("list methods", 200),
        ("list optimizers", 100),
        ("leaderboard --dry-run --benchmark trainability", 200),
    ],
)
def test_80_columns(command: str, most: int, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    assert main(command.split()) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert len(lines) <= most and max(map(len, lines)) <= 80
