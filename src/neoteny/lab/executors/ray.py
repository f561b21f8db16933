"""Jobs on a Ray cluster: one that exists, or one that is started on this machine for them.

Each job is a task that asks for its cores and GPUs; Ray's scheduler decides when and where it begins. On its node the
task attends to a process as everywhere else. What jobs say, and which of them should stop, goes through one small actor
beside this program. When this program ends, Ray ends its tasks.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from neoteny.errors import MissingPackageError, SettingError
from neoteny.lab.execution import Progress
from neoteny.lab.executors.process import attend
from neoteny.lab.executors.protocol import Executor, Job, Outcome, Worker

__all__ = ["Ray"]


@dataclass(kw_only=True)
class Ray(Executor):
    """Each job as a task of Ray.

    Args:
        jobs: how many are begun at once; by default Ray's queue decides.
        cores: of each job; by default one for each of its threads.
        gpus: of each job, or its share of one. Without it Ray hides the GPUs, and the job trains on a CPU.
        options: of Ray's tasks, such as `memory` (bytes) or `resources`; and `address`, the cluster's, or `auto`. By
            default it is that of the variable RAY_ADDRESS, or else a cluster is started on this machine.

    Raises:
        MissingPackageError: Ray is not installed.
    """

    options: Mapping[str, Any] = field(default_factory=dict)

    name = "ray"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._ray = _imported()
        self._mail: Any = None
        self._ours = False
        self._looked = 0.0
        self._letters: dict[int, Progress] = {}
        self._begun = 0

    def start(self, job: Job, hear: Callable[[Progress], None]) -> Worker:
        """Put it into Ray's queue."""
        self._connect()
        options = {name: value for name, value in self.options.items() if name != "address"}
        gpus, number = self.gpus or 0, self._begun
        asked = {"num_cpus": self.cores or job.execution.threads, "num_gpus": gpus, "max_retries": 0}
        self._begun += 1
        try:
            task = self._ray.remote(_work).options(**{**asked, **options})
        except (TypeError, ValueError) as error:
            raise SettingError(f"Ray takes no task with these options ({error}): see ray.remote.") from error
        worker = _Task(self, number, job, hear, task.remote(job.message(), self._mail, number, gpus))
        hear(job.waiting("in Ray's queue"))
        return worker

    def _connect(self) -> None:
        """Join a cluster or start one, and make the actor."""
        if self._mail is not None:
            return
        if not self._ray.is_initialized():
            address = self.options.get("address")
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # without it Ray warns at every start
            quiet = {} if address or "RAY_ADDRESS" in os.environ else {"include_dashboard": False}
            try:
                self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", **quiet)
            except Exception as error:  # of many kinds
                raise SettingError(
                    f"Ray cannot be reached or started ({type(error).__name__}: {error}): give the address of a "
                    "cluster that runs, or none to start one on this machine."
                ) from error
            self._ours = True
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        self._mail = self._ray.remote(_Mail).options(num_cpus=0, scheduling_strategy=here).remote()

    def letter(self, number: int) -> Progress | None:
        """The last progress of a job that was not yet heard."""
        if time.monotonic() - self._looked > self.every:
            self._letters |= self._ray.get(self._mail.taken.remote())
            self._looked = time.monotonic()
        return self._letters.pop(number, None)

    def close(self) -> None:
        """Leave the cluster; one that was started for these jobs ends."""
        if self._mail is not None:
            self._ray.kill(self._mail)
            self._mail = None
        if self._ours:
            self._ray.shutdown()
            self._ours = False


class _Task(Worker):
    """A job in Ray's queue or on one of its nodes."""

    def __init__(self, owner: Ray, number: int, job: Job, hear: Callable[[Progress], None], task: Any):
        self._owner, self._number, self._label, self._hear, self._task = owner, number, job.label, hear, task
        self._ray, self._begun, self._asked = owner._ray, False, False

    def outcome(self) -> Outcome | None:
        """How it ended; None while it waits or goes on."""
        if (heard := self._owner.letter(self._number)) is not None:
            self._begun = True
            self._hear(replace(heard, label=self._label))
        if not self._ray.wait([self._task], timeout=0)[0]:
            return None
        try:
            kind, said = self._ray.get(self._task)
            return Outcome(kind, said)
        except self._ray.exceptions.TaskCancelledError:
            return Outcome("stopped", "it was cancelled in Ray's queue")
        except self._ray.exceptions.RayTaskError as error:  # of its own, not of what it trains
            return Outcome("failed", str(error))
        except self._ray.exceptions.RayError as error:  # a worker or a node is gone, or has no memory left
            return Outcome("lost", f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")

    def stop(self) -> None:
        """Ask it to stop; in the queue it is cancelled."""
        self._owner._mail.ask.remote(self._number)
        if not self._begun:
            self._ray.cancel(self._task)

    def kill(self) -> None:
        """End the task; its process writes a checkpoint and follows."""
        self._ray.cancel(self._task, force=True)


class _Mail:
    """The actor between jobs and the program that started them."""

    def __init__(self) -> None:
        self._letters: dict[int, Progress] = {}
        self._asked: defaultdict[int, bool] = defaultdict(bool)

    def say(self, number: int, progress: Progress) -> None:
        self._letters[number] = progress

    def taken(self) -> dict[int, Progress]:
        letters, self._letters = self._letters, {}
        return letters

    def ask(self, number: int) -> None:
        self._asked[number] = True

    def asked(self, number: int) -> bool:
        return self._asked[number]


def _work(message: Mapping[str, Any], mail: Any, number: int, gpus: float) -> tuple[str, str]:
    """What a node does."""
    import ray

    def say(progress: Progress) -> None:
        mail.say.remote(number, progress)

    say(Progress(message["label"], 0, 1, 0, "", doing="starting"))
    outcome = attend(
        message,
        say,
        asked=lambda: ray.get(mail.asked.remote(number)),
        environment=None if gpus else {"CUDA_VISIBLE_DEVICES": ""},
    )
    return outcome.kind, outcome.said


def _imported() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingPackageError(
            f"Ray is not installed ({error}): pip install 'neoteny[cluster]', here and on the nodes."
        ) from error
    return ray
