"""Slim copies of finished run folders, small and free of private facts, to be committed.

A copy has what figures, tables and claims need: `config.yaml` and `metrics.parquet` unchanged, and those parts of
`provenance.json` that say how the numbers were made (`KEPT`). It is read as the folder itself is; it cannot be resumed.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from neoteny.errors import RunFolderError
from neoteny.report.files import write
from neoteny.report.runs.folders import UNFINISHED, RunFrame, read_folder

__all__ = ["KEPT", "archive", "public_command", "public_provenance"]

KEPT = ("versions", "cpu", "git_commit", "seconds", "command", "data", "environment", "phases", "metrics_sha256")
_FOLDER = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)
_PLACES = ("--data-dir", "--out", "--config")  # where things lay on one machine


def archive(folders: Sequence[str | Path], to: str | Path) -> list[Path]:
    """Copy finished run folders to `to/<benchmark>/<name of the folder>`.

    Everything is checked before anything is written. A copy that is there already, and equal, stays.

    Args:
        folders: of runs.
        to: where the copies go.

    Returns:
        The copies' folders.

    Raises:
        RunFolderError: a folder that holds no run, or an unfinished one, or whose copy is there with other numbers, or
            would take the place of the folder itself.
    """
    copies: dict[Path, dict[str, bytes]] = {}
    for folder in map(Path, folders):
        if not (folder / "config.yaml").is_file():
            raise RunFolderError(f"{folder} is no run folder (it has no config.yaml): name the folders of single runs.")
        frame = read_folder(folder)
        if not (folder / "metrics.parquet").is_file() or any(note.startswith(UNFINISHED) for note in frame.notes):
            raise RunFolderError(
                f"{folder} is not finished: go on with it by `neoteny resume {folder}`, then archive it."
            )
        if not _FOLDER.fullmatch(frame.benchmark):
            raise RunFolderError(
                f"{folder / 'config.yaml'} says benchmark: {frame.benchmark!r}, which is no name of a benchmark and "
                "could lead out of the folder of copies: restore the file."
            )
        copy = Path(to) / frame.benchmark / folder.resolve().name
        if copy.resolve() == folder.resolve():  # the run would lose what a copy leaves out
            raise RunFolderError(f"{folder} would be replaced by its own copy: give another --to.")
        content = _content(folder, frame)
        if copies.setdefault(copy, content) != content:
            raise RunFolderError(f"{folder} would be copied to {copy}, as another folder would: archive them apart.")
        there = {name: (copy / name).read_bytes() for name in content if (copy / name).exists()}
        if any(there.get(name, content[name]) != content[name] for name in ("config.yaml", "metrics.parquet")):
            raise RunFolderError(
                f"{copy} holds another run, which is never overwritten: delete it, or give another --to."
            )
    for copy, content in copies.items():
        for name, data in content.items():
            write(copy / name, data)
    return list(copies)


def public_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a run's provenance that are kept: nothing about one machine's folders, names or times."""
    kept = {name: provenance[name] for name in KEPT if name in provenance}
    if "command" in kept:
        kept["command"] = public_command(str(kept["command"]))
    if isinstance(kept.get("data"), Mapping):
        kept["data"] = {key: _bare(value) if isinstance(value, str) else value for key, value in kept["data"].items()}
    return kept


def public_command(command: str) -> str:
    """A command without the folders of the machine that it ran on.

    >>> public_command("/home/me/bin/neoteny run x --runs 3 --data-dir /data --out=runs/y")
    'neoteny run x --runs 3'
    """
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote: split where it is certain
        words = command.split()
    kept: list[str] = []
    skip = False
    for word in words:
        option = word.partition("=")[0].replace("_", "-")
        if skip:
            skip = False
        elif option in _PLACES:
            skip = "=" not in word
        else:
            kept.append(_bare(word))
    return shlex.join(kept)


def _bare(word: str) -> str:
    """The last part of a path from a root; anything else as it is."""
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(word.partition("=")[2] or word)
        if path.is_absolute() or str(path).startswith("~"):
            return word[: len(word) - len(word.partition("=")[2] or word)] + path.name
    return word


def _content(folder: Path, frame: RunFrame) -> dict[str, bytes]:
    facts = json.dumps(public_provenance(frame.provenance), indent=2, ensure_ascii=False) + "\n"
    return {
        "config.yaml": (folder / "config.yaml").read_bytes(),
        "metrics.parquet": (folder / "metrics.parquet").read_bytes(),
        "provenance.json": facts.encode(),
    }
