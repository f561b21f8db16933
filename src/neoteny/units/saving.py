"""Keep the unit layers of a network in a file, so that a large one need not be searched again.

The file is JSON. It carries a fingerprint of the network's structure: kinds and names of modules, names and shapes of
parameters and buffers. On a network of another structure it is refused.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoteny.checks import expanded
from neoteny.errors import NetworkError, SettingError
from neoteny.units.initialise import Initialiser
from neoteny.units.records import Network, Reader, UnitLayer
from neoteny.units.slices import Slices

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load", "save"]

_FORMAT = 1
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Network, UnitLayer, Reader, Slices, Initialiser)}


def save(network: Network, model: nn.Module, path: str | Path) -> None:
    """Write the units of a model, as `neoteny.units.find` returned them, to a file.

    Raises:
        SettingError: a parameter is drawn by a function that is none of torch's.

    >>> import tempfile, torch
    >>> from neoteny.units import find
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(find(model, torch.zeros(2, 3)), model, f"{folder}/units.json")
    ...     load(f"{folder}/units.json", model)
    Network(4 hidden units in 1 layers: 0 (4))
    """
    told = {"format": _FORMAT, "fingerprint": _fingerprint(model), "network": _plain(network)}
    expanded(path).write_text(json.dumps(told), encoding="utf-8")


def load(path: str | Path, model: nn.Module) -> Network:
    """Read the units of a model from a file of `save`; give them to `neoteny.attach` as `units`.

    Raises:
        NetworkError: the file is of another network, or none of `save`.
    """
    try:
        told = json.loads(expanded(path).read_text(encoding="utf-8"))
        written, fingerprint = told["format"], told["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NetworkError(
            f"{path} is no file of units ({type(error).__name__}: {error}); write one with neoteny.units.save."
        ) from error
    if written != _FORMAT:
        raise NetworkError(f"{path} has format {written!r}, not {_FORMAT}; find the units anew and save them.")
    if fingerprint != _fingerprint(model):
        raise NetworkError(
            f"{path} belongs to a network of another structure than this {type(model).__name__}: modules, parameters "
            "or buffers differ; find its units anew with neoteny.units.find."
        )
    try:
        return _made(told["network"])
    except (KeyError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise NetworkError(f"{path} is damaged ({error}); find the units anew and save them.") from error


def _fingerprint(model: nn.Module) -> str:
    modules = [(name, type(module).__qualname__) for name, module in model.named_modules()]
    tensors = [(n, list(t.shape)) for n, t in [*model.named_parameters(), *model.named_buffers()]]
    return hashlib.sha256(json.dumps([modules, tensors]).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A record in what JSON knows; records say their kind."""
    import torch

    if isinstance(value, Slices) and value.contiguous:
        own = {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.init and f.name != "index"}
        return {"record": "Slices", **own, "blocks": [value.size, value.block]}
    if is_dataclass(value):
        own = {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.init}
        return {"record": type(value).__name__, **own}
    if isinstance(value, Mapping):
        return {"record": "dict", "entries": {name: _plain(entry) for name, entry in value.items()}}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    if isinstance(value, torch.Tensor):
        return {"record": "mask", "shape": list(value.shape), "true": value.flatten().nonzero().flatten().tolist()}
    if callable(value):
        place = f"{value.__module__}:{getattr(value, '__qualname__', '')}"
        if _found(place) is not value:
            raise SettingError(
                f"{value!r}, by which a parameter is drawn, is no function of torch's, so it cannot be saved; give it "
                "to attach instead, as initialisers=..."
            )
        return {"record": "function", "place": place}
    return value


def _made(value: Any) -> Any:
    import torch

    if isinstance(value, list):
        return tuple(_made(entry) for entry in value)
    if not isinstance(value, dict):
        return value
    entries = {name: _made(entry) for name, entry in value.items() if name not in ("record", "entries")}
    match value["record"]:
        case "dict":
            return {name: _made(entry) for name, entry in value["entries"].items()}
        case "mask":
            mask = torch.zeros(entries["shape"], dtype=torch.bool)
            mask.view(-1)[list(entries["true"])] = True
            return mask
        case "function":
            return _found(entries["place"])
        case "Slices" if "blocks" in entries:
            units, block = entries.pop("blocks")
            entries["index"] = tuple(tuple(range(i * block, (i + 1) * block)) for i in range(units))
    return _KINDS[value["record"]](**entries)


def _found(place: str) -> Any:
    """A function of torch's by its module and name; none of other packages, which a file must not make us import."""
    module, _, name = place.partition(":")
    if not module.startswith("torch.") or not name.isidentifier():
        return None
    return getattr(importlib.import_module(module), name, None)
