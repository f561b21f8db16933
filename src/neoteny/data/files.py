"""Where a data file is: in the user's folder, or in the cache, where it is downloaded once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from neoteny.data.cache import cache_folder
from neoteny.data.download import Remote, download
from neoteny.errors import DataError

__all__ = ["ENVIRONMENT_VARIABLE", "locate", "named_folder", "what_named"]

ENVIRONMENT_VARIABLE = "NEOTENY_DATA"
"""The environment variable that names the folder of the data sets, if no option does."""


def named_folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """The user's folder of data sets: `data_dir`, or else the one that `NEOTENY_DATA` names, or else None.

    >>> str(named_folder("data"))
    'data'
    """
    named = data_dir if data_dir is not None else os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named).expanduser() if named else None


def what_named(data_dir: str | os.PathLike[str] | None) -> str:
    """The origin of the folder's name, for messages."""
    return "the data directory" if data_dir is not None else ENVIRONMENT_VARIABLE


def locate(
    data_set: str, remote: Remote, data_dir: str | os.PathLike[str] | None, installed: Sequence[Path] = ()
) -> Path:
    """The path of a file of a data set.

    If `data_dir` or the environment variable `NEOTENY_DATA` names a folder, the file must be there, directly or in a
    folder with the name of the data set, or where a package of the system puts it; nothing is downloaded then.
    Otherwise it is downloaded once into the cache, unless such a package has brought it.

    Args:
        data_set: the name of the data set and of its folder.
        remote: the file, and where it can be downloaded.
        data_dir: the folder of the data sets.
        installed: folders where a package of the system puts the file.

    Raises:
        DataError: the file is not in the folder, or could not be downloaded.
    """
    folder = named_folder(data_dir)
    places = [place / remote.name for place in installed]
    if folder is not None:
        places = [folder / data_set / remote.name, *places, folder / remote.name]
    for path in places:
        if path.is_file():
            return path
    if folder is None:
        return download(remote, cache_folder() / data_set / remote.name)
    source = what_named(data_dir)
    raise DataError(
        f"{places[0]} is missing: {source} names {folder}, but there is no {remote.name} in it, nor in its folder "
        f"{data_set}. Put the file there (it can be had from {remote.urls[0]}), or leave {source} out to have it "
        "fetched."
    )
