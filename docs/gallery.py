"""The gallery: every figure of the evidence, with its line and the page that explains it."""

from __future__ import annotations

import re
from pathlib import Path

from neoteny.report.papers import figures

FIRST = ("demo", "figures", "leaderboard", "streaming", "dynamic")  # these pages, then the others by name


def page(evidence: Path) -> str:
    """The page, as Markdown, for a place beside the folder of the evidence."""
    blocks = ["# Gallery", "Every figure was drawn from runs by a command that its page names."]
    order = {name: place for place, name in enumerate(FIRST)}
    for path in sorted(evidence.glob("*.md"), key=lambda one: (order.get(one.stem, len(order)), one.stem)):
        found = re.findall(r"!\[(.*?)\]\((\S+)\)", text := path.read_text(encoding="utf-8"))
        if found:
            title = text.partition("\n")[0].removeprefix("# ")
            own = "\n".join(_figure(*one) for one in found)
            blocks += [f"## [{title}](../evidence/{path.name})", f"::::{{container}} gallery\n{own}\n::::"]
    return "\n\n".join(blocks) + "\n"


def _figure(line: str, place: str) -> str:
    """A figure of a paper also says its problem, as several have the same title."""
    known = figures().get(Path(place).stem)
    problem = f"{known.benchmark}: " if known else ""
    options = f":alt: {line}\n:target: ../_images/{Path(place).name}"
    return f":::{{figure}} ../evidence/{place}\n{options}\n\n{problem}{line}\n:::"
