"""Ray on this machine, submitit's local and debug executors: workers that are lost or preempted change no number."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

import pytest

from neoteny import lab
from neoteny.errors import MissingPackageError, SettingError
from neoteny.lab.execution import Execution
from neoteny.lab.executors import Job
from neoteny.lab.executors.names import executor_of

REGRESSION = "slowly-changing-regression"
EAGER = {"compile": False, "device": "cpu"}


def configs(*systems: str, tasks: int = 15):
    return lab.resolve_all(REGRESSION, systems, runs=2, scale="tiny", settings={"tasks": tasks})


def same(run, tmp_path) -> bool:
    """Whether a stack has the bytes of one that was never interrupted."""
    whole = lab.run(run.config, out=tmp_path / "whole", progress=False, **EAGER)
    return (run.folder / "metrics.parquet").read_bytes() == (whole.folder / "metrics.parquet").read_bytes()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_ray_with_two_workers_of_which_one_is_killed(tmp_path):
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'neoteny[cluster]'")
    killed: list[int] = []
    doing: set[str] = set()

    def kill(progress):
        doing.add(progress.doing)
        if progress.examples and not killed:
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                if process.read_bytes().startswith(b"ray::_work"):
                    killed.append(int(process.parent.name))
                    os.kill(killed[-1], signal.SIGKILL)
                    return

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        runs = lab.compare(
            configs("backprop", "l2"),
            out=tmp_path / "ray",
            executor=executor_of("ray", cores=1),
            progress=kill,
            checkpoint_every=0.0,
            **EAGER,
        )
        assert ray.is_initialized()  # it was not ours
    finally:
        ray.shutdown()
    assert len(killed) == 1 and {"in Ray's queue", "its worker was lost, attempt 2"} <= doing
    assert all(same(run, tmp_path) for run in runs)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_job_whose_time_is_over_goes_back_into_the_queue(tmp_path):
    """submitit's local executor signals and requeues as SLURM does."""
    pytest.importorskip("submitit", reason="needs submitit: pip install 'neoteny[cluster]'")
    executor = executor_of("slurm", options={"cluster": "local", "timeout_min": 20})
    workers = []
    start = executor.start
    executor.start = lambda *job: workers.append(start(*job)) or workers[-1]
    signalled: list[int] = []
    afterwards: list[int] = []

    def preempt(progress):
        if signalled and not progress.doing:
            afterwards.append(progress.examples)
        if progress.examples and not signalled:
            signalled.extend(children(int(workers[0]._submitted.job_id)))
            os.kill(signalled[0], signal.SIGUSR2)

    (run,) = lab.compare(configs("l2"), out=tmp_path / "local", executor=executor, progress=preempt, **EAGER)
    assert len(workers) == 1 and len(signalled) == 1  # it was not lost
    logs = run.folder.parents[1] / ".jobs"
    assert any("Requeued job" in path.read_text() for path in logs.glob("*_log.out"))
    assert min(afterwards) > 0  # it went on from the checkpoint that it was asked for
    assert same(run, tmp_path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its logs open
def test_submitits_debug_executor(tmp_path):
    pytest.importorskip("submitit", reason="needs submitit: pip install 'neoteny[cluster]'")
    heard = []
    (run,) = lab.compare(
        configs("backprop", tasks=5),
        out=tmp_path / "debug",
        executor=executor_of("slurm", options={"cluster": "debug"}),
        progress=heard.append,
        **EAGER,
    )
    assert same(run, tmp_path)
    assert heard[0].doing == "in SLURM's queue" and heard[-1].examples == heard[-1].total


class Fake:
    """A submitit whose jobs do nothing."""

    queue: ClassVar[list[str]] = []
    asked: ClassVar[dict] = {}

    class SlurmJob:
        def __init__(self, folder, job_id):
            self.job_id = job_id

        def stderr(self):
            return "out of memory"

        def cancel(self, check=True):
            Fake.queue.remove(self.job_id)

    class AutoExecutor:
        def __init__(self, folder, cluster):
            pass

        def update_parameters(self, **asked):
            Fake.asked = asked

        def submit(self, stack):
            Fake.queue.append(str(len(Fake.queue) + 1))
            return Fake.SlurmJob("", Fake.queue[-1])


def test_jobs_in_the_queue_are_found_again_and_lost_ones_noticed(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="needs submitit: pip install 'neoteny[cluster]'")
    from neoteny.lab.executors import slurm

    def squeue(*_, **__):
        return subprocess.CompletedProcess((), 0, "\n".join(Fake.queue))

    monkeypatch.setattr(slurm.subprocess, "run", squeue)
    monkeypatch.setattr(slurm, "_LISTED", -1.0)
    monkeypatch.setattr(slurm, "_GRACE", -1.0)
    executor = executor_of("slurm", cores=3, gpus=2, options={"mem_gb": 5})
    executor._submitit = Fake
    (config,) = configs("backprop")
    job = Job("it", config, lab.folder_of(config, tmp_path), Execution(), resume=True)
    first = executor.start(job, print)
    assert Fake.asked == {"name": "neoteny", "cpus_per_task": 3, "gpus_per_node": 2, "mem_gb": 5}
    again = executor.start(job, print)  # another program, when the first has ended
    monkeypatch.setattr(slurm, "_GRACE", 60.0)
    assert Fake.queue == ["1"] and first.outcome() is None and again.outcome() is None
    monkeypatch.setattr(slurm, "_GRACE", -1.0)
    Fake.queue[:] = []
    lost = again.outcome()
    assert (lost.kind, lost.said) == ("lost", "job 1 left the queue without an end\nout of memory")
    Fake.queue[:] = ["another's"]
    waiting = executor.start(job, print)  # as it is no longer there
    assert Fake.queue == ["another's", "2"]
    waiting.stop()
    assert Fake.queue == ["another's"] and waiting.outcome().kind == "stopped"


def test_what_cannot_be(monkeypatch):
    pytest.importorskip("submitit", reason="needs submitit: pip install 'neoteny[cluster]'")
    with pytest.raises(SettingError, match="SLURM shares no GPU"):
        executor_of("slurm", gpus=0.5)
    for name, package in (("ray", "Ray"), ("slurm", "submitit")):
        monkeypatch.setitem(__import__("sys").modules, package.lower(), None)
        with pytest.raises(MissingPackageError, match=f"{package} is not installed.*neoteny.cluster"):
            executor_of(name)
