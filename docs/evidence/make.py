"""Make the evidence: run what is missing, then write each page's table and figures from the run folders.

    python docs/evidence/make.py                          # everything (hours on 2 cores; what is there is kept)
    python docs/evidence/make.py slowly-changing-regression
    python docs/evidence/make.py --draw                   # only draw what has been run

`make evidence ARGS="..."` calls it. Every page says with which commands it was made; interrupted runs go on.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pieces import remarks

from neoteny import report
from neoteny.report import Group, final_table, learning_curves, measures

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Evidence:
    """One page.

    Args:
        name: of the page, and of the folder of its runs.
        title: the page's.
        commands: arguments of `neoteny`, without `--out`.
        window: examples in the table's first and last window.
        known: what the paper shows, for comparison: name of the system, value in the first and the last recorded bin.
        measured: which measures to draw.
    """

    name: str
    title: str
    commands: tuple[str, ...]
    window: int
    known: dict[str, tuple[str, str]] = field(default_factory=dict)
    measured: tuple[str, ...] = ()


REGRESSION = "run slowly-changing-regression --scale paper --runs 100"
MNIST = (
    "run online-permuted-mnist --scale small --tasks 50 --task-length 60000 --bin-size 60000 --measure-every 60000 "
    "--probe-size 2000 --runs 10"
)
CONDITIONING = "run trace-conditioning --scale paper --runs 30"

PAGES = (
    Evidence(
        name="demo",
        title="The demo: five systems on slowly-changing regression",
        commands=(
            "run slowly-changing-regression --scale paper --runs 30 --method linear,backprop,l2,shrink-and-perturb,cbp",
        ),
        window=100_000,
    ),
    Evidence(
        name="slowly-changing-regression",
        title="Slowly-changing regression, 100 runs of 1 M examples",
        commands=(
            f"{REGRESSION} --method backprop,linear,l2,shrink-and-perturb",
            f"{REGRESSION} --method cbp --grid cbp.replacement_rate=1e-6,1e-5,1e-4,1e-3,1e-2",
            *(
                f"{REGRESSION} --method backprop --activation {name}"
                for name in ("leaky_relu", "elu", "swish", "tanh", "sigmoid")
            ),
        ),
        window=20_000,
        known={
            "backprop activation=relu": ("~0.62", "~1.25"),
            "linear": ("", "~0.88"),
            "backprop activation=tanh": ("~0.40", "~0.9"),
        },
        measured=("dead_units", "srank_99", "weight_magnitude"),
    ),
    Evidence(
        name="online-permuted-mnist",
        title="Online permuted MNIST, 784-100x3-10, 10 runs of 50 tasks of 60,000 examples",
        commands=(
            f"{MNIST} --method backprop --grid step_size=0.01,0.003,0.001",
            f"{MNIST} --method cbp,l2",
            f"{MNIST} --method shrink-and-perturb --shrink-and-perturb.interval 100",
        ),
        window=60_000,
        known={"backprop step_size=0.003": ("~93.3 %", "under 88 % by task 150")},
        measured=("dead_units", "srank_99", "weight_magnitude"),
    ),
    Evidence(
        name="trace-conditioning",
        title="Trace conditioning, 30 runs of 2 M steps: one step size, or one for each feature",
        commands=(
            f"{CONDITIONING} --method backprop,true-online-td --grid step_size=3e-4,1e-3,3e-3,1e-2",
            f"{CONDITIONING} --method tidbd --grid optimizer.theta=1,3,10",
            f"{CONDITIONING} --method swift-td",
            f"{CONDITIONING} --method network",
        ),
        window=100_000,
    ),
)


def run(page: Evidence, runs: Path) -> None:
    """Run the page's commands; finished runs are kept, interrupted ones go on."""
    for command in page.commands:
        words = [sys.executable, "-m", "neoteny", *shlex.split(command), "--out", str(runs / page.name), "--resume"]
        print("$", shlex.join(["neoteny", *words[3:]]), flush=True)
        subprocess.run(words, check=True)


def draw(page: Evidence, runs: Path) -> None:
    """Write the page's Markdown, CSV and figures beside this file."""
    (group,) = report.load(runs / page.name)
    curves = HERE / f"{page.name}.png"
    learning_curves(group).savefig(curves, dpi=150)
    table = final_table(group, window=page.window)
    table.write(HERE / f"{page.name}.csv")
    parts = [f"# {page.title}", f"![Learning curves]({curves.name})", table.markdown()]
    if page.known:
        parts.append(comparison(page, group))
    if said := remarks(page.name):
        parts.append(said)
    if page.measured:
        path = HERE / f"{page.name}-measures.png"
        measures(group, [name for name in page.measured if name in group.measures]).savefig(path, dpi=150)
        parts.append(f"![Measures over time]({path.name})")
    lines = "\n".join(f"neoteny {command} --out runs/evidence/{page.name}" for command in page.commands)
    parts.append(f"Made by `make evidence ARGS={page.name}`, that is\n\n```sh\n{lines}\n```")
    parts.append("Versions: " + "; ".join(sorted({made_with(source.provenance) for source in group.sources})) + ".")
    (HERE / f"{page.name}.md").write_text("\n\n".join(parts) + "\n")
    print(HERE / f"{page.name}.md")


def made_with(provenance: Mapping[str, Any]) -> str:
    """Packages and processor of a run."""
    packages = ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
    return f"{packages} on {provenance.get('cpu', 'an unknown processor')}"


def comparison(page: Evidence, group: Group) -> str:
    """Known figures beside ours."""
    table = final_table(group, window=page.window)
    ours = {row.system: row for row in table.rows}
    lines = ["| system | known, first | ours, first | known, last | ours, last |", "|---|---:|---:|---:|---:|"]
    for label, (first, last) in page.known.items():
        if label not in ours:
            raise SystemExit(f"{page.name} has no series {label!r}; it has {', '.join(ours)}.")
        row = ours[label]
        begin, end = (" ".join(cell.parts(share=table.share)) for cell in (row.first, row.last))
        lines.append(f"| {label} | {first} | {begin} | {last} | {end} |")
    return "Known figures are read off the paper's plots.\n\n" + "\n".join(lines)


def main() -> None:
    """Run and draw the pages asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", choices=[[], *(page.name for page in PAGES)], help="all by default")
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"), help="where the run folders lie")
    parser.add_argument("--draw", action="store_true", help="run nothing")
    options = parser.parse_args()
    for page in PAGES:
        if not options.pages or page.name in options.pages:
            if not options.draw:
                run(page, options.runs)
            draw(page, options.runs)


if __name__ == "__main__":
    main()
