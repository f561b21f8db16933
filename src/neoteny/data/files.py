"""Where a data file is: in a folder the user named, or in the cache, fetched there once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neoteny.errors import DataError

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["ENVIRONMENT_VARIABLE", "download", "locate"]

ENVIRONMENT_VARIABLE = "NEOTENY_DATA"
"""Names the folder of the data sets where no option does."""

_TIMEOUT = 30  # seconds without an answer


def locate(data_set: str, name: str, data_dir: str | os.PathLike[str] | None, urls: Sequence[str], sha256: str) -> Path:
    """The path of a file of a data set.

    With `data_dir`, or else the environment variable `NEOTENY_DATA`, the file must lie there, in the folder named after
    the data set or directly; nothing is fetched then. Without either it is fetched into the user's cache, once.

    Arguments:
        data_set: the data set's name, which is its folder's.
        name: the file's name.
        data_dir: the folder that the user named, if any.
        urls: where the file can be fetched, in order of preference.
        sha256: the checksum of the file to be fetched.

    Raises:
        DataError: the file is not in the folder named, or could not be fetched.
    """
    named = data_dir if data_dir is not None else os.environ.get(ENVIRONMENT_VARIABLE) or None
    if named is None:
        import pooch

        return download(urls, Path(pooch.os_cache("neoteny")) / data_set / name, sha256)
    folder = Path(named).expanduser()
    tried = [folder / data_set / name, folder / name]
    for path in tried:
        if path.is_file():
            return path
    source = "the data directory" if data_dir is not None else ENVIRONMENT_VARIABLE
    raise DataError(
        f"{tried[0]} is missing: {source} names {folder}, but there is no {name} in it, nor in its folder {data_set}. "
        f"Put the file there (it can be had from {urls[0]}), or leave {source} out to have it fetched."
    )


def download(urls: Sequence[str], path: Path, sha256: str) -> Path:
    """Fetch a file unless it is there already and whole; show how far it is.

    The file takes its name only when it is complete and its checksum is right, so that what an interrupted download
    leaves behind is never taken for it.

    Arguments:
        urls: where it can be fetched; the next one is tried when one fails.
        path: where it shall be.
        sha256: its checksum.

    Raises:
        DataError: no URL gave the file, or it cannot be written.
    """
    import pooch
    from pooch.downloaders import HTTPDownloader

    pooch.get_logger().setLevel("WARNING")
    failures = []
    for url in urls:
        bar = _Bar(path.name)
        try:
            fetched = pooch.retrieve(
                url,
                known_hash=f"sha256:{sha256}",
                fname=path.name,
                path=path.parent,
                downloader=HTTPDownloader(progressbar=bar, timeout=_TIMEOUT),  # pyright: ignore[reportArgumentType]
            )
            return Path(fetched)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
            failures.append(f"{url}: {_cause(error)}")
        finally:
            bar.close()
    raise DataError(
        f"{path} could not be fetched:\n  "
        + "\n  ".join(failures)
        + "\nCheck the connection and the disk and try again, "
        f"or fetch {path.name} by hand and name its folder with --data-dir or {ENVIRONMENT_VARIABLE}."
    )


def _cause(error: Exception) -> str:
    if isinstance(error, ValueError) and "hash" in str(error):
        return "what came has a wrong checksum; it was cut off or is another file"
    return f"{type(error).__name__}: {error}"


class _Bar:
    """A progress bar as pooch drives it, drawn by rich; it appears with the first bytes."""

    def __init__(self, label: str):
        self.label, self.total = label, 0
        self._progress: Progress | None = None

    def update(self, count: int) -> None:
        """`count` more bytes have come."""
        if self._progress is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._progress = Progress(*columns, console=Console(stderr=True))
            self._task = self._progress.add_task(self.label, total=self.total or None)
            self._progress.start()
        self._progress.advance(self._task, count)

    def reset(self) -> None:
        """Back to no bytes; pooch does so before it sets the bar to its end."""
        if self._progress is not None:
            self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
