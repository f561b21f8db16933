"""The experiments of the Nature paper at the small scale: run them, keep slim copies, draw, judge.

    python docs/evidence/nature.py                        # everything (a day on 2 cores; what is there is kept)
    python docs/evidence/nature.py continual-imagenet     # one benchmark
    python docs/evidence/nature.py --draw                 # only draw and judge what the slim copies hold

`make nature ARGS="..."` calls it. Full run folders go to runs/nature, slim copies to docs/evidence/runs, figures to
docs/evidence/figures, and the verdicts to docs/evidence/claims.md. Interrupted runs go on.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from neoteny import report
from neoteny.report.figures.paper import draw
from neoteny.report.papers import find

HERE = Path(__file__).parent
SLIM = HERE / "runs"

AGENTS = ("backprop", "cbp", "l2", "tuned-adam")
COMMANDS = {
    "slowly-changing-regression": [
        "--scale paper --runs 135 --method backprop --grid step_size=0.01,0.003,0.001 --fresh-tasks 50",
        *(
            f"--scale paper --runs 30 {rest}"
            for rest in (
                "--method linear --fresh-tasks 50",
                "--method l2 --grid l2.strength=1e-4,1e-3,1e-2,1e-1 --fresh-tasks 50",
                "--method shrink-and-perturb --grid shrink-and-perturb.sigma=1e-4,1e-3,1e-2,1e-1 --fresh-tasks 50",
                "--method cbp --grid cbp.replacement_rate=1e-6,1e-5,1e-4,1e-3,1e-2 --fresh-tasks 50",
                *(
                    f"--method backprop --activation {name} --fresh-tasks 50"
                    for name in ("leaky_relu", "elu", "swish", "tanh", "sigmoid")
                ),
                *(
                    f"--method backprop --optimizer adam --activation {name}"
                    for name in ("relu", "leaky_relu", "elu", "swish", "tanh", "sigmoid")
                ),
                "--method linear --optimizer adam",
            )
        ),
    ],
    "online-permuted-mnist": [
        "--scale small --runs 59 --method cbp --grid cbp.replacement_rate=1e-4,1e-5,1e-6",
        *(
            f"--scale small --runs 5 {rest}"
            for rest in (
                "--method backprop --grid step_size=0.01,0.003,0.001",
                "--method l2 --grid l2.strength=1e-3,1e-4,1e-5",
                "--method shrink-and-perturb --shrink-and-perturb.interval 100 "
                "--grid shrink-and-perturb.sigma=1e-4,1e-5,1e-6",
                "--method adam",
                "--method adam --step-size 1e-3",
                "--method adam --step-size 1e-4",
                "--method backprop --width 30",
                "--method backprop --width 300",
                "--method backprop --task-length 2500 --bin-size 2500 --measure-every 2500 --tasks 400",
                "--method backprop --task-length 50000 --tasks 20",
                "--method backprop --dropout 0.1",
                "--method backprop --normalisation layer",
            )
        ),
    ],
    "continual-imagenet": [
        "--scale small --runs 56 --method adam",
        "--scale small --runs 23 --method backprop --normalisation batch",
        "--scale small --runs 21 --method cbp",
        "--scale small --runs 32 --method l2",
        *(
            f"--scale small --runs 5 {rest}"
            for rest in (
                "--method backprop --grid step_size=0.02,0.005",
                "--method backprop --step-size 0.001",
                "--method shrink-and-perturb",
                "--method linear",
                "--method backprop --dropout 0.1",
                "--method backprop --normalisation layer",
                *(f"--method backprop --activation {name}" for name in ("leaky_relu", "elu", "tanh", "sigmoid")),
            )
        ),
    ],
    "incremental-cifar100": [
        *(f"--scale small --runs 10 --method {name}" for name in ("backprop", "cbp")),
        *(
            f"--scale small --runs 5 --method {name}"
            for name in ("retrained", "head-reset", "shrink-and-perturb", "no-l2")
        ),
    ],
    "slippery-ant": [f"--scale small --runs 5 --method {name}" for name in AGENTS],
    "ant": [
        *(f"--scale small --runs 8 --method {name}" for name in ("backprop", "cbp")),
        *(f"--scale small --runs 5 --method {name}" for name in ("l2", "tuned-adam")),
    ],
    "slippery-half-cheetah": [
        *(f"--scale small --runs 8 --method {name}" for name in ("backprop", "tuned-adam")),
        *(f"--scale small --runs 5 --method {name}" for name in ("l2", "cbp")),
    ],
}


def neoteny(*words: str) -> None:
    """Run the command and show it."""
    print("$", shlex.join(["neoteny", *words]), flush=True)
    subprocess.run([sys.executable, "-m", "neoteny", *words], check=True)


def run(benchmark: str, runs: Path) -> None:
    """Run a benchmark's commands and keep slim copies of what they leave."""
    for command in COMMANDS[benchmark]:
        neoteny("run", benchmark, *shlex.split(command), "--out", str(runs), "--resume")
    neoteny("archive", *map(str, sorted(runs.glob(f"{benchmark}-v*/*"))), "--to", str(SLIM))


def figures() -> None:
    """Draw every figure that there are runs for."""
    runs = report.load(SLIM)
    parts = [
        "# The paper's figures",
        "Drawn by `make nature` from the slim runs in `docs/evidence/runs`; `neoteny figure NAME docs/evidence/runs` "
        "draws one of them anew. [Claims and verdicts](claims.md) has what follows from them, and what made the runs.",
    ]
    (HERE / "figures").mkdir(exist_ok=True)
    (paper,) = find("nature")
    for figure in paper.figures:
        for scale in runs.scales(figure.benchmark):
            found = figure.select(runs.newest(figure.benchmark, scale), scale).found
            if len(found) < 2:  # one curve alone compares nothing
                print(f"{figure.name}: {len(found)} of its curves were run at {scale} scale")
                continue
            draw(figure, runs, scale).savefig(HERE / "figures" / f"{figure.name}.png", dpi=150)
            picture = f"![{figure.title}](figures/{figure.name}.png)"
            parts.append(f"## {figure.title}\n\n`neoteny figure {figure.name}` · {figure.source}\n\n{picture}")
    (HERE / "figures.md").write_text("\n\n".join(parts) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmarks", nargs="*", help=", ".join(COMMANDS))
    parser.add_argument("--runs", type=Path, default=Path("runs/nature"), help="where the full run folders go")
    parser.add_argument("--draw", action="store_true", help="only draw and judge")
    options = parser.parse_args()
    unknown = set(options.benchmarks) - set(COMMANDS)
    if unknown:
        parser.error(f"{', '.join(unknown)}: there is {', '.join(COMMANDS)}.")
    if not options.draw:
        for benchmark in options.benchmarks or COMMANDS:
            run(benchmark, options.runs)
    figures()
    neoteny("claims", str(SLIM), "--out", str(HERE / "claims.md"))


if __name__ == "__main__":
    main()
