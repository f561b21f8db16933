"""A run folder kept on a store as well: copied there at each checkpoint, fetched from there to go on elsewhere.

The store is whatever fsspec opens: `s3://bucket/runs`, `gs://...`, `file:///mnt/runs`. What a checkpoint needs is
copied before it, and what it needs no more is removed after it, so the copy is complete at every moment. A file appears
in one piece, or not at all. Nothing locks a store: two machines must not train the same stack at a time.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from neoteny.errors import MissingPackageError, RunFolderError, SettingError
from neoteny.lab.folder import RunFolder

__all__ = ["Mirror", "below", "fetch_below", "fetched"]

LAST = ("checkpoint.pt", "metrics.parquet")
"""These say what else is there, so they are copied after everything else, in this order."""


def below(mirror: str, folder: Path, out: Path) -> str:
    """The URL of a run folder below that of a directory of run folders; empty where there is no mirror.

    >>> below("s3://bucket/runs/", Path("out/trainability-v1/cbp"), Path("out"))
    's3://bucket/runs/trainability-v1/cbp'
    """
    return f"{mirror.rstrip('/')}/{PurePosixPath(folder.relative_to(out))}" if mirror else ""


class Mirror:
    """The copy of one run folder.

    Args:
        url: of the copy.
        folder: the run folder here.

    Raises:
        MissingPackageError: fsspec, or the package for this kind of store, is not installed.
        SettingError: no store has such a URL.
    """

    def __init__(self, url: str, folder: Path):
        self._url, self._folder = url, folder
        self._store, self._root = _opened(url)
        self._known: dict[str, tuple[int, int]] = {}  # what was copied, as it was

    def push(self) -> None:
        """Copy what is new, and remove what is no longer there.

        Raises:
            RunFolderError: the store does not take it.
        """
        here = {str(PurePosixPath(path.relative_to(self._folder))): path for path in _files(self._folder)}
        try:
            for name in sorted(here, key=lambda name: (LAST.index(name) if name in LAST else -1, name)):
                status = here[name].stat()
                now = status.st_size, status.st_mtime_ns
                if self._known.get(name) != now:
                    self._copy(here[name], f"{self._root}/{name}")
                    self._known[name] = now
            for name in self._there() - here.keys():
                self._store.rm_file(f"{self._root}/{name}")
                self._known.pop(name, None)
        except Exception as error:  # each store has its own
            raise RunFolderError(
                f"{self._url} cannot be written ({type(error).__name__}: {error}): make it writable; {self._folder} is "
                f"whole, and `neoteny resume {self._folder}` goes on."
            ) from error

    def fetch(self) -> None:
        """Get the folder from the store, where it is absent here, or further on there.

        A run that is finished here and not there, as its last copy failed, is copied there.

        Raises:
            RunFolderError: the store does not give or take it, or another process is at the folder here.
        """
        ours = RunFolder(self._folder)
        try:
            names = self._there()
            behind = ours.status == "unfinished" and self._step() >= self._step_there(names)
        except Exception as error:  # each store has its own
            raise self._unreadable(error) from error
        if ours.status == "finished":
            if "metrics.parquet" not in names:
                self.push()
            return
        if "config.yaml" not in names or behind:
            return
        if ours.status == "unfinished":
            ours.lock()
        part = self._folder.with_name(f".{self._folder.name}.part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            for name in names:
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                self._store.get_file(f"{self._root}/{name}", str(part / name))
            shutil.rmtree(self._folder, ignore_errors=True)
            os.replace(part, self._folder)
        except Exception as error:
            raise self._unreadable(error) from error
        finally:
            ours.unlock()

    def _step(self) -> float:
        """How far the run is here by its last checkpoint."""
        return float(RunFolder(self._folder).read_provenance().get("checkpoint", 0))

    def _step_there(self, names: set[str]) -> float:
        """How far it is on the store; infinite if it has ended."""
        if "metrics.parquet" in names:
            return math.inf
        if "provenance.json" not in names:
            return 0.0
        said = json.loads(self._store.cat_file(f"{self._root}/provenance.json"))
        return float(said.get("checkpoint", 0))

    def _unreadable(self, error: Exception) -> RunFolderError:
        return RunFolderError(
            f"{self._url} cannot be read ({type(error).__name__}: {error}): look at the store, or leave the mirror out."
        )

    def holds(self) -> list[str]:
        """The run folders in it, where it is the copy of a directory of them."""
        try:
            return sorted(name.rpartition("/")[0] for name in self._there() if name.endswith("/config.yaml"))
        except Exception as error:
            raise self._unreadable(error) from error

    def _there(self) -> set[str]:
        """Names of the files of the copy."""
        self._store.invalidate_cache()
        if not self._store.exists(self._root):
            return set()
        root = self._root.rstrip("/") + "/"
        return {path[path.index(root) + len(root) :] for path in self._store.find(self._root)}

    def _copy(self, path: Path, to: str) -> None:
        self._store.makedirs(to.rpartition("/")[0], exist_ok=True)
        with self._store.transaction, path.open("rb") as ours, self._store.open(to, "wb") as theirs:
            shutil.copyfileobj(ours, theirs, 2**20)


def fetched(url: str, folder: Path) -> None:
    """Get a run folder from its mirror, as `Mirror.fetch`; nothing where there is no mirror."""
    if url:
        Mirror(url, folder).fetch()


def fetch_below(mirror: str, out: Path) -> None:
    """Get all run folders of a mirrored directory, as `Mirror.fetch`; nothing where there is no mirror."""
    if mirror:
        for name in Mirror(mirror, out).holds():
            Mirror(f"{mirror.rstrip('/')}/{name}", out / name).fetch()


def _files(folder: Path) -> list[Path]:
    """What belongs to a run folder: no hidden files, such as locks and halves of files."""
    inside = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in inside if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _opened(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise MissingPackageError(f"fsspec is not installed ({error}): pip install 'neoteny[cluster]'.") from error
    try:
        store, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingPackageError(f"mirror = {url!r} needs another package: {error}.") from error
    except Exception as error:
        raise SettingError(
            f"mirror = {url!r} cannot be opened ({type(error).__name__}: {error}): give a URL of fsspec, such as "
            "s3://bucket/runs."
        ) from error
    return store, root.rstrip("/")
