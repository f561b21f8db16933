"""`neoteny demo`: plasticity lost, and kept, in a few minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neoteny.cli.reading import read_options

__all__ = ["BENCHMARK", "SYSTEMS", "main"]

BENCHMARK = "slowly-changing-regression"
SYSTEMS = ("linear", "backprop", "l2", "shrink-and-perturb", "cbp")


@dataclass(frozen=True)
class DemoOptions:
    """Slowly-changing regression as in the paper: a linear network, backprop, and three methods that keep plasticity.

    Finished runs are kept and interrupted ones go on; delete the folder to run all again.
    """

    runs: int = 30
    """runs of each system"""
    seed: int = 0
    """seed of the first run"""
    scale: str = "paper"
    """paper (1 M examples a run), small or tiny"""
    out: Path = Path("runs/demo")
    """where the run folders and the report go"""
    compile: bool = True
    """compile chunks of steps; not at the scale tiny, where this would take longer than it saves"""


def main(arguments: Sequence[str]) -> None:
    """Run the systems side by side, show the table, draw the report, and print its path last."""
    options = read_options(DemoOptions, arguments, "neoteny demo")
    from neoteny import lab, report
    from neoteny.cli.results import show

    configs = lab.resolve_all(BENCHMARK, SYSTEMS, runs=options.runs, seed=options.seed, scale=options.scale)
    # Networks of 20-5-1 gain nothing from an accelerator.
    show(lab.compare(configs, out=options.out, resume=True, device="cpu", compile=None if options.compile else False))
    print(report.build(options.out))
