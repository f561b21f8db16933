"""The page's folded parts: what was run, with which settings and seeds, and where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import Group
from neoteny.report.runs.series import settings_of
from neoteny.report.runs.settings import differing, format_number

__all__ = ["many", "name_of", "provenance", "settings", "what_was_run"]


def what_was_run(group: Group) -> str:
    """How many systems, runs and steps."""
    counts = sorted({one.runs for one in group.series})
    runs = many(counts[0], "run") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} runs"
    end = max((int(one.frame["step"].to_numpy().max(initial=0)) for one in group.series), default=0)
    scale = f"{group.scale} scale, " if group.scale else ""
    return f"{scale}{many(len(group.series), 'system')}, {runs} each, {end:,} {group.unit} a run."


def settings(group: Group) -> str:
    """Settings that all systems share, then those in which they differ."""
    each = [settings_of(one) for one in group.series]
    apart = differing(each)
    body = _facts((key, _plain(value)) for key, value in each[0].items() if key not in apart)
    own = []
    for one, its in zip(group.series, each, strict=True):
        text = ", ".join(f"{key} = {_plain(its[key])}" for key in apart if key in its)
        own += [(one.label, text)] * bool(text)
    if own:
        body += f'<p class="small">Where the systems differ:</p>{_facts(own)}'
    seeds: dict[str, list[str]] = {}
    for one in group.series:
        seeds.setdefault(_ranges(one.seeds), []).append(one.label)
    who = ((", ".join(labels) if len(seeds) > 1 else "all systems", numbers) for numbers, labels in seeds.items())
    body += f'<p class="small">Seeds:</p>{_facts(who)}'
    return f"<details><summary>Settings</summary>{body}</details>"


def provenance(group: Group, directory: Path) -> str:
    """What all folders share, then what is each one's own."""
    each = [source.provenance for source in group.sources]
    apart = differing(each)
    body = _facts((key, _plain(value, key)) for key, value in each[0].items() if key not in apart)
    for source in group.sources:
        rows = [(key, _plain(source.provenance[key], key)) for key in apart if key in source.provenance]
        rows = rows or [("", "as above" if source.provenance else "not recorded")]
        body += f'<p class="small"><code>{escape(name_of(source, directory))}</code></p>{_facts(rows)}'
    return f"<details><summary>Where it was run</summary>{body}</details>"


def name_of(source: RunFrame, directory: Path) -> str:
    """The folder as seen from the report; the system where it is the report's own."""
    inside = source.path is not None and source.path != directory and source.path.is_relative_to(directory)
    return str(source.path.relative_to(directory)) if source.path and inside else source.system


def _plain(value: Any, key: str = "") -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if key == "seconds" and isinstance(value, int | float):
        return f"{value:.1f}" if value < 120 else f"{value:.0f} ({value / 60:.0f} minutes)"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return "none" if value is None else format_number(value)


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>' for key, value in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>'


def _ranges(numbers: Iterable[int]) -> str:
    """Numbers as text, with consecutive ones as a range.

    >>> _ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def many(count: int, noun: str) -> str:
    """A number with its noun, which has an s in the plural.

    >>> many(1, "run"), many(30, "run")
    ('1 run', '30 runs')
    """
    return f"{count} {noun}{'s' * (count != 1)}"
