from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from neoteny import lab
from neoteny.errors import RunFolderError, SettingError, Stopped, UnknownNameError
from neoteny.lab.comparing import CompareError
from neoteny.lab.execution import Execution
from neoteny.lab.executors import Executor, Here, Job, Local, Outcome, Worker, train
from neoteny.lab.executors.local import _gpus
from neoteny.lab.executors.names import executor_of
from neoteny.lab.executors.process import Process
from neoteny.lab.folder import RunFolder

REGRESSION = "slowly-changing-regression"
TINY = {"runs": 2, "scale": "tiny"}
EAGER = {"compile": False, "progress": False, "device": "cpu"}


def test_side_by_side_is_the_same_as_one_by_one_and_one_that_fails_does_not_lose_the_others(tmp_path):
    (tmp_path / "nothing").mkdir()
    configs = [*lab.resolve_all(REGRESSION, ["backprop", "cbp"], **TINY), lab.resolve("online-permuted-mnist", **TINY)]
    heard = []
    how = {**EAGER, "progress": heard.append, "data_dir": str(tmp_path / "nothing")}
    with pytest.raises(CompareError, match=r"1 of 3 .*\n.*online-permuted-mnist-v1/backprop: .*is missing") as caught:
        lab.compare(configs, out=tmp_path / "side", jobs=2, **how)
    assert "Traceback" not in str(caught.value)
    runs = caught.value.runs
    assert [run.config for run in runs] == configs[:2]
    alone = lab.run(configs[1], out=tmp_path / "alone", **EAGER)
    assert (runs[1].folder / "metrics.parquet").read_bytes() == (alone.folder / "metrics.parquet").read_bytes()
    finished = {progress.label for progress in heard if progress.examples == 400}
    assert finished == {f"{REGRESSION}-v1/backprop", f"{REGRESSION}-v1/cbp"}
    command = RunFolder(runs[0].folder).read_provenance()["command"]
    assert "worker" not in command  # what the user typed
    with pytest.raises(RunFolderError, match="never overwritten"):
        lab.compare(configs, out=tmp_path / "side", **EAGER)


def test_one_cause_is_told_once():
    told = str(CompareError([], {"backprop": "No data.", "cbp": "No data.", "l2": "No memory."}))
    assert told == "3 of 3 stacks failed.\nbackprop, cbp: No data.\nl2: No memory."


def test_what_is_finished_is_checked_without_a_worker(tmp_path):
    config = lab.resolve(REGRESSION, **TINY)
    lab.run(config, out=tmp_path, **EAGER)
    (run,) = lab.compare([config], out=tmp_path, resume=True, executor=Pretended({}), **EAGER)
    assert run.metrics.height
    (run.folder / "config.yaml").write_text(lab.resolve(REGRESSION, **TINY, settings={"tasks": 3}).to_yaml())
    with pytest.raises(CompareError, match="holds a run of another configuration"):
        lab.compare([config], out=tmp_path, resume=True, executor=Pretended({}), **EAGER)


class Killing(Local):
    """Kills processes when they have trained for a while.

    Args:
        kills: how many.
    """

    def __init__(self, kills: int, **settings):
        super().__init__(**settings)
        self.left, self.resumed = kills, []

    def start(self, job, hear):
        worker: list[Process] = []

        def heard(progress):
            hear(progress)
            if self.left and progress.examples and (job.folder / "checkpoint.pt").exists():
                self.left -= 1
                os.kill(worker[0].pid, signal.SIGKILL)

        self.resumed.append((job.attempt, job.resume))
        worker.append(super().start(job, heard))
        return worker[0]


def test_a_process_that_is_killed_goes_on_from_its_checkpoint(tmp_path):
    config = lab.resolve(REGRESSION, method="cbp", runs=2, scale="tiny", settings={"tasks": 10})
    often = {**EAGER, "checkpoint_every": 0.0}
    killing = Killing(1)
    (run,) = lab.compare([config], out=tmp_path / "killed", executor=killing, **often)
    assert killing.resumed == [(0, False), (1, True)]
    whole = lab.run(config, out=tmp_path / "whole", **EAGER)
    assert (run.folder / "metrics.parquet").read_bytes() == (whole.folder / "metrics.parquet").read_bytes()
    for name, weights in whole.final_weights().items():
        assert weights.equal(run.final_weights()[name])


def test_a_process_that_dies_is_lost(tmp_path):
    worker = Process(jobs(tmp_path, "a")[0].message(), print)
    os.kill(worker.pid, signal.SIGKILL)
    while (outcome := worker.outcome()) is None:
        time.sleep(0.01)
    assert outcome == Outcome("lost", "its process ended with status -9")


def test_half_a_line_of_a_process_that_died_is_passed_over(tmp_path):
    worker = Process(jobs(tmp_path, "a")[0].message(), print)
    os.kill(worker.pid, signal.SIGKILL)
    worker._reader.join()
    worker._process.stdout = io.StringIO('{"progress": {"label"\n')
    worker._read()
    while (outcome := worker.outcome()) is None:
        pass
    assert outcome.kind == "lost"


class Pretended(Executor):
    """Ends jobs as it is told, by their labels: a list of outcomes each, the last one again and again."""

    name, every, leaves = "pretended", 0.0, True

    def __init__(self, endings, **settings):
        super().__init__(**settings)
        self.endings, self.begun, self.at_once, self.most = endings, [], 0, 0

    def start(self, job, hear):
        self.begun.append(job)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        outcomes = self.endings[job.label]
        if self.leaves and outcomes[0].kind == "done":
            job.folder.mkdir(parents=True, exist_ok=True)
            for name in ("config.yaml", "metrics.parquet"):
                (job.folder / name).touch()
        return Ending(self, outcomes.pop(0) if len(outcomes) > 1 else outcomes[0])

    def close(self):
        self.at_once = "closed"


class Ending(Worker):
    def __init__(self, owner, outcome):
        self.owner, self.ending, self.looks, self.said = owner, outcome, 0, []

    def outcome(self):
        self.looks += 1
        if self.looks < 3:
            return None
        self.owner.at_once -= 1
        return self.ending

    def stop(self):
        self.said.append("stop")

    def kill(self):
        self.said.append("kill")


def jobs(tmp_path, *labels):
    config = lab.resolve(REGRESSION, **TINY)
    return [Job(label, config, tmp_path / label, Execution()) for label in labels]


def test_a_job_that_is_done_elsewhere_has_failed_where_its_folder_never_comes(tmp_path, monkeypatch):
    monkeypatch.setattr("neoteny.lab.executors.training._LATE", 0.0)
    executor = Pretended({"a": [Outcome("done")]})
    executor.leaves = False
    (outcome,) = train(jobs(tmp_path, "a"), executor).values()
    assert outcome.kind == "failed" and "is not here" in outcome.said and "--mirror" in outcome.said


def test_what_is_lost_is_started_again_and_what_failed_is_not(tmp_path):
    lost, failed, done = Outcome("lost", "gone"), Outcome("failed", "nan"), Outcome("done")
    executor = Pretended({"a": [lost, Outcome("stopped"), done], "b": [failed], "c": [lost], "d": [done]}, jobs=2)
    outcomes = train(jobs(tmp_path, *"abcd"), executor, retries=2)
    assert {label: outcome.kind for label, outcome in outcomes.items()} == {
        "a": "done", "b": "failed", "c": "lost", "d": "done"
    }  # fmt: skip
    assert [(job.label, job.resume) for job in executor.begun if job.label in "ab"] == [
        ("a", False), ("b", False), ("a", True), ("a", True)
    ]  # fmt: skip
    assert outcomes["c"].said == "gone\n(the last of 3 attempts)"
    assert executor.most == 2 and executor.at_once == "closed"


def test_jobs_follow_jobs_and_some_are_never_begun(tmp_path):
    first, second, third = jobs(tmp_path, *"abc")
    executor = Pretended({label: [Outcome("done")] for label in "abc"})
    outcomes = train(
        [first, second],
        executor,
        admit=lambda job: job.label != "b",
        then=lambda job, outcome: [third] if job.label == "a" and outcome.kind == "done" else [],
    )
    assert list(outcomes) == ["a", "c"]


def test_what_follows_comes_before_what_waits(tmp_path):
    first, second, *later = jobs(tmp_path, *"abcde")
    executor = Pretended({label: [Outcome("done")] for label in "abcde"}, jobs=1)
    follows = {"a": later[:2], "c": later[2:]}
    outcomes = train([first, second], executor, then=lambda job, outcome: follows.get(job.label, []))
    assert list(outcomes) == ["a", "c", "e", "d", "b"]


class Endless(Ending):
    """Goes on until it is asked to stop; Ctrl-C comes at the third look."""

    def outcome(self):
        self.looks += 1
        if self.looks == 3 and not self.said:
            raise KeyboardInterrupt
        return Outcome("stopped") if self.said else None


def test_ctrl_c_stops_every_worker_wherever_it_is(tmp_path):
    workers = []

    class Place(Pretended):
        def start(self, job, hear):
            workers.append(Endless(self, None))
            return workers[-1]

    executor = Place({})
    with pytest.raises(KeyboardInterrupt):
        train(jobs(tmp_path, *"abc"), executor)
    assert [worker.said for worker in workers] == [["stop"]] * 3 and executor.at_once == "closed"


def test_executors_by_name():
    assert isinstance(executor_of("local", jobs=3), Local)
    assert isinstance(executor_of("neoteny.lab.executors.local:Here"), Here)
    with pytest.raises(UnknownNameError, match="executor called 'lokal'. Did you mean 'local'"):
        executor_of("lokal")
    with pytest.raises(UnknownNameError, match="setting of the executor local called 'options'"):
        executor_of("local", options={"mem_gb": 1})
    for wrong, said in (("nowhere:Class", "cannot be imported"), ("pathlib:Path", "subclass of")):
        with pytest.raises(SettingError, match=said):
            executor_of(wrong)
    with pytest.raises(SettingError, match="jobs was given beside an executor"):
        executor_of(Local(), jobs=1)
    for settings in ({"jobs": 0}, {"cores": 0}, {"gpus": 0.0}, {"gpus": 1.5}):
        with pytest.raises(SettingError, match=next(iter(settings))):
            Local(**settings)
    with pytest.raises(SettingError, match="retries = -1"):
        lab.compare([], retries=-1)


def test_jobs_share_gpus(monkeypatch, tmp_path):
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(SettingError, match="no GPU"):
            Local(gpus=0.5).places(Execution())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("neoteny.lab.executors.local._cores", lambda: 64)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert _gpus() == ["5", "7"]
    assert Local(gpus=0.3).places(Execution()) == 6
    assert Local(gpus=0.3, cores=16).places(Execution()) == 4
    given = []

    class Fake:
        ended = False

        def __init__(self, message, hear, environment):
            given.append(environment["CUDA_VISIBLE_DEVICES"])

    monkeypatch.setattr("neoteny.lab.executors.local.Process", Fake)
    executor = Local(gpus=0.5)
    for job in jobs(tmp_path, *"abc"):
        executor.start(job, print)
    assert given == ["5", "7", "5"]


def test_ctrl_c_leaves_folders_that_can_be_resumed(tmp_path):
    def interrupt(progress):
        if progress.examples > 0:
            raise KeyboardInterrupt

    configs = lab.resolve_all(REGRESSION, ["backprop"], **TINY, settings={"tasks": 10_000})  # longer than any test
    with pytest.raises(KeyboardInterrupt):
        lab.compare(configs, out=tmp_path, **{**EAGER, "progress": interrupt})
    states = [RunFolder(lab.folder_of(config, tmp_path)) for config in configs]
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
    assert time.monotonic() - began[0] < 50
    assert RunFolder(lab.folder_of(configs[0], tmp_path / "runs")).status == "absent"


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
