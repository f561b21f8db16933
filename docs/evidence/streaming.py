"""Streaming learning: the runs that its claims are judged by, and one page of tables, figures and verdicts.

    python docs/evidence/streaming.py           # about half an hour on one core; what is there is kept
    python docs/evidence/streaming.py --draw    # only the page, of what is there

Runs go to `.cache/streaming`, slim copies to `docs/evidence/runs/streaming`, where those of `streaming_control.py` are.
The tables of other pages (`tracking.py`, `make.py trace-conditioning`, `flights.py`, `streaming_control.py`,
`bench/streaming.py`) are taken over as they stand.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from neoteny import report
from neoteny.report.claims.page import Judgement
from neoteny.report.figures.paper import draw
from neoteny.report.papers import find
from neoteny.report.papers.judging import judge

HERE = Path(__file__).parent
RUNS = Path(".cache/streaming")
SLIM = HERE / "runs" / "streaming"
FIXED = "--grid step_size=3e-4,1e-3,3e-3,1e-2"
COMMANDS = (
    "idbd-tracking --scale paper --runs 30 --method backprop,nlms,autostep,idbd",
    "idbd-tracking --scale paper --runs 30 --tasks 250 --method slow",
    "gain-adaptation --scale paper --runs 30 --method k1,idbd,nlms,backprop",
    f"trace-conditioning --scale small --runs 30 --method backprop {FIXED}",
    "trace-conditioning --scale small --runs 30 --method tidbd,swift-td",
    "trace-conditioning --scale small --runs 10 --method recurrent,memoryless,network",
)


def neoteny(*words: str) -> None:
    """Run the command and show it."""
    print("$", shlex.join(["neoteny", *words]), flush=True)
    subprocess.run([sys.executable, "-m", "neoteny", *words], check=True)


def run() -> None:
    """Run what is missing and keep slim copies."""
    for command in COMMANDS:
        neoteny("run", *shlex.split(command), "--out", str(RUNS), "--resume")
        neoteny("archive", *map(str, sorted(RUNS.glob(f"{command.split()[0]}-v*/*"))), "--to", str(SLIM))


def tables(page: str) -> str:
    """The tables of a page, each under its own heading; a word where the page is not there yet."""
    path = HERE / page
    if not path.exists():
        return "Not run yet."
    parts = re.findall(r"^(?:#+ .*\n\n)?(?:\|.*\n)+", path.read_text(encoding="utf-8"), re.MULTILINE)
    return "\n".join(re.sub(r"^#+", "###", part) for part in parts).strip()


def growth() -> str:
    """How the cost of a step grows with the number of weights, from the table of `streaming_speed.md`."""
    text = (HERE / "streaming_speed.md").read_text(encoding="utf-8").partition("against the number of weights")[2]
    rows = re.findall(r"^\|\s*[\d,]+\s*\|\s*([\d,]+)\s*\|\s*[\d,]+\s*\|\s*([\d.,]+)", text, re.MULTILINE)
    weights, cost = np.log([[float(each.replace(",", "")) for each in row] for row in rows]).T
    power = np.polyfit(weights, cost, 1)[0]
    low, high = (f"{float(np.exp(value)):,.0f}" for value in (weights.min(), weights.max()))
    verdict = "holds" if power < 1.1 else "does not hold"
    return (
        f"**O(#weights), no replay: {verdict}.** Autostep's step costs (number of weights)^{power:.2f} between {low} "
        f"and {high} weights ([what streaming costs](streaming_speed.md)). A run keeps its weights, the rule's numbers "
        "for each of them, and no example."
    )


def figures() -> str:
    """Every figure that there are runs for."""
    runs, parts = report.load(SLIM), []
    (paper,) = find("streaming")
    for figure in paper.figures:
        for scale in runs.scales(figure.benchmark):
            if figure.select(runs.newest(figure.benchmark, scale), scale).found:
                path = HERE / "figures" / f"{figure.name}.png"
                draw(figure, runs, scale).savefig(path, dpi=120)
                parts.append(f"![{figure.title}](figures/{path.name})")
    return "\n\n".join(parts)


def verdicts() -> str:
    """The claims of streaming learning, each with its verdict."""
    lines = ["| claim | test | effect and 95% interval | n | verdict |", "|---|---|---|---|---|"]
    judged: list[Judgement] = judge(report.load(SLIM), find("streaming"))
    for one in judged:
        found = one.outcome
        lines.append(f"| {one.claim} | {one.criterion} | {found.effect} | {found.n} | **{found.verdict}** |")
    return "\n".join(lines)


def page() -> None:
    """Write the page."""
    control = HERE / "streaming_control.png"
    text = PAGE.format(
        commands="\n".join(f"neoteny run {command} --out runs/streaming" for command in COMMANDS),
        verdicts=verdicts(),
        growth=growth(),
        tracking=tables("tracking.md"),
        conditioning=tables("trace-conditioning.md"),
        flights=tables("flights.md"),
        control=tables("streaming_control.md") + ("\n\n![Returns](streaming_control.png)" if control.exists() else ""),
        figures=figures(),
    )
    (HERE / "streaming.md").write_text(text, encoding="utf-8")


PAGE = """# Streaming learning: what it shows

Every example is seen once, without replay, batches or target networks. `python docs/evidence/streaming.py` makes this
page; what it judges by are the runs in `docs/evidence/runs/streaming`. Those that it makes itself are

```sh
{commands}
```

## Verdicts

{growth}

{verdicts}

## Tracking and gain adaptation

From [step sizes that are learned](tracking.md), where the figure of the step sizes over time is.

{tracking}

## Trace conditioning

From [trace conditioning](trace-conditioning.md), at full length.

{conditioning}

## Flights

From [a million flights](flights.md).

{flights}

## Control

{control}

## Figures

{figures}
"""


def main() -> None:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="run nothing")
    if not parser.parse_args().draw:
        run()
    page()


if __name__ == "__main__":
    main()
