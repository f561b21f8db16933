"""The page "Which method?": its example runs, and what it says of defaults and the short list is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import neoteny
from neoteny.comparison.tuning import COARSE
from neoteny.registry import METHODS
from neoteny.registry.ranking import SHORT_LIST, WITH_TASKS

PAGE = (Path(__file__).parents[2] / "docs" / "which_method.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(code, "which_method.md", "exec"), {})
    assert "l2-init" in capsys.readouterr().out
    assert Path("which_method.png").stat().st_size > 10_000


def test_it_says_what_is_so():
    rows = re.findall(r"^\| ([a-z]+) \| (`.*) \|$", PAGE, flags=re.MULTILINE)
    listed = [(kind, name) for kind, names in rows for name in re.findall(r"`(.*?)`", names)]
    assert sorted(name for _, name in listed) == sorted(SHORT_LIST)
    assert all(METHODS[name].kind == kind for kind, name in listed)
    assert " and ".join(f"`{name}`" for name in WITH_TASKS) in PAGE
    defaults = {name: one.default for name, one in inspect.signature(neoteny.compare).parameters.items()}
    assert (defaults["points"], defaults["tuning_seeds"], defaults["fresh"], defaults["seeds"]) == (8, 2, 4, 5)
    assert defaults["tuning_share"] == 1 / 3
    assert COARSE[:4] == (1, 0.3, 3, 0.1)
