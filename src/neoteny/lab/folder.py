"""The folder of a run: its files and its status.

    config.yaml         the resolved configuration, and how it is computed here (`execution`); written first
    provenance.json     versions, hardware, command, git commit, seconds
    checkpoint.pt       the whole state at the last checkpoint
    metrics/            the metrics so far, in parts
    replay/             what agents have met and learn from again, in parts; removed at the end
    metrics.parquet     all metrics; written last, so a folder that has it is finished

A run is never overwritten. A process that writes into a folder holds its lock; the system releases the lock when the
process ends, for whatever reason.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl

import neoteny
from neoteny.errors import NeotenyError, RunFolderError
from neoteny.lab import checkpoint
from neoteny.lab.config import RunConfig, as_now
from neoteny.lab.execution import Execution
from neoteny.lab.plain import read_yaml, write_yaml
from neoteny.lab.recorder import Recorder, atomically, checksum, read_frame, read_parts

__all__ = ["RunFolder", "provenance", "require_unchanged"]

_PACKAGES = ("torch", "numpy", "polars")
_MADE = {"device": "device", "strategy": "strategy", "compile": "compiled"}
"""What the provenance says about the learner, by the name of the setting."""


class RunFolder:
    """One run folder.

    Args:
        path: where it is or will be.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lock: int | None = None

    @property
    def checkpoint(self) -> Path:
        """The file of the last checkpoint."""
        return self.path / "checkpoint.pt"

    @property
    def replay(self) -> Path:
        """The folder of replay buffers."""
        return self.path / "replay"

    def drop_replay(self) -> None:
        """Remove what only a run that goes on needs."""
        for path in self.replay.glob("*replay-*"):
            path.unlink(missing_ok=True)
        if self.replay.is_dir() and not any(self.replay.iterdir()):
            self.replay.rmdir()

    @property
    def status(self) -> Literal["absent", "unfinished", "finished"]:
        """Whether the folder holds a run, and whether that has finished.

        Raises:
            RunFolderError: the path is something other than a run folder.
        """
        try:
            if not self.path.exists() or (self.path.is_dir() and not self._visible()):
                return "absent"
            if not (self.path / "config.yaml").is_file():
                raise RunFolderError(
                    f"{self.path} exists and is no run folder (it has no config.yaml): name the folder of a run, "
                    "or give another --out."
                )
        except (OSError, ValueError) as error:  # no permission, a name that is too long or has a null character
            raise RunFolderError(f"{self.path} cannot be looked at ({error}): give another folder.") from error
        return "finished" if (self.path / "metrics.parquet").exists() else "unfinished"

    def create(self, config: RunConfig, execution: Mapping[str, Any] | None = None) -> None:
        """Make the folder of a new run and take its lock.

        Args:
            config: what is run.
            execution: how it is computed here, as far as that decides the numbers (`Training.decided`).

        Raises:
            RunFolderError: there is a run in it already, or it cannot be written.
        """
        self._require_absent()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self.path} cannot be made ({error}): give another --out.") from error
        self.lock()
        try:
            self._require_absent()  # another process may have begun, and even finished, before the lock was taken
            text = write_yaml({**config.to_dict(), **({"execution": dict(execution)} if execution else {})})
            atomically(self.path / "config.yaml", lambda path: path.write_text(text, encoding="utf-8"))
        except BaseException:
            self.unlock()
            raise

    def _require_absent(self) -> None:
        match self.status:
            case "finished":
                raise RunFolderError(
                    f"{self.path} holds a finished run, which is never overwritten: keep it with "
                    "--resume, give another --out, or delete the folder."
                )
            case "unfinished":
                if self._lock is None:  # another process may be at it: then this is what to say
                    self.lock()
                    self.unlock()
                raise RunFolderError(
                    f"{self.path} holds an unfinished run: resume it with `neoteny resume {self.path}`, "
                    "give another --out, or delete the folder."
                )

    def lock(self) -> None:
        """Keep other processes from writing here, until `unlock` or the end of this process.

        Raises:
            RunFolderError: another process does.
        """
        try:
            import fcntl
        except ImportError:  # not on Windows
            return
        try:
            self._lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(f"{self.path} cannot be written ({error}): make it writable.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.unlock()
            raise RunFolderError(
                f"{self.path} is being written by another process: wait for it, or stop it, then try again."
            ) from error
        except OSError as error:
            self.unlock()
            raise RunFolderError(
                f"{self.path} cannot be locked ({error}): its file system has no locks, so two processes could write "
                "there at a time. Mount it with locks, or give a folder of another one."
            ) from error

    def unlock(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def config(self) -> RunConfig:
        """The configuration of the run.

        Raises:
            RunFolderError: there is no run folder, or its configuration cannot be used.
        """
        if self.status == "absent":
            raise RunFolderError(f"{self.path} is no run folder: there is nothing there. `neoteny run` makes one.")
        path = self.path / "config.yaml"
        try:
            return RunConfig.from_yaml(path.read_text(encoding="utf-8"))
        except (NeotenyError, OSError, UnicodeDecodeError, TypeError, AttributeError, KeyError) as error:
            raise RunFolderError(
                f"{path} cannot be used ({error}): correct it, or delete the folder and run it again."
            ) from error

    def execution(self) -> dict[str, Any]:
        """How the run was started, as arguments of `Execution`; of what is not known there is nothing.

        What decides the numbers is in `config.yaml`, and the provenance only says it once more, beside what decides
        none: earlier versions had it there alone.

        Raises:
            RunFolderError: `config.yaml` cannot be read.
        """
        said = self.read_provenance()
        asked, made = (part if isinstance(part, dict) else {} for part in (said.get("execution"), said.get("training")))
        known = {name: value for name, value in asked.items() if name in Execution.__dataclass_fields__}
        known |= {name: made[key] for name, key in _MADE.items() if key in made}
        path = self.path / "config.yaml"
        try:
            stated = read_yaml(path.read_text(encoding="utf-8"), str(path)).get("execution", {})
        except (NeotenyError, OSError, UnicodeDecodeError) as error:
            raise RunFolderError(f"{path} cannot be read ({error}): restore it, or run it again.") from error
        if not isinstance(stated, dict):
            raise RunFolderError(f"{path}: execution is {stated!r}, not settings: restore the file.")
        return known | stated

    def tidy(self) -> None:
        """Remove what a process that was killed has left beside a finished run."""
        if self.status == "finished" and (
            self._temporary() or (self.path / "metrics").is_dir() or self.replay.is_dir()
        ):
            self.lock()
            try:
                Recorder(self.path, 1).clear()
                self.drop_replay()
                for path in self._temporary():
                    path.unlink(missing_ok=True)
            finally:
                self.unlock()

    def _temporary(self) -> list[Path]:
        return list(self.path.glob(".*.tmp"))

    def state(self, config: RunConfig) -> dict[str, Any]:
        """What the last checkpoint holds.

        Args:
            config: the configuration that it should belong to.

        Raises:
            CheckpointError: there is none, it is damaged, or belongs to another configuration.
        """
        return checkpoint.load(self.checkpoint, config.to_dict(), as_now=as_now)

    def metrics(self) -> pl.DataFrame:
        """The metrics recorded so far.

        Raises:
            RunFolderError: they cannot be read.
        """
        path = self.path / "metrics.parquet"
        if not path.exists():
            return read_parts(self.path)
        require_unchanged(path, self.read_provenance())
        try:
            return read_frame(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunFolderError(
                f"{path} cannot be read, it is truncated or no Parquet ({error}): restore it, or delete the folder "
                "and run it again."
            ) from error

    def read_provenance(self) -> dict[str, Any]:
        """What `provenance.json` holds; empty if it is missing or cannot be read, since no result depends on it."""
        try:
            content = json.loads((self.path / "provenance.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write_provenance(self, content: Mapping[str, Any]) -> None:
        """Write `provenance.json`."""
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        atomically(self.path / "provenance.json", lambda path: path.write_text(text, encoding="utf-8"))

    def _visible(self) -> list[Path]:
        return [path for path in self.path.iterdir() if not path.name.startswith(".")]


def require_unchanged(metrics: Path, said: Mapping[str, Any]) -> None:
    """Refuse a `metrics.parquet` that is not as its run wrote it: a flipped bit can be another number.

    Args:
        metrics: the file.
        said: the provenance; that of earlier versions, or none, says nothing about it.

    Raises:
        RunFolderError: it has another checksum.
    """
    if said.get("metrics_sha256", "") not in ("", checksum(metrics)):
        raise RunFolderError(
            f"{metrics} was changed since its run wrote it: restore it, or delete the folder and run it again."
        )


def provenance(command: str | None = None) -> dict[str, Any]:
    """Where and how the numbers are made: versions, platform, processor, command, git commit, time.

    >>> sorted(provenance("neoteny demo"))
    ['command', 'cpu', 'git_commit', 'platform', 'started', 'versions']
    """
    versions = {"neoteny": neoteny.__version__, "python": platform.python_version()}
    return {
        "versions": versions | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "command": command or _command(),
        "git_commit": _git_commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _command() -> str:
    """The command that was typed, without folders outside the working one; `python -m neoteny` counts as `neoteny`."""
    program, *arguments = sys.argv or [""]
    path = Path(program)
    if path.name == "__main__.py":
        return shlex.join([path.parent.name, *arguments])
    if path.suffix != ".py":
        return shlex.join([path.name, *arguments])
    here = path.resolve().relative_to(Path.cwd()) if path.resolve().is_relative_to(Path.cwd()) else path.name
    return shlex.join(["python", str(here), *arguments])


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """The commit of neoteny's own source, with `+` after it if files were changed; None for an installed package."""
    source = Path(neoteny.__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # fails if the repository is not neoteny's
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
