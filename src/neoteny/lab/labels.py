"""The name of a run's folder: its system, and the settings in which it differs from its preset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from neoteny.lab.benchmark import Benchmark
from neoteny.lab.config_file import made
from neoteny.lab.plain import plain
from neoteny.methods.base import Method
from neoteny.optim.base import Optimizer

__all__ = ["flat", "label"]

LONGEST = 200  # file systems allow names of 255 bytes; films and archives make the name longer


def label(
    system: str,
    usual: tuple[Benchmark, tuple[Method, ...]],
    problem: Benchmark,
    active: Mapping[str, Method],
    varied: Mapping[str, Any],
) -> str:
    """The name of the folder.

    A name that is too long for file systems is cut and ends in a hash of the whole.

    Args:
        system: its name.
        usual: the benchmark and the methods as the preset has them.
        problem: the benchmark.
        active: the methods that act, by name.
        varied: settings that differ between runs.
    """
    base, acting = usual
    before, here = flat(base, {m.name: m for m in acting}), flat(problem, active)
    if base.optimizer.name != problem.optimizer.name:  # for another optimizer, what differs from its own defaults
        before = {**_flat_optimizer(made(type(problem.optimizer))), **before}
    changed = {key: value for key, value in here.items() if plain(value) != plain(before.get(key))}
    words = [f"{key}={_short(value)}" for key, value in changed.items()]
    whole = ",".join([system, *words, *(f"by-{key}" for key in varied)])
    allowed = re.sub(r"[^\w.,=+~-]", "_", whole)  # a single name that every file system takes
    if allowed == whole and len(whole.encode()) <= LONGEST:
        return whole
    digest = sha256(whole.encode(errors="replace")).hexdigest()[:8]
    return f"{allowed.encode()[: LONGEST - 9].decode(errors='ignore')}~{digest}"


def flat(problem: Benchmark, active: Mapping[str, Method]) -> dict[str, Any]:
    """Every setting by its full name."""
    found: dict[str, Any] = {}
    for key, value in problem.settings().items():
        found[key] = value
        if key == "step_size":
            found |= _flat_optimizer(problem.optimizer)
    del found["steps"]
    return found | {f"{name}.{key}": value for name, m in active.items() for key, value in m.settings().items()}


def _flat_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    return {f"optimizer.{name}": value for name, value in optimizer.settings().items() if name != "step_size"}


def _short(value: Any) -> str:
    return (
        "-".join(map(_short, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
