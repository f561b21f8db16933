"""The command line of a bench that has sections: agents beside an ordinary loop, or stacked on an accelerator."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Sections = Mapping[str, tuple[str, Callable[[int], list[str]]]]
"""A title and a function of the number of rounds that gives lines, by name."""


def asked_and_measured(ratios: Mapping[str, tuple[float, str]]) -> list[str]:
    """The table of ratios, each with what is asked of it."""
    rows = (f"| {name} | {value:.2f} | {asked} |" for name, (value, asked) in ratios.items())
    return ["", "| ratio | measured | asked |", "|---|---:|---:|", *rows]


def measure(doc: str | None, title: str, sections: Sections, stacked: Callable[[int, str], list[str]]) -> None:
    """Measure and print; with `--out`, also write the tables as Markdown.

    Args:
        doc: what the bench is.
        title: of the page.
        sections: measured on the CPU.
        stacked: measured where `--device` names an accelerator, of rounds and device.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sections", default=",".join(sections))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="where to write the tables")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = [f"# {title}", ""]
    if options.device != "cpu":
        text += stacked(options.rounds, options.device)
    else:
        for name in options.sections.split(","):
            heading, section = sections[name]
            text += [f"## {heading}", "", *section(options.rounds), ""]
    print("\n".join(text))
    if options.out:
        options.out.write_text("\n".join(text), encoding="utf-8")
