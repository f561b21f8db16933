"""The campaign against faults: kills and damages over all benchmarks, every system compiled, made-up inputs.

    make faults                                     all of it, some hours of one core
    python tests/faults/campaign.py --kills 20      a smaller share

What was found is kept line by line in the file of `--log`, so a campaign that is stopped goes on where it was. At the
end it is a table (`--out`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.killing import DAMAGES, Lives, Trial
from neoteny import registry
from neoteny.errors import DataError

# Settings under which they act often in so few steps.
BUSY = {"cbp": {"replacement_rate": 0.02, "maturity_threshold": 5}, "redo": {"tau": 0.1, "period": 30}}
ALIKE = ("ant", "hopper", "walker2d", "slippery-half-cheetah")  # go through the same code as slippery-ant
PER_TRIAL = 5  # interrupted runs of one configuration
KILLS = 2  # of each of these
KILLED = 2 * len(registry.BENCHMARKS) * PER_TRIAL * KILLS  # every benchmark, compiled and not


def here() -> list[str]:
    """The benchmarks whose data is here."""
    found = []
    for name, entry in registry.BENCHMARKS.items():
        with suppress(DataError):
            problem = entry.load().preset("tiny")
            if hasattr(problem, "build_stream"):
                problem.build_stream([0])
            found.append(name)
    return found


def kills(count: int, seed: int, done: set[str], cache: Path) -> Iterator[dict[str, Any]]:
    """Kill and damage runs of every benchmark, compiled and not, at least `count` times."""
    kinds = [(name, compiled) for compiled in (False, True) for name in here()]
    kinds.sort(key=lambda kind: kind[0].startswith(ALIKE))  # what adds least comes last
    with Lives(cache) as live:
        for number in range(max(-(-count // (PER_TRIAL * KILLS)), 1)):
            benchmark, compiled = kinds[number % len(kinds)]
            name = f"kills {seed} {benchmark} {compiled} {number // len(kinds)}"
            if name in done:
                continue
            chance = random.Random(name)
            system = chance.choice(list(registry.benchmark(benchmark).load().SYSTEMS))
            config: dict[str, Any] = {
                "benchmark": benchmark,
                "method": system,
                "runs": 2,
                "scale": "tiny",
                "seed": seed,
            }
            if system in BUSY:
                config["methods"] = {system: BUSY[system]}
            with tempfile.TemporaryDirectory() as folder:
                trial = Trial(live, Path(folder), config, {"compile": compiled}, unroll=2)
                killed = refused = 0
                wrong: list[str] = []
                for again in range(PER_TRIAL):
                    damage = list(DAMAGES)[(number * PER_TRIAL + again) % len(DAMAGES)]
                    found = trial.interrupted(
                        chance, [chance.choice(("life", "training")) for _ in range(KILLS)], damage
                    )
                    killed, refused = killed + found.kills, refused + found.refused
                    wrong += found.wrong
                    if trial.seconds["status"] != 0:
                        break
            yield {
                "name": name, "part": "kills", "benchmark": benchmark, "system": system, "compiled": compiled,
                "tried": killed, "refused": refused, "wrong": wrong,
            }  # fmt: skip


def systems(seed: int, done: set[str], cache: Path) -> Iterator[dict[str, Any]]:
    """Run every system of every benchmark once, compiled."""
    with Lives(cache) as live:
        for benchmark in here():
            for system in registry.benchmark(benchmark).load().SYSTEMS:
                name = f"systems {seed} {benchmark} {system}"
                if name in done:
                    continue
                wrong = compiled_system(live, benchmark, system)
                yield {"name": name, "part": "systems", "benchmark": benchmark, "tried": 1, "wrong": wrong}


def compiled_system(live: Any, benchmark: str, system: str) -> list[str]:
    """What goes wrong when a system runs compiled; nothing if all is well."""
    config = {"benchmark": benchmark, "method": system, "runs": 2, "scale": "tiny"}
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(live, Path(folder), config, {"compile": True}, unroll=2)
    return [] if trial.seconds["status"] == 0 else [trial.seconds["said"]]


def inputs(count: int, seed: int, done: set[str]) -> Iterator[dict[str, Any]]:
    """Made-up command lines, YAML files and Python settings, a third of each."""
    from faults.inputs import KINDS, tried

    for kind in KINDS:
        name = f"inputs {seed} {kind} {count}"
        if name not in done:
            asked = -(-count // len(KINDS))
            found = tried(kind, asked, seed)
            yield {"name": name, "part": kind, "benchmark": "", "tried": asked, **found}


def table(rows: list[dict[str, Any]], command: str) -> str:
    """What was found, as a page."""
    parts: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        how = {True: "compiled", False: "not compiled"}.get(row.get("compiled"), "")  # type: ignore[arg-type]
        what = {"kills": f"kills of {row['benchmark']}, {how}", "systems": f"systems of {row['benchmark']}, compiled"}
        counts = parts.setdefault((row["part"], what.get(row["part"], row["part"])), Counter())
        counts.update(tried=row["tried"], refused=row.get("refused", 0), wrong=len(row["wrong"]))
    lines = [f"| {what} | {c['tried']} | {c['refused']} | {c['wrong']} |" for (_, what), c in sorted(parts.items())]
    killed, run = (sum(row["tried"] for row in rows if row["part"] == part) for part in ("kills", "systems"))
    whole = sum(len(registry.benchmark(name).load().SYSTEMS) for name in registry.BENCHMARKS)
    return "\n".join(
        [
            "# Under faults",
            "",
            f"Made by `{command}`; {killed} of {KILLED} kills and {run} of {whole} systems"
            f"{' so far: it goes on' if killed < KILLED or run < whole else ''}. *Kills*: "
            "processes that were ended by SIGKILL at a random moment; between two lives one file of the folder is "
            "damaged. Each run is resumed to its end. *Refused*: damages and inputs that were answered in words. "
            "*Wrong*: a result that differs in any byte from that of the run that was never interrupted, a file left "
            "over, a traceback, or something accepted that cannot work.",
            "",
            "| what | tried | refused | wrong |",
            "|---|---:|---:|---:|",
            *lines,
            "",
        ]
    )


def main() -> None:
    """Run what is asked for; exit status 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=KILLED)
    parser.add_argument("--inputs", type=int, default=3_000)
    parser.add_argument("--systems", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--log", type=Path, default=Path(".cache/faults.jsonl"))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    asked.log.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in asked.log.read_text().splitlines()] if asked.log.exists() else []
    done = {row["name"] for row in rows}
    cache = Path(tempfile.mkdtemp())
    try:
        parts = [
            kills(asked.kills, asked.seed, done, cache) if asked.kills else (),
            systems(asked.seed, done, cache) if asked.systems else (),
            inputs(asked.inputs, asked.seed, done) if asked.inputs else (),
        ]
        for part in parts:
            for row in part:
                rows.append(row)
                with open(asked.log, "a") as log:
                    print(json.dumps(row), file=log, flush=True)
                print(row["name"], row.get("benchmark"), row.get("system", ""), row["tried"], row["wrong"], flush=True)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    page = table(rows, f"make faults ARGS='--seed {asked.seed}'")
    print(page)
    if asked.out:
        asked.out.write_text(page)
    sys.exit(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
