from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from neoteny import lab
from neoteny.errors import RunFolderError, Stopped
from neoteny.lab import executor
from neoteny.lab.executor import CompareError
from neoteny.lab.folder import RunFolder

REGRESSION = "slowly-changing-regression"
TINY = {"runs": 2, "scale": "tiny"}
EAGER = {"compile": False, "progress": False, "device": "cpu"}


def long(systems=("backprop", "l2")):
    """Runs that take longer than any test."""
    return lab.resolve_all(REGRESSION, systems, runs=2, scale="tiny", settings={"tasks": 10_000})


def test_side_by_side_is_the_same_as_one_by_one(tmp_path):
    configs = lab.resolve_all(REGRESSION, ["backprop", "cbp", "l2"], **TINY)
    heard = []
    runs = lab.compare(configs, out=tmp_path / "side", jobs=2, **{**EAGER, "progress": heard.append})
    assert [run.config for run in runs] == configs
    alone = lab.run(configs[1], out=tmp_path / "alone", **EAGER)
    assert (runs[1].folder / "metrics.parquet").read_bytes() == (alone.folder / "metrics.parquet").read_bytes()
    assert {progress.label for progress in heard if progress.examples == 400} == {"backprop", "cbp", "l2"}
    command = RunFolder(runs[0].folder).read_provenance()["command"]
    assert "worker" not in command  # what the user typed
    with pytest.raises(RunFolderError, match="never overwritten"):
        lab.compare(configs, out=tmp_path / "side", **EAGER)
    again = lab.compare(configs, out=tmp_path / "side", resume=True, **EAGER)
    assert again[2].metrics.equals(runs[2].metrics)


def test_one_that_fails_does_not_lose_the_others(tmp_path):
    (tmp_path / "nothing").mkdir()
    configs = [lab.resolve(REGRESSION, **TINY), lab.resolve("online-permuted-mnist", **TINY)]
    with pytest.raises(CompareError, match=r"1 of 2 .*\n.*online-permuted-mnist-v1/backprop: .*is missing") as caught:
        lab.compare(configs, out=tmp_path / "runs", data_dir=str(tmp_path / "nothing"), **EAGER)
    assert [run.config.benchmark for run in caught.value.runs] == ["slowly-changing-regression-v1"]
    assert caught.value.runs[0].metrics.height
    assert "Traceback" not in str(caught.value)


def test_a_process_that_dies_is_reported(tmp_path, monkeypatch):
    started = []
    start = executor._start
    monkeypatch.setattr(executor, "_start", lambda *job: started.append(start(*job)) or started[-1])
    with pytest.raises(CompareError, match="its process ended with status -9"):
        lab.compare(long(["backprop"]), out=tmp_path, **{**EAGER, "progress": lambda _: started[0].process.kill()})


def test_ctrl_c_leaves_folders_that_can_be_resumed(tmp_path):
    def interrupt(progress):
        if progress.examples > 0:
            raise KeyboardInterrupt

    configs = long()
    with pytest.raises(KeyboardInterrupt):
        lab.compare(configs, out=tmp_path, jobs=2, **{**EAGER, "progress": interrupt})
    states = [RunFolder(executor.folder_of(config, tmp_path)) for config in configs]
    started = [folder for folder in states if folder.status != "absent"]
    assert started
    for folder in started:
        assert folder.status == "unfinished"
        assert folder.checkpoint.exists()
        folder.lock()  # nobody is writing any more
        folder.unlock()


SLOW = """
import time
from dataclasses import dataclass
from typing import ClassVar
from neoteny.benchmarks.slowly_changing_regression import SlowlyChangingRegressionBenchmark

@dataclass(frozen=True, kw_only=True)
class Slow(SlowlyChangingRegressionBenchmark):
    ID: ClassVar[str] = "slow-v1"
    def build_stream(self, *args, **more):
        time.sleep(60)
"""


def test_ctrl_c_does_not_wait_for_what_has_no_checkpoint_yet(tmp_path, monkeypatch):
    (tmp_path / "slow_of_tests.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    from slow_of_tests import Slow  # type: ignore[import-not-found]

    began: list[float] = []

    def interrupt(progress):
        if progress.doing == "reading data":
            began.append(time.monotonic())
            raise KeyboardInterrupt

    configs = lab.resolve_all(Slow, ["backprop"], **TINY)
    with pytest.raises(Stopped, match="the same command with --resume goes on"):
        lab.compare(configs, out=tmp_path / "runs", **{**EAGER, "progress": interrupt})
    assert time.monotonic() - began[0] < 10
    assert RunFolder(executor.folder_of(configs[0], tmp_path / "runs")).status == "absent"


def test_workers_stop_when_whoever_started_them_is_gone(tmp_path):
    script = f"""
        from neoteny import lab
        configs = lab.resolve_all("{REGRESSION}", ["l2"], runs=1, scale="tiny", settings={{"tasks": 10_000}})
        lab.compare(configs, out={str(tmp_path)!r}, compile=False, device="cpu",
                    progress=lambda progress: print(progress.examples, flush=True))
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if int(line):
                break
        process.send_signal(signal.SIGKILL)
    (path,) = (path.parent for path in tmp_path.rglob("config.yaml"))
    folder = RunFolder(path)
    for _ in range(300):
        try:
            folder.lock()
            break
        except RunFolderError:
            time.sleep(0.1)
    else:
        pytest.fail("the worker goes on by itself")
    folder.unlock()
    assert folder.status == "unfinished" and folder.checkpoint.exists()


def test_two_into_one_folder_are_refused(tmp_path):
    config = lab.resolve(REGRESSION, **TINY)
    with pytest.raises(RunFolderError, match="same folder"):
        lab.compare([config, config], out=tmp_path, **EAGER)
    assert not list(tmp_path.iterdir())
