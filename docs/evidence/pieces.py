"""The pieces of a study: files that several processes may make side by side, and what was written about them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neoteny.report.runs.folders import read_folder


@contextmanager
def claimed(path: Path, claims: Path) -> Iterator[bool]:
    """Whether no other process works on the piece; the claim, a file in `claims`, ends with this process."""
    own = claims / f"{path.parent.name}-{path.stem}.lock"
    own.parent.mkdir(parents=True, exist_ok=True)
    with own.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def stacks(archive: Path, name: Path) -> dict[Path, int]:
    """The stacks in `archive/seed-S/name`, S being the first seed, without a gap; and how many runs each has."""
    found: dict[Path, int] = {}
    while (folder := archive / f"seed-{sum(found.values())}" / name).exists():
        found[folder] = read_folder(folder).runs
    return found


def remarks(name: str) -> str:
    """What was written by hand about a page's numbers, if anything."""
    path = Path(__file__).with_name(f"{name}.remarks.md")
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def save(path: Path, found: Mapping[str, Any]) -> None:
    """Write a piece, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(part := path.with_suffix(".part.npz"), **found)
    os.replace(part, path)
