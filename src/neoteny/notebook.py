"""Tables for notebooks, for `_repr_html_` of methods, handles and records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["table"]


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table; everything in it is escaped.

    >>> table("L2", ["setting", "value"], [["strength", 0.001]])
    '<table><caption>L2</caption><tr><th>setting</th><th>value</th></tr><tr><td>strength</td><td>0.001</td></tr></table>'
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    lines = "".join(f"<tr>{line}</tr>" for line in (head, *body))
    return f"<table><caption>{escape(caption)}</caption>{lines}</table>"
