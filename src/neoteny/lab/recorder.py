"""Records a stack of runs as tidy rows: buffered, written as Parquet in parts, joined at the end.

Rows are added only at the ends of bins and at measurements, so they are few. They stay in memory until the next
checkpoint, then go to `metrics/part-00001.parquet` and so on. A checkpoint lists the checksums of the parts that belong
to it; on a resume these are checked, and newer parts are deleted. The finished `metrics.parquet` holds only the
numbers, in a fixed order: two equal runs write equal bytes, however their parts were divided.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from neoteny.errors import NeotenyError, RunFolderError
from neoteny.lab.former_names import METRICS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["COLUMNS", "SORT", "Recorder", "Unrecorded", "atomically", "by_run", "checksum", "read_frame", "read_parts"]

COLUMNS: dict[str, Any] = {
    "run": pl.Int32,
    "step": pl.Int64,
    "task": pl.Int32,
    "metric": pl.String,
    "layer": pl.String,
    "value": pl.Float64,
}
"""The columns of `metrics.parquet`."""
SORT = ("step", "metric", "layer", "run")
"""The order of its rows."""

_PART_ROWS = 2**18  # rows held in memory at most: about 20 MB


class Unrecorded:
    """Takes rows and keeps nothing, for a run that is only looked at."""

    def add(self, metric: str, values: ArrayLike, **where: Any) -> None:
        """Forget them."""


def atomically(path: Path, write: Any, shared: bool = False) -> None:
    """Let `write(temporary)` write a file, then move it into place: a reader sees the old file or the new one.

    Args:
        path: of the file.
        write: writes it.
        shared: whether two processes may write it at a time, as no lock keeps them from it.

    Raises:
        RunFolderError: it cannot be written, as on a full disk; the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp" if shared else f".{path.name}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except NeotenyError:
        raise
    except Exception as error:  # a full disk is an OSError, a PolarsError or a RuntimeError, depending on who writes
        cure = "" if shared else " A run goes on from its last checkpoint by `neoteny resume`."
        raise RunFolderError(
            f"{path} cannot be written ({type(error).__name__}: {error}): make room on the disk, or give another "
            f"folder that you may write to.{cure}"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # the new name must survive a power cut, too
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class Recorder:
    """Takes rows and writes them into a run folder.

    Args:
        folder: the run folder.
        runs: how many runs the stack has.

    Attributes:
        hear: is called with each metric, its values, the step and the layer.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> recorder = Recorder(folder, runs=2)
    >>> recorder.add("loss", [0.5, 0.25], step=100, task=0)
    >>> recorder.finish()["value"].to_list()
    [0.5, 0.25]
    """

    def __init__(self, folder: Path, runs: int):
        self._folder, self._runs = folder, runs
        self.hear: Callable[[str, NDArray[np.float64], int, str], None] = lambda *_: None
        self._rows: list[tuple[np.ndarray, np.ndarray, int, int, str, str]] = []
        self._sums: list[str]  # of the parts so far
        self._buffered, self._sums = 0, []

    def add(
        self, metric: str, values: ArrayLike, *, step: int, task: int, layer: str = "", only: ArrayLike | None = None
    ) -> None:
        """Add one value for each run.

        Args:
            metric: its name.
            values: [R]; NaN where a measure is not defined, such as a share of no units.
            step: examples seen so far.
            task: the task that the last of them belonged to.
            layer: the layer's name; empty for the whole network.
            only: bool [R], the runs to record; all by default.
        """
        runs = np.arange(self._runs) if only is None else np.flatnonzero(np.asarray(only))
        chosen = np.asarray(values, dtype=np.float64).reshape(self._runs)[runs]
        if not len(runs):
            return
        self.hear(metric, chosen, step, layer)
        self._rows.append((runs, chosen, step, task, metric, layer))
        self._buffered += len(runs)
        if self._buffered >= _PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory as the next part."""
        if not self._rows:
            return
        runs, values, *constants = zip(*self._rows, strict=True)
        lengths = [len(part) for part in runs]
        columns: dict[str, Any] = {"run": np.concatenate(runs), "value": np.concatenate(values)}
        for name, each in zip(("step", "task", "metric", "layer"), constants, strict=True):
            columns[name] = [value for value, length in zip(each, lengths, strict=True) for _ in range(length)]
        frame = pl.DataFrame({name: pl.Series(columns[name], dtype=kind) for name, kind in COLUMNS.items()})
        (self._folder / "metrics").mkdir(exist_ok=True)
        part = self._part(len(self._sums) + 1)
        atomically(part, frame.write_parquet)
        self._sums.append(checksum(part))
        self._rows, self._buffered = [], 0

    def finish(self, sealed: Callable[[str], None] = lambda checksum: None) -> pl.DataFrame:
        """Join the parts into `metrics.parquet`, sorted, and remove them.

        Args:
            sealed: is called with the file's checksum before the file is moved into place.
        """
        self.flush()
        self._check()
        frame = read_parts(self._folder, len(self._sums))

        def write(path: Path) -> None:
            # Fixed settings, one chunk, single-threaded order: the bytes depend on the rows alone.
            frame.rechunk().write_parquet(path, compression="zstd", row_group_size=_PART_ROWS)
            sealed(checksum(path))

        atomically(self._folder / "metrics.parquet", write)
        self.clear()
        return frame

    def clear(self) -> None:
        """Remove the parts."""
        self._drop_parts_after(0)
        parts = self._folder / "metrics"
        if parts.is_dir() and not any(parts.iterdir()):
            parts.rmdir()

    def state_dict(self) -> dict[str, Any]:
        """The parts and their checksums; rows in memory are written first."""
        self.flush()
        return {"parts": len(self._sums), "sums": list(self._sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after these parts; newer ones are deleted, as their rows will be recorded again.

        Raises:
            RunFolderError: a part that the checkpoint counts on is missing or was changed.
        """
        # earlier versions kept no checksums: then the parts are taken as they are
        sums = state.get("sums") or ["" for _ in range(int(state["parts"]))]
        self._rows, self._buffered, self._sums = [], 0, [str(one) for one in sums]
        self._check()
        self._drop_parts_after(len(self._sums))

    def _check(self) -> None:
        """Refuse parts that are missing or have other bytes than when they were written."""
        for number, known in enumerate(self._sums, start=1):
            path = self._part(number)
            wrong = "is missing" if not path.exists() else "was changed" if known not in ("", checksum(path)) else ""
            if wrong:
                raise RunFolderError(
                    f"{path} {wrong}, though the checkpoint needs it as it was written: the folder is damaged; "
                    "restore the file, or delete the folder and run it again."
                )

    def _part(self, number: int) -> Path:
        return self._folder / "metrics" / f"part-{number:05d}.parquet"

    def _drop_parts_after(self, number: int) -> None:
        kept = {self._part(n).name for n in range(1, number + 1)}
        for pattern in ("part-*.parquet", ".part-*.tmp"):
            for path in (self._folder / "metrics").glob(pattern):
                if path.name not in kept:
                    path.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


def by_run(rows: pl.DataFrame, runs: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The rows of one metric and layer as an array.

    Args:
        rows: with the columns run, step and value.
        runs: R.

    Returns:
        The steps, [steps], and the values, [R, steps]; NaN where a run has none, and where one is not finite. A step is
        there as often as a run has values of it: several episodes of an agent may end at the same one.
    """
    repeat = np.zeros(rows.height, np.int64)
    if rows.select("run", "step").n_unique() < rows.height:
        repeat = rows.select(pl.int_range(pl.len()).over("run", "step")).to_series().to_numpy()
    most = repeat.max(initial=0) + 1
    places, column = np.unique(rows["step"].to_numpy() * most + repeat, return_inverse=True)
    values = np.full((runs, len(places)), np.nan)
    values[rows["run"].to_numpy(), column] = rows["value"].to_numpy()
    values[~np.isfinite(values)] = np.nan
    return places // most, values


def read_frame(path: Path) -> pl.DataFrame:
    """The rows of one file of metrics, with the present names of metrics.

    Raises:
        OSError, polars.exceptions.PolarsError: it cannot be read, or holds something else.
    """
    # From bytes, not memory-mapped, so that every system can remove or replace the file.
    frame = pl.read_parquet(path.read_bytes()).select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
    return frame.with_columns(pl.col("metric").replace(METRICS))


def read_parts(folder: Path, count: int | None = None) -> pl.DataFrame:
    """The rows of a run's parts, sorted: of the first `count` parts, or of all.

    Raises:
        RunFolderError: a part cannot be read.
    """
    paths = sorted((folder / "metrics").glob("part-*.parquet"))[:count]
    frames = [pl.DataFrame(schema=COLUMNS)]
    for path in paths:
        try:
            frames.append(read_frame(path))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunFolderError(
                f"{path} cannot be read, it is truncated or no Parquet ({error}): restore it, or delete the folder "
                "and run it again."
            ) from error
    # episodes of one run may end at the same step: they keep the order in which they were recorded
    return pl.concat(frames).sort(SORT, maintain_order=True)
