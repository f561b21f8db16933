"""What executors cost: stacks an hour with one and two workers, and the share of a stack that is not training.

    python bench/executors.py [--seconds 60] [--stacks 4] [--executors local,ray,slurm:local]

Each stack trains for about `--seconds`. Overhead is 1 - training / (wall clock x workers), where training is what the
run folders say (`seconds` of the provenance), so it has the start of the process, the import of torch and the poll.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time

from neoteny import lab
from neoteny.lab.executors.names import executor_of

BENCHMARK, SIZE = "slowly-changing-regression", {"runs": 2, "scale": "tiny"}


def measured(name: str, workers: int, stacks: int, tasks: int) -> tuple[float, float]:
    """Stacks an hour, and the overhead."""
    settings = {"jobs": workers, "cores": 1}
    kind, _, cluster = name.partition(":")
    if cluster:
        settings["options"] = {"cluster": cluster, "timeout_min": 60}
    executor = executor_of(kind, **settings)
    # a task more or less gives each a folder of its own
    configs = [lab.resolve(BENCHMARK, **SIZE, settings={"tasks": tasks + stack}) for stack in range(stacks)]
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        runs = lab.compare(configs, out=out, executor=executor, progress=False, device="cpu", compile=False)
        seconds = time.perf_counter() - began
        training = sum(json.loads((run.folder / "provenance.json").read_text())["seconds"] for run in runs)
    return 3600 * stacks / seconds, 1 - training / (seconds * workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, of each stack")
    parser.add_argument("--stacks", type=int, default=4)
    parser.add_argument("--executors", default="local")
    options = parser.parse_args()
    measured("here", 1, 1, 20)  # the first run is slower
    speed, overhead = measured("here", 1, 1, 20)
    tasks = max(round(20 * options.seconds * speed / 3600), 1)
    print("| executor | workers | stacks an hour | overhead of a stack |\n|---|---|---|---|")
    for name in options.executors.split(","):
        for workers in (1, 2):
            speed, overhead = measured(name, workers, options.stacks, tasks)
            print(f"| {name} | {workers} | {speed:.0f} | {overhead:.1%} |", flush=True)


if __name__ == "__main__":
    main()
