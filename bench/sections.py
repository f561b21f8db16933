"""What benches share: clocks, rows of what was measured, and the command line of a bench that has sections."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

Sections = Mapping[str, tuple[str, Callable[[int], list[str]]]]
"""A title and a function of the number of rounds that gives lines, by name."""


class Row(NamedTuple):
    """What was measured, and what was asked of it."""

    what: str
    value: float | str
    asked: str = ""


Stacked = Callable[[str, bool], Iterator[Row]]
"""What is measured on an accelerator, row by row: of the device, and whether everything is tiny, as in a test."""


def clock(device: str = "cpu") -> float:
    """Seconds of the core; elsewhere of the clock, once the device has done all that it was given."""
    if torch.device(device).type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


def fastest(work: Callable[[], object], device: str = "cpu", rounds: int = 3) -> float:
    """Seconds of the best of several turns."""
    times = []
    for _ in range(rounds):
        begun = clock(device)
        work()
        times.append(clock(device) - begun)
    return min(times)


def speed(what: str, unit: str, count: float, work: Callable[[], object], device: str) -> Generator[Row, None, float]:
    """How soon it is ready, and how many of a unit it then does in a second; `work` does `count` of them."""
    begun = clock(device)
    for _ in range(2):  # the first call compiles, and the second what the first did not need
        work()
    yield Row(f"{what}: seconds until it is compiled", clock(device) - begun)
    rate = count / fastest(work, device)
    yield Row(f"{what}: {unit} a second", rate)
    return rate


def table(rows: Iterable[Row]) -> list[str]:
    """Rows as a table."""
    cells = (f"| {row.what} | {said(row.value)} | {row.asked} |" for row in rows)
    return ["| | measured | asked |", "|---|---:|---:|", *cells]


def said(value: float | str) -> str:
    """Three digits, and all that stand before the point."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def asked_and_measured(ratios: Mapping[str, tuple[float, str]]) -> list[str]:
    """The table of ratios, each with what is asked of it."""
    rows = (f"| {name} | {value:.2f} | {asked} |" for name, (value, asked) in ratios.items())
    return ["", "| ratio | measured | asked |", "|---|---:|---:|", *rows]


def measure(doc: str | None, title: str, sections: Sections, stacked: Stacked) -> None:
    """Measure and print; with `--out`, also write the tables as Markdown.

    Args:
        doc: what the bench is.
        title: of the page.
        sections: measured on the CPU.
        stacked: measured where `--device` names an accelerator.
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
        text += table(stacked(options.device, False))
    else:
        for name in options.sections.split(","):
            heading, section = sections[name]
            text += [f"## {heading}", "", *section(options.rounds), ""]
    print("\n".join(text))
    if options.out:
        options.out.write_text("\n".join(text), encoding="utf-8")
