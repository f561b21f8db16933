"""The pages generated from the package: methods, benchmarks, optimizers, and the reference from docstrings."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gallery
import method_pages
from docstrings import markdown

from neoteny.registry import BENCHMARKS, OPTIMIZERS

ROOMS = (
    *("attachment", "linear", "units", "nn", "measures", "methods", "optim", "streams", "data", "envs"),
    *("testing", "lab", "rl", "benchmarks", "report", "sweeps", "leaderboard", "comparison"),
)


def write(folder: Path) -> None:
    """Write all pages into a folder."""
    folder.mkdir(exist_ok=True)
    texts = {
        **method_pages.pages(),
        "gallery": gallery.page(folder.parent / "evidence"),
        "benchmarks": _benchmarks(),
        "optimizers": _optimizers(),
        "errors": _module(importlib.import_module("neoteny.errors"), level=1),
        **{f"room-{room}": _room(room) for room in ROOMS},
    }
    for path in folder.glob("*.md"):
        if path.stem not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # Sphinx builds what is newer
            path.write_text(text, encoding="utf-8")


def _benchmarks() -> str:
    blocks = ["# Benchmarks", "If results change, so does the version; a name without a version means the newest."]
    for entry in BENCHMARKS.values():
        cls = entry.load()
        presets = {scale: _settings(cls.preset(scale)) for scale in cls.SCALES}
        rows = [f"| setting | {' | '.join(presets)} |", "|---" * (len(presets) + 1) + "|"]
        for setting in next(iter(presets.values())):
            rows.append(f"| `{setting}` | " + " | ".join(f"{preset[setting]}" for preset in presets.values()) + " |")
        systems = [f"| `{name}` | {system.summary} |" for name, system in cls.SYSTEMS.items()]
        blocks += [
            f"## {entry.name}",
            entry.source,
            markdown(inspect.getdoc(inspect.getmodule(cls)) or ""),
            "\n".join(rows),
            "\n".join(["| system | what it is |", "|---|---|", *systems]),
        ]
    return "\n\n".join(blocks) + "\n"


def _settings(problem: Any) -> dict[str, Any]:
    """Every setting of a benchmark, those of its optimizer included."""
    options = {
        f"optimizer.{name}": value for name, value in problem.optimizer.settings().items() if name != "step_size"
    }
    return {**problem.settings(), **options}


def _optimizers() -> str:
    blocks = ["# Optimizers", "Each is `--optimizer NAME` of every benchmark; its settings are `--optimizer.SETTING`."]
    for entry in OPTIMIZERS.values():
        cls = entry.load()
        settings = ", ".join(f"`{name}` {value}" for name, value in cls().settings().items())
        blocks += [f"## {entry.name}", entry.source, markdown(inspect.getdoc(cls) or ""), f"Defaults: {settings}."]
    return "\n\n".join(blocks) + "\n"


def _room(room: str) -> str:
    package = importlib.import_module(f"neoteny.{room}")
    blocks = [f"# neoteny.{room}", markdown(inspect.getdoc(package) or "")]
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            blocks.append(_module(importlib.import_module(found.name), level=2))
    return "\n\n".join(blocks) + "\n"


def _module(module: ModuleType, level: int) -> str:
    blocks = [f"{'#' * level} {module.__name__}", markdown(inspect.getdoc(module) or "")]
    for name, value in _public(module):
        home, kind = _home(module.__name__, name, value), "class" if inspect.isclass(value) else "function"
        canonical = f":canonical: {module.__name__}.{name}\n" if home != module.__name__ else ""
        blocks += [f"{'#' * (level + 1)} {name}", _described(kind, home, name, value, canonical)]
        blocks.append(markdown(inspect.getdoc(value) or ""))
        if inspect.isclass(value):
            for member, what in _members(value):
                kind = "method" if inspect.isfunction(what) else "property"
                blocks += [_described(kind, home, f"{name}.{member}", what), markdown(inspect.getdoc(what) or "")]
    return "\n\n".join(blocks)


def _public(module: ModuleType) -> Iterator[tuple[str, object]]:
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if own and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
            yield name, value


def _home(module: str, name: str, value: object) -> str:
    """Where users find it: the shortest path that leads to it."""
    parts = module.split(".")
    packages = (importlib.import_module(".".join(parts[: length + 1])) for length in range(len(parts)))
    return next(one.__name__ for one in packages if name in dir(one) and getattr(one, name) is value)


def _members(cls: type) -> Iterator[tuple[str, object]]:
    for name, value in vars(cls).items():
        value = getattr(value, "__func__", value)  # a class method's function
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)) and value.__doc__:
            yield name, value


def _described(kind: str, module: str, name: str, value: Any, options: str = "") -> str:
    """An object with its signature, which the index and `objects.inv` name."""
    own_call = kind == "class" and type(value).__call__ is not type.__call__  # hides what `__init__` takes
    try:
        found = "" if kind == "property" else str(inspect.signature(value.__init__ if own_call else value))
        signature = found.replace("(self, ", "(" if own_call else "(self, ").replace("'", "")
    except (TypeError, ValueError):
        signature = "(...)"
    return f"```{{py:{kind}}} {name}{signature}\n:module: {module}\n{options}```"
