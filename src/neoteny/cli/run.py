"""`neoteny run`: systems on a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neoteny import registry
from neoteny.errors import SettingError

__all__ = ["main"]

_USAGE = """usage: neoteny run BENCHMARK [OPTIONS]

Run systems on a benchmark, each as a stack of runs with its own folder.

benchmarks:
{benchmarks}

`neoteny run BENCHMARK --help` shows its systems and every option.

examples:
  neoteny run slowly-changing-regression --method backprop,cbp --runs 30
  neoteny run online-permuted-mnist --method cbp --scale tiny --cbp.replacement-rate 1e-5
  neoteny run slowly-changing-regression --method cbp --grid cbp.replacement-rate=1e-6,1e-5,1e-4
  neoteny run mymodule:MyBenchmark --method backprop,mymodule:MyMethod"""


def main(arguments: Sequence[str]) -> None:
    """Run, show the result, and print where it is."""
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, registry.BENCHMARKS))
        lines = (f"  {entry.name:<{width}}  {entry.summary}" for entry in registry.BENCHMARKS.values())
        print(_USAGE.format(benchmarks="\n".join(lines)))
        return
    name, *options = arguments
    if name.startswith("-"):
        raise SettingError(f"{name!r} is in the place of the benchmark: write neoteny run BENCHMARK [OPTIONS].")
    from neoteny.cli.options import parse
    from neoteny.lab.execution import Execution
    from neoteny.lab.executors.protocol import require_retries
    from neoteny.lab.resolving import resolve_all

    request = parse(name, options)
    running = request.running
    ways: dict[str, Any] = {
        "device": running.device,
        "strategy": running.strategy,
        "compile": request.compile,
        "threads": running.threads,
        "track": running.track or "",
        "mirror": running.mirror,
        "data_dir": running.data_dir and str(running.data_dir),
    }
    Execution(**ways)  # also where nothing of it is needed: what cannot be is refused
    where = running.place()
    require_retries(running.retries)
    configs = resolve_all(
        request.benchmark,
        request.systems,
        runs=running.runs,
        scale=running.scale,
        seed=running.seed,
        settings=request.settings,
        methods=request.methods,
        grid=request.grid,
    )
    if running.dry_run:
        print("---\n".join(config.to_yaml() for config in configs), end="")
        return
    from neoteny import lab
    from neoteny.cli.results import show

    ways |= {"out": running.out, "resume": running.resume}
    if len(configs) == 1 and running.executor in ("local", "here"):
        show([lab.run(configs[0], **ways)])
    else:
        show(lab.compare(configs, executor=where, retries=running.retries, **ways))
    print(f"`neoteny report {running.out}` draws them.")
