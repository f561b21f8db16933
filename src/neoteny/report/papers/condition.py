"""An experimental condition: a system with some settings, which is one curve of a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neoteny.report.runs.settings import format_number

__all__ = ["Condition", "vary"]


@dataclass(frozen=True)
class Condition:
    """One curve of a figure.

    Attributes:
        label: its name on the figure.
        system: which system learned.
        settings: those that differ from the system's preset, and those that it shares with a grid; a setting of a
            method has its name before it, as in `cbp.replacement_rate`.
    """

    label: str
    system: str
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)


def vary(system: str, setting: str, values: Sequence[Any], label: str, **others: Any) -> tuple[Condition, ...]:
    """One condition for each value of a setting.

    Args:
        system: which system learned.
        setting: the one that varies.
        values: of it.
        label: with `{}` for the value.
        others: settings that all of them have.

    >>> [one.label for one in vary("backprop", "step_size", (0.01, 1e-5), "step size {}")]
    ['step size 0.01', 'step size 1e-05']
    """
    return tuple(Condition(label.format(format_number(value)), system, {setting: value, **others}) for value in values)
