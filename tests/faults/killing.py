"""Runs that are killed, damaged and resumed: what one trial is, for tests and for the campaign."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from neoteny import lab
from neoteny.errors import NeotenyError
from neoteny.lab.folder import RunFolder

__all__ = ["DAMAGES", "Lives", "Outcome", "Trial"]


class Lives:
    """Children that work until they are done or killed; a context, and called with a job (see `forking.py`).

    Args:
        cache: where compiled graphs are kept; by default where torch keeps them.
    """

    def __init__(self, cache: Path | None = None):
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._environment |= {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        if cache is not None:
            self._environment["TORCHINDUCTOR_CACHE_DIR"] = str(cache)

    def __enter__(self) -> Lives:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forking.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def __call__(self, **job: Any) -> dict[str, Any]:
        """Let a child live; its answer."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@dataclass
class Outcome:
    """What came of a trial.

    Attributes:
        kills: lives that were killed.
        refused: damages that were answered by an error in words.
        wrong: what should not have happened; empty if all is well.
    """

    kills: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Trial:
    """One configuration, run once without interruption; then killed, damaged and resumed as often as asked.

    Args:
        live: as `Lives`.
        folder: an empty folder for its runs.
        config: arguments of `neoteny.lab.resolve`.
        execution: arguments of `neoteny.lab.run`.
        unroll: steps in one compiled graph; None leaves the usual number.
    """

    live: Callable[..., dict[str, Any]]
    folder: Path
    config: Mapping[str, Any]
    execution: Mapping[str, Any]
    unroll: int | None = None

    def __post_init__(self) -> None:
        self.resolved = lab.resolve(**self.config)
        self.cut, self.whole = (
            lab.RunStack(lab.folder_of(self.resolved, self.folder / out), self.resolved) for out in ("cut", "whole")
        )
        self.seconds = self._live("whole")

    def interrupted(self, chance: random.Random, kills: Sequence[str], damage: str = "") -> Outcome:
        """Kill a run some times, damage its folder once, and let it end; what came of it.

        Args:
            chance: when it is killed, and what exactly is damaged.
            kills: for each kill what the time is counted from, `life` or `training` (the first checkpoint).
            damage: one of `DAMAGES`; empty for none.
        """
        found = Outcome()
        shutil.rmtree(self.folder / "cut", ignore_errors=True)
        if self.seconds["status"] != 0:
            found.wrong.append(f"the whole run failed: {self.seconds['said']}")
            return found
        pace = 1.0
        for counted in kills:
            for _ in range(8):
                one = self._live("cut", kill=counted, after=pace * chance.uniform(0.02, 1.0) * self.seconds[counted])
                if one["status"] < 0:
                    found.kills += 1
                    break
                if one["status"] > 0:
                    found.wrong.append(f"a life failed: {one['said']}")
                    return found
                shutil.rmtree(self.cut.folder)  # done before it was killed: faster than the whole one
                pace /= 2
        if damage and self.cut.folder.is_dir():
            self._damage(chance, damage, found)
        last = self._live("cut")
        if last["status"] != 0:
            found.wrong.append(f"the last life failed: {last['said']}")
        else:
            found.wrong += self.differences()
        return found

    def differences(self) -> list[str]:
        """In what the interrupted run's folder differs from that of the run that was not."""
        wrong = []
        if RunFolder(self.cut.folder).status != "finished":
            return ["the run is not finished"]
        if (self.cut.folder / "metrics.parquet").read_bytes() != (self.whole.folder / "metrics.parquet").read_bytes():
            wrong.append("metrics.parquet differs")
        weights = self.whole.final_weights()
        wrong += [f"{k} differs" for k, v in self.cut.final_weights().items() if not torch.equal(v, weights[k])]
        here, there = (
            {str(path.relative_to(one.folder)) for path in one.folder.rglob("*")} for one in (self.cut, self.whole)
        )
        return wrong + [f"left over: {name}" for name in sorted(here ^ there)]

    def _live(self, out: str, **kill: Any) -> dict[str, Any]:
        checkpoint = self.cut.folder / "checkpoint.pt" if out == "cut" else self.whole.folder / "checkpoint.pt"
        job = {"config": self.config, "out": str(self.folder / out), "execution": self.execution}
        more = {} if self.unroll is None else {"unroll": self.unroll}
        # as a user would: by the command that the error names, which is not told how the run was started
        resume = out == "cut" and (checkpoint.parent / "config.yaml").exists()
        return self.live(**job, checkpoint=str(checkpoint), resume=resume, **more, **kill)

    def _damage(self, chance: random.Random, damage: str, found: Outcome) -> None:
        """Damage the folder: a life must refuse it in words, or come to the right end; a refused folder is mended."""
        kept = self.folder / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.cut.folder, kept)
        if not DAMAGES[damage](self.cut.folder, chance):
            return
        one, wrong = self._live("cut"), []
        refused = one["status"] == 2
        if one["status"] == 0:
            try:
                wrong = self.differences()
            except NeotenyError:  # it had finished before it was killed: its files are read now, and refused now
                refused = True
        if refused:
            found.refused += 1
            shutil.rmtree(self.cut.folder)
            shutil.copytree(kept, self.cut.folder)
        elif one["status"] != 0:
            found.wrong.append(f"{damage}: {one['said']}")
            shutil.rmtree(self.cut.folder)
        elif wrong:
            found.wrong.append(f"{damage}: went on silently; {'; '.join(wrong)}")
            shutil.rmtree(self.cut.folder)


def _flip(pattern: str) -> Callable[[Path, random.Random], bool]:
    """Flip one bit of a file."""

    def flip(folder: Path, chance: random.Random) -> bool:
        files = sorted(path for path in folder.glob(pattern) if path.stat().st_size)
        if not files:
            return False
        path = chance.choice(files)
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        return True

    return flip


def _cut(pattern: str) -> Callable[[Path, random.Random], bool]:
    """Cut a file off anywhere."""

    def cut(folder: Path, chance: random.Random) -> bool:
        files = sorted(path for path in folder.glob(pattern) if path.stat().st_size)
        if not files:
            return False
        path = chance.choice(files)
        content = path.read_bytes()
        path.write_bytes(content[: chance.randrange(len(content))])
        return True

    return cut


def _removed(name: str) -> Callable[[Path, random.Random], bool]:
    def remove(folder: Path, chance: random.Random) -> bool:
        there = (folder / name).exists()
        (folder / name).unlink(missing_ok=True)
        return there

    return remove


DAMAGES: Mapping[str, Callable[[Path, random.Random], bool]] = {
    "a bit of a part": _flip("metrics/part-*.parquet"),
    "a bit of the checkpoint": _flip("checkpoint.pt"),
    "a part cut off": _cut("metrics/part-*.parquet"),
    "the checkpoint cut off": _cut("checkpoint.pt"),
    "no provenance": _removed("provenance.json"),
    "the provenance cut off": _cut("provenance.json"),
}
"""What may happen to a folder between two lives: each says whether there was anything to damage."""
