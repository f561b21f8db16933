"""Docstrings as Markdown: backticks, indented formulas, sections such as `Raises:`."""

from __future__ import annotations

import inspect
import re

SECTIONS = ("Args", "Arguments", "Attributes", "Returns", "Yields", "Raises")


def section(doc: str, name: str) -> dict[str, str]:
    """The items of a section of a docstring, by name.

    >>> section("Add.\\n\\nArgs:\\n    x: one,\\n        and more.\\n    y: two.", "Args")
    {'x': 'one, and more.', 'y': 'two.'}
    """
    for part in _parts(doc):
        first, *lines = part.split("\n")
        if first == f"{name}:":
            items = (item.partition(": ") for item in _items(lines))
            return {key: escaped(text) for key, _, text in items}
    return {}


def before(doc: str, *sections: str) -> str:
    """What a docstring says before the first of some sections or examples.

    >>> before("Add.\\n\\nSlowly.\\n\\nArgs:\\n    x: one.", "Args")
    'Add.\\n\\nSlowly.'
    """
    kept = []
    for part in _parts(doc):
        if part.split("\n")[0].rstrip(":") in sections or part.lstrip().startswith(">>>"):
            break
        kept.append(part)
    return "\n\n".join(kept)


def examples(doc: str) -> str:
    """The examples of a docstring."""
    return "\n\n".join(part for part in _parts(doc) if part.lstrip().startswith(">>>"))


def _parts(doc: str) -> list[str]:
    return [part for part in re.split(r"\n\s*\n", doc.strip("\n")) if part.strip()]


def markdown(doc: str) -> str:
    """A docstring as Markdown.

    >>> print(markdown("Add.\\n\\nArgs:\\n    x: one,\\n        and more."))
    Add.
    <BLANKLINE>
    **Args**
    <BLANKLINE>
    - `x`: one, and more.
    """
    return "\n\n".join(map(_paragraph, _parts(doc)))


def _paragraph(text: str) -> str:
    lines = text.split("\n")
    if lines[0].lstrip().startswith(">>>"):
        return "```pycon\n" + inspect.cleandoc(text) + "\n```"
    if all(line.startswith("    ") for line in lines):
        return "```text\n" + inspect.cleandoc("\n" + text) + "\n```"
    if lines[0].rstrip(":") in SECTIONS and lines[0].endswith(":"):
        return f"**{lines[0].rstrip(':')}**\n\n" + "\n".join(map(_item, _items(lines[1:])))
    return "\n".join(escaped(line) for line in lines)


def _items(lines: list[str]) -> list[str]:
    items: list[str] = []
    for line in lines:
        if line.startswith("        ") and items:
            items[-1] += " " + line.strip()
        else:
            items.append(line.strip())
    return items


def _item(item: str) -> str:
    name, colon, rest = item.partition(": ")
    return f"- `{name}`: {escaped(rest)}" if colon else f"- {escaped(item)}"


def escaped(line: str) -> str:
    """Angle brackets outside backticks are no HTML."""
    parts = line.split("`")
    return "`".join(part if place % 2 else part.replace("<", "&lt;") for place, part in enumerate(parts))
