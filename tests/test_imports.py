"""Rooms import downwards only, and what answers at once imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import neoteny

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "polars", "matplotlib", "scipy", "requests", "gymnasium", "mujoco")


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rooms_import_downwards_only():
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    assert (
        lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True) == EXIT_STATUS_SUCCESS
    )


@pytest.mark.parametrize(
    "statement",
    [
        "import neoteny",
        "import neoteny.lab, neoteny.report, neoteny.rl, neoteny.cli.main",
        "from neoteny import registry; [e.load() for e in (*registry.METHODS.values(), *registry.BENCHMARKS.values())]",
        "from neoteny.lab import resolve; resolve('slowly-changing-regression', method='cbp').to_yaml()",
        "from neoteny.lab import resolve; resolve('slippery-ant', method='cbp').to_yaml()",
        "import neoteny; [getattr(neoteny, n) for n in neoteny.__all__ if n[0].isupper() and n != 'Plasticity']",
    ],
)
def test_settings_need_no_torch(statement: str):
    found = run_python(f"import sys\n{statement}\nprint([name for name in {HEAVY} if name in sys.modules])")
    assert found.strip().splitlines()[-1] == "[]"


def test_every_public_name_is_there():
    assert set(neoteny.__all__) == {*neoteny._HOME, "__version__"}
    for name in neoteny.__all__:
        assert getattr(neoteny, name) is not None
        assert name in dir(neoteny)
    with pytest.raises(AttributeError, match="no attribute 'atach'"):
        _ = neoteny.atach  # type: ignore[attr-defined]


def test_the_functions_of_the_laboratory_stay_functions():
    """Importing a module of the same name would put it in a function's place."""
    from neoteny import lab

    for name in lab.__all__:
        assert f"neoteny.lab.{name}" not in sys.modules
        assert callable(getattr(lab, name))


def test_the_version_is_said_once_more_only_where_it_must_be():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert neoteny.__version__ == project["version"]
    assert f"version: {neoteny.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
