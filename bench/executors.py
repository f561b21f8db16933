"""What an executor costs: stacks an hour with one and two workers, and the processor time of a stack beyond training.

    python bench/executors.py --out docs/evidence/executors.md
    python bench/executors.py --seconds 60 --stacks 4 --workers 1,2 --executors local,slurm:local

Each stack trains for about `--seconds`. The cost of a stack is the processor time of this program and its processes,
less that of the same stacks one after the other in this program: starting, importing torch, telling and hearing. It
hardly depends on how busy the machine is. Stacks an hour do: they need as many quiet cores as there are workers. Ray's
processes are not this program's, so only these are said of Ray.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from neoteny import lab
from neoteny.lab.executors.names import executor_of

BENCHMARK, SIZE = "slowly-changing-regression", {"runs": 2, "scale": "tiny"}


@dataclass(frozen=True)
class Measured:
    """What some stacks took: seconds of the clock, and of processors."""

    seconds: float
    processor: float


def processor_time() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measured(name: str, workers: int, stacks: int, tasks: int) -> Measured:
    kind, _, cluster = name.partition(":")
    options = {"options": {"cluster": cluster, "timeout_min": 60}} if cluster else {}
    executor = executor_of(kind, jobs=workers, cores=1, **options)
    # a task more or less gives each a folder of its own
    configs = [lab.resolve(BENCHMARK, **SIZE, settings={"tasks": tasks + stack}) for stack in range(stacks)]
    with tempfile.TemporaryDirectory() as out:
        began, before = time.perf_counter(), processor_time()
        lab.compare(configs, out=out, executor=executor, progress=False, device="cpu", compile=False)
        return Measured(time.perf_counter() - began, processor_time() - before)


def lines(seconds: float, stacks: int, workers: list[int], executors: list[str]) -> Iterator[str]:
    """The page, line by line, as it is measured."""
    measured("here", 1, 1, 2)  # the first run imports torch
    tasks = max(round(10 * seconds / measured("here", 1, 1, 10).processor), 1)
    alone = measured("here", 1, stacks, tasks)
    training = alone.processor / stacks
    options = f"--seconds {seconds:g} --stacks {stacks} --executors {','.join(executors)}"
    about = (
        f"`python bench/executors.py {options}`: the cost of a stack is the processor time of the program and its "
        "processes, less that of the same stacks one after the other in the program itself. Ray's processes are not "
        f"the program's own, so only stacks an hour are said of it. A stack trains for {training:.1f} s of a "
        f"processor; one after the other in the program, {3600 * stacks / alone.seconds:.0f} are trained in an hour."
    )
    yield from ("# What an executor costs", "", fill(about, 120))
    yield from ("", "| executor | workers | stacks an hour | beyond training, s a stack | of a stack of an hour |")
    yield "|---|---:|---:|---:|---:|"
    for name in executors:
        for count in workers:
            found = measured(name, count, stacks, tasks)
            more = (found.processor - alone.processor) / stacks
            cost = " | " if name == "ray" else f"{more:.1f} | {more / 3600:.2%}"
            yield f"| {name} | {count} | {3600 * stacks / found.seconds:.0f} | {cost} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, of each stack")
    parser.add_argument("--stacks", type=int, default=4)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--executors", default="local")
    parser.add_argument("--out", type=Path, help="write the page there as well, line by line")
    options = parser.parse_args()
    text = ""
    workers = [int(count) for count in options.workers.split(",")]
    for line in lines(options.seconds, options.stacks, workers, options.executors.split(",")):
        print(line, flush=True)
        text += f"{line}\n"
        if options.out:
            options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
