"""What is attached to what, and what it has done so far: the text and the table that a handle shows itself as."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import TYPE_CHECKING

from neoteny.attachment.checkpoint import Saved
from neoteny.notebook import table
from neoteny.registry import METHODS

if TYPE_CHECKING:
    from neoteny.methods.base import Method

__all__ = ["as_table", "as_text"]

_LONGEST = 1900
"""Characters of the text."""


def as_text(handle: Saved) -> str:
    """A line on all of it, and for each method what it is, what it does and what it has done. Reads the device."""
    lines = [_headline(handle)]
    for name, settings, does, done in _rows(handle):
        lines += [f"  {name}: {settings}", f"    {does}", *([f"    {done}"] if done else [])]
    text = "\n".join(lines)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def as_table(handle: Saved) -> str:
    """The same as an HTML table."""
    return table(_headline(handle), ("method", "settings", "what it does", "so far"), _rows(handle))


def _headline(handle: Saved) -> str:
    kinds = Counter(handle._network.kinds)
    optimizers = " and ".join(kind if count == 1 else f"{count} {kind}" for kind, count in kinds.items())
    units = sum(layer.size for layer in handle.units.layers)
    tasks = f", {_counted(handle.tasks, 'change')} of task" if handle.tasks else ""
    return (
        f"Plasticity on {optimizers}: {_counted(units, 'unit')} in {_counted(len(handle.units.layers), 'layer')}, "
        f"{_counted(handle.updates, 'update')}{tasks} so far"
    )


def _rows(handle: Saved) -> list[tuple[str, str, str, str]]:
    """For each method its name, settings, what it does, and what it has done."""
    rows = []
    for name, method in handle.methods.items():
        done = [method.done(handle._state[name])]
        clock = handle._clocks[name]
        shares = None if clock is None else getattr(clock.schedule, "mature_share", None)
        if shares is not None:
            layers = handle.units.layers
            mature = sum(share * layer.size for share, layer in zip(shares, layers, strict=True))
            done.append(f"{mature / sum(layer.size for layer in layers):.0%} of the units are mature")
        rows.append((name, _settings(method), _does(method), ", ".join(filter(None, done))))
    return rows


def _settings(method: Method) -> str:
    """The class with the settings that are not the default, and the numbers that are usually tuned."""
    usual = {field.name: field.default for field in fields(method)}
    return method.shown({k: v for k, v in method.settings().items() if k in method.varies or v != usual[k]})


def _does(method: Method) -> str:
    entry = METHODS.get(method.name)
    if entry is not None and entry.load() is type(method):
        return entry.summary
    return (type(method).__doc__ or "").strip().partition("\n")[0]


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
