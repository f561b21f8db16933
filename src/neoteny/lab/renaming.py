"""What settings were called and where they lay in run folders of earlier versions; configurations are read through it.

A new name or place is a line in a table here, so that old folders load, resume and are reported on. A setting that a
file does not have is its default, which needs no word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["SCHEMA", "brought_up_to_date"]

SCHEMA = 2
"""Version of the layout of `config.yaml`."""

SETTINGS: Mapping[str, str] = {}
"""New names of settings of benchmarks, by the old ones."""
OPTIMIZER: Mapping[str, str] = {"epsilon": "eps"}
"""New names of settings of optimizers."""
METHODS: Mapping[str, Mapping[str, str]] = {}
"""New names of settings of methods, by method."""

FLAT = ("momentum", "betas", "epsilon")
"""Settings of the optimizer that stood among the benchmark's in schema 1."""
UNSAID: Mapping[str, Mapping[str, Any]] = {
    "adam": {"weight_decay": 0.0},
    "adamw": {"weight_decay": 0.0},
    "muon": {"iterations": 5, "rest": 0.015},
}
"""Settings of optimizers that schema 1 did not write, as they were; its adamw did not decay."""


def brought_up_to_date(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `config.yaml` of any version as this version writes it.

    What is no mapping where one is expected stays as it is: whoever uses the content says so.

    >>> old = {"schema": 1, "settings": {"tasks": 2, "optimizer": "adam", "step_size": 0.1, "epsilon": 1e-8},
    ...        "optimizer": {"name": "adam", "step_size": 0.1, "epsilon": 1e-8}}
    >>> new = brought_up_to_date(old)
    >>> new["settings"], new["optimizer"]
    ({'tasks': 2, 'optimizer': 'adam', 'step_size': 0.1},
     {'name': 'adam', 'step_size': 0.1, 'eps': 1e-08, 'weight_decay': 0.0})
    """
    new = dict(content)
    if new.get("schema") == 1:
        new["schema"] = SCHEMA
        if isinstance(settings := new.get("settings"), Mapping):
            new["settings"] = {key: value for key, value in settings.items() if key not in FLAT}
        if isinstance(optimizer := new.get("optimizer"), Mapping):
            new["optimizer"] = {**optimizer, **UNSAID.get(str(optimizer.get("name")), {})}
    for section, names in (("settings", SETTINGS), ("optimizer", OPTIMIZER)):
        if isinstance(new.get(section), Mapping):
            new[section] = _renamed(new[section], names)
    if isinstance(methods := new.get("methods"), Mapping):
        new["methods"] = {
            method: _renamed(own, METHODS.get(method, {})) if isinstance(own, Mapping) else own
            for method, own in methods.items()
        }
    return new


def _renamed(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in settings.items()}
