"""Settings under dotted keys, what sets several of them apart, and how one is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["differing", "flatten", "format_number"]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings, under dotted keys.

    >>> dict(flatten({"cbp": {"decay_rate": 0.99}, "tasks": 3}))
    {'cbp.decay_rate': 0.99, 'tasks': 3}
    """
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differing(each: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys in which settings are not all equal, in their order.

    >>> differing([{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}])
    ['b', 'c']
    """
    keys = dict.fromkeys(key for settings in each for key in settings)
    missing = object()
    return [key for key in keys if any(other.get(key, missing) != each[0].get(key, missing) for other in each)]


def format_number(value: Any) -> str:
    """A setting as a person would write it; YAML reads "1e-5" as text, which becomes a number here.

    >>> format_number(1e-5), format_number("1e-4"), format_number(100), format_number("adaptable")
    ('1e-05', '0.0001', '100', 'adaptable')
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    return f"{value:.12g}" if isinstance(value, float) else str(value)
