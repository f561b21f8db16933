"""The code of every tutorial, run as plain Python: what a reader copies works."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from neoteny.compiling import compiler

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
TUTORIALS = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "index")
NEEDS = {"agent": ("gymnasium", "mujoco"), "fine_tuned": ("transformers",)}
COMPILED = ("agent", "nature", "streams")  # long runs by kernels


def code(name: str) -> str:
    """The code cells of a tutorial, each at its own lines, so that errors name the line of the page."""
    cells, inside = [], False
    for line in (FOLDER / f"{name}.md").read_text(encoding="utf-8").splitlines():
        fence = line.startswith("```")
        inside = line.startswith("```{code-cell}") or (inside and not fence)
        cells.append("" if fence or not inside or re.match(r":\w+:", line) else line)
    return "\n".join(cells)


@pytest.mark.parametrize("name", TUTORIALS)
def test_its_code_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    if name in COMPILED and compiler() is None:
        pytest.skip("needs a C++ compiler")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"tutorial_{name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where its classes are looked for
    try:
        exec(compile(code(name), str(FOLDER / f"{name}.md"), "exec"), module.__dict__)
    finally:
        pyplot.close("all")
