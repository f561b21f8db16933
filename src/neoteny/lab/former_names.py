"""Names and places of settings in run folders of earlier versions, and the present ones.

Files on disk keep the names that they were written with. Code that reads them applies these tables, so that old folders
can be loaded, resumed, reported on, and put together with later runs of the same. To rename something, or to give
benchmarks and methods that have runs in the evidence another setting, add a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["METRICS", "PPO", "SCHEMA", "brought_up_to_date"]

SCHEMA = 2
"""Version of the layout of `config.yaml`."""

METRICS = {"clip_share": "clip_fraction", "kl": "approx_kl"}
"""Metrics: the old name and the new one."""
PPO = {
    "discount": "gamma",
    "trace_decay": "gae_lambda",
    "clip": "clip_coef",
    "value_weight": "vf_coef",
    "entropy_weight": "ent_coef",
    "gradient_norm": "max_grad_norm",
}
"""Settings of `neoteny.rl.PPOSettings`."""
OPTIMIZER = {"epsilon": "eps"}
"""Settings of optimizers."""
METHODS: Mapping[str, Mapping[str, str]] = {}
"""Settings of methods, by method."""
LATER: Mapping[str, Mapping[str, Any]] = {
    "online-permuted-mnist-v1": {"side": 28},
    "offline-to-online-v1": {"reward_clip": float("inf")},
    "replay-ratio-v1": {"reward_clip": float("inf")},
    "stream-mujoco-v1": {"returns": "episode"},
    "cbp": {"authors_code": False},
    "shrink-and-perturb": {"perturb": None, "statistics": False},
    "head-reset": {"also": []},
}
"""Settings that benchmarks and methods got later, with the values that do what was done before."""

FLAT = ("momentum", "betas", "epsilon")
"""Settings of the optimizer that schema 1 also wrote among the benchmark's settings."""
UNSAID: Mapping[str, Mapping[str, Any]] = {
    "adam": {"weight_decay": 0.0},
    "adamw": {"weight_decay": 0.0},
    "muon": {"iterations": 5, "rest": 0.015},
}
"""Settings of optimizers that schema 1 did not write, with the values they had; its adamw did not decay."""


def brought_up_to_date(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `config.yaml` of any version, with the names of this version.

    A value that should be a mapping but is not stays as it is; the code that uses the content reports it.

    >>> old = {"schema": 1, "settings": {"tasks": 2, "optimizer": "adam", "step_size": 0.1, "epsilon": 1e-8},
    ...        "optimizer": {"name": "adam", "step_size": 0.1, "epsilon": 1e-8}}
    >>> new = brought_up_to_date(old)
    >>> new["settings"], new["optimizer"]
    ({'tasks': 2, 'optimizer': 'adam', 'step_size': 0.1},
     {'name': 'adam', 'step_size': 0.1, 'eps': 1e-08, 'weight_decay': 0.0})
    >>> brought_up_to_date({"settings": {"tasks": 10, "clip": "of another benchmark"}})["settings"]
    {'tasks': 10, 'clip': 'of another benchmark'}
    """
    new = dict(content)
    settings, optimizer, methods = (new.get(name) for name in ("settings", "optimizer", "methods"))
    old = new.get("schema") == 1
    if old:
        new["schema"] = SCHEMA
    if isinstance(settings, Mapping):
        if old:
            settings = {key: value for key, value in settings.items() if key not in FLAT}
        # rename only if all are there: another benchmark may have a setting of the same name
        renamed = _renamed(settings, PPO if PPO.keys() <= settings.keys() else {})
        new["settings"] = {**renamed, **_missing(renamed, str(new.get("benchmark")))}
    if isinstance(optimizer, Mapping):
        unsaid = UNSAID.get(str(optimizer.get("name")), {}) if old else {}
        new["optimizer"] = _renamed({**optimizer, **unsaid}, OPTIMIZER)
    if isinstance(methods, Mapping):
        new["methods"] = {
            method: {**_renamed(own, METHODS.get(method, {})), **_missing(own, method)}
            if isinstance(own, Mapping)
            else own
            for method, own in methods.items()
        }
    return new


def _missing(settings: Mapping[str, Any], of: str) -> dict[str, Any]:
    return {key: value for key, value in LATER.get(of, {}).items() if key not in settings}


def _renamed(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in settings.items()}
