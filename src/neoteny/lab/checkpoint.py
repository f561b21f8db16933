"""Checkpoints: written whole or not at all, complete, and tied to the configuration they belong to.

A checkpoint is a dict of plain values, NumPy arrays and tensors. Reading one runs no pickled code, so a checkpoint from
elsewhere is safe to load; every byte is checked.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neoteny.errors import CheckpointError
from neoteny.lab.recorder import atomically

__all__ = ["FORMAT", "load", "save"]

FORMAT = 1
"""Version of the layout; it is increased when an older program could not read it."""

_ARRAY = "__numpy__"


def save(path: Path, state: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Write a checkpoint; the old one stays until the new one is complete.

    Args:
        path: where.
        state: everything needed to go on, in dicts, lists and tuples of numbers, strings, None, arrays and tensors.
        identity: the configuration it belongs to.
    """
    import torch

    content = {"format": FORMAT, "identity": _encode(identity), "state": _encode(state)}
    atomically(path, lambda temporary: torch.save(content, temporary))


def load(
    path: Path,
    identity: Mapping[str, Any],
    device: Any = "cpu",
    as_now: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> dict[str, Any]:
    """Read a checkpoint of the given configuration.

    Args:
        path: where it is.
        identity: the configuration it should belong to.
        device: where its tensors go.
        as_now: converts the configuration in the file, which an earlier version may have written, to this version.

    Raises:
        CheckpointError: there is none, it is damaged, of another version, or belongs to another configuration; the
            message says which settings differ.
    """
    import torch

    cure = "delete it to start this run again from the beginning, or restore an intact copy"
    if not path.exists():
        raise CheckpointError(f"{path} does not exist: there is nothing to resume.")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not check the sums of the zip
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path} is damaged (checksum of {damaged}): {cure}.")
        content = torch.load(path, map_location=device, weights_only=True)
        found, saved, state = content["format"], _decode(content["identity"]), _decode(content["state"])
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file raises a dozen kinds of errors
        raise CheckpointError(f"{path} is no complete checkpoint ({type(error).__name__}: {error}): {cure}.") from error
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has format {found!r}, this version reads {FORMAT}: resume with the version that wrote it."
        )
    different = differences(as_now(saved), _decode(_encode(identity)))
    if different:
        listed = "; ".join(f"{name} is {theirs!r} there and {ours!r} here" for name, theirs, ours in different[:4])
        more = f"; and {len(different) - 4} more" if len(different) > 4 else ""
        raise CheckpointError(
            f"{path} belongs to another configuration: {listed}{more}. "
            "Resume with the configuration it was saved under, or run this one into another folder."
        )
    return state


def differences(theirs: Any, ours: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """The leaves in which two nested configurations differ: name, theirs, ours.

    >>> differences({"seed": 1, "l2": {"strength": 0.1}}, {"seed": 1, "l2": {"strength": 0.2}})
    [('l2.strength', 0.1, 0.2)]
    """
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        found = []
        for key in sorted({*theirs, *ours}, key=str):
            inner = f"{name}.{key}" if name else str(key)
            found += differences(theirs.get(key), ours.get(key), inner)
        return found
    if isinstance(theirs, (list, tuple)) and isinstance(ours, (list, tuple)):
        return [] if list(theirs) == list(ours) else [(name, theirs, ours)]
    same = theirs == ours or (theirs != theirs and ours != ours)
    return [] if same else [(name, theirs, ours)]


def _encode(value: Any) -> Any:
    """Arrays as marked tensors: the safe unpickler does not know NumPy."""
    import torch

    if isinstance(value, np.ndarray):
        return {_ARRAY: torch.from_numpy(np.array(value))}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor):
        return value.detach().clone() if value._is_view() else value.detach()  # a view would save all of its base
    if isinstance(value, Mapping):
        return {key: _encode(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_encode(inner) for inner in value)
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return value[_ARRAY].cpu().numpy()
        return {key: _decode(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_decode(inner) for inner in value)
    return value
