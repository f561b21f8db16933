"""Several stacks side by side, by an executor: each into its own folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from neoteny.checks import expanded, known_keywords
from neoteny.errors import NeotenyError, RunFolderError, SettingError, Stopped
from neoteny.kinds import with_kinds
from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution, Progress
from neoteny.lab.executors.names import executor_of
from neoteny.lab.executors.protocol import Executor, Job, require_retries
from neoteny.lab.executors.training import RETRIES, train
from neoteny.lab.folder import RunFolder
from neoteny.lab.mirror import below, fetch_below
from neoteny.lab.running import RunStack, folder_of
from neoteny.progress import live

__all__ = ["CompareError", "compare", "require_importable"]


class CompareError(NeotenyError):
    """Some of the stacks failed; the others are finished.

    Attributes:
        runs: the finished ones.
        failures: what went wrong, by label.
    """

    def __init__(self, runs: Sequence[RunStack], failures: Mapping[str, str]):
        self.runs, self.failures = list(runs), dict(failures)
        count, others = len(failures) + len(runs), "; the others are finished" * bool(runs)
        labels: dict[str, list[str]] = {}
        for label, text in failures.items():  # of the same cause is told once
            labels.setdefault(text, []).append(label)
        listed = "\n".join(f"{', '.join(named)}: {text}" for text, named in labels.items())
        super().__init__(f"{len(failures)} of {count} stacks failed{others}.\n{listed}")

    def __reduce__(self):
        return type(self), (self.runs, self.failures)


@known_keywords(Execution)
@with_kinds()
def compare(
    configs: Sequence[RunConfig],
    *,
    out: str | Path = "runs",
    resume: bool = False,
    jobs: int | None = None,
    executor: str | Executor = "local",
    retries: int = RETRIES,
    progress: bool | Callable[[Progress], None] = True,
    **execution: Any,
) -> list[RunStack]:
    """Run several systems side by side, each into its own folder `out/<benchmark>/<label>`.

    Args:
        configs: what to run, as from `neoteny.lab.resolve_all`.
        out: the directory of run folders.
        resume: go on with unfinished folders of these configurations, and leave finished ones as they are.
        jobs: how many run at once; by default as many as the cores allow, or one on an accelerator.
        executor: where: `local`, `ray`, `slurm`, or one with settings of its own; see `neoteny.lab.executors`.
        retries: how often a stack whose process or machine was lost goes on from its last checkpoint.
        progress: whether to show it live; or a function that is called with it.
        execution: as for `neoteny.lab.run`.

    Returns:
        The finished stacks, in the order of the configurations.

    Raises:
        UnknownNameError: an argument or an executor that does not exist.
        SettingError: a class that another process could not import.
        RunFolderError: a folder already holds a run; then nothing is started.
        CompareError: some stacks failed; the others are finished, and the message says what happened.
        Stopped: Ctrl-C was pressed; every started folder can be resumed.
    """
    configs = list(configs)
    how = Execution(**execution)
    labels = _distinct(configs, out)
    require_importable(configs)
    fetch_below(how.mirror, expanded(out))
    for config in configs:
        if not resume and RunFolder(folder_of(config, out)).status != "absent":
            RunFolder(folder_of(config, out)).create(config)  # raises the error that says what to do
    where = executor_of(executor, jobs=jobs)
    require_retries(retries)
    stacks = []
    for label, config in zip(labels, configs, strict=True):
        folder = folder_of(config, out)
        own = replace(how, mirror=below(how.mirror, folder, expanded(out)))
        stacks.append(Job(label, config, folder, own, resume))
    if callable(progress):
        listener: Any = nullcontext(progress)
    else:
        listener = live(labels) if progress else nullcontext(lambda _: None)
    with _told_how_to_go_on(configs, out, resume), listener as notify:
        outcomes = train(stacks, where, hear=notify, retries=retries)
    failures = {label: outcome.said for label, outcome in outcomes.items() if outcome.kind != "done"}
    runs = [
        RunStack(folder_of(config, out), config)
        for label, config in zip(labels, configs, strict=True)
        if label not in failures
    ]
    if failures:
        raise CompareError(runs, failures)
    return runs


@contextmanager
def _told_how_to_go_on(configs: Sequence[RunConfig], out: str | Path, resume: bool) -> Iterator[None]:
    """A context in which Ctrl-C says how the stacks go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        how = "the same command goes on" if resume else "the same command with --resume goes on"
        folders = [folder_of(config, out) for config in configs]
        begun = [path for path in folders if RunFolder(path).status == "unfinished"]
        one = f", or `neoteny resume {begun[0]}` with that one alone" if begun else ""
        raise Stopped(how + one) from error


def require_importable(configs: Sequence[RunConfig]) -> None:
    """Refuse classes that other processes cannot import."""
    for config in configs:
        for name, target in config.classes.items():
            if target.startswith("__main__:") or "<locals>" in target:
                raise SettingError(
                    f"{target} ({name} of {config.label}) exists only in this program, and each stack runs in a "
                    "process of its own: define the class at the top level of a module, or run the systems one after "
                    "the other with neoteny.lab.run."
                )


def _distinct(configs: Sequence[RunConfig], out: str | Path) -> list[str]:
    """A label for each: the name of its folder, with the benchmark if there are several."""
    folders = [folder_of(config, out) for config in configs]
    for path in folders:
        if folders.count(path) > 1:
            raise RunFolderError(f"Two of the runs would go into the same folder {path}: give them different --out.")
    several = len({config.benchmark for config in configs}) > 1
    return [f"{config.benchmark}/{config.label}" if several else config.label for config in configs]
