"""Rooms import downwards only, and what answers at once imports nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
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


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    source = Path(neoteny.__file__).parents[1]
    found = {}
    for path in sorted(source.rglob("*.py")):
        name = ".".join(path.relative_to(source).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imported(name: str, known: dict[str, Path]) -> Iterator[str]:
    """What a module imports of this package: within functions and for annotations, too."""
    for node in ast.walk(ast.parse(known[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module


def test_no_modules_import_each_other_in_a_circle():
    """Packages are left out: their `__init__` says where names live and imports them when asked."""
    known = modules()
    graph = {
        name: {other for other in imported(name, known) if other in known and known[other].name != "__init__.py"}
        - {name}
        for name, path in known.items()
        if path.name != "__init__.py"
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"These import each other in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    "statement",
    [
        "import neoteny",
        "import neoteny.lab, neoteny.report, neoteny.rl, neoteny.cli.main",
        "from neoteny.registry import *; [e.load() for t in (METHODS, OPTIMIZERS, BENCHMARKS) for e in t.values()]",
        "from neoteny.lab import resolve; resolve('slowly-changing-regression', method='cbp').to_yaml()",
        "from neoteny.lab import resolve; resolve('slippery-ant', method='cbp').to_yaml()",
        "import neoteny as n; [getattr(n, a) for a in {*n.__all__} - {'Plasticity', 'RunStack'} if a[0].isupper()]",
    ],
)
def test_settings_need_no_torch(statement: str):
    found = run_python(f"import sys\n{statement}\nprint([name for name in {HEAVY} if name in sys.modules])")
    assert found.strip().splitlines()[-1] == "[]"


def test_every_public_name_is_there():
    assert len(set(neoteny.__all__)) == len(neoteny.__all__) > 50
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
