"""Where a data file is: in a folder the user named, or in the cache, fetched there once."""

from __future__ import annotations

import os
from pathlib import Path

from neoteny.data.cache import cache_folder
from neoteny.data.download import Remote, download
from neoteny.errors import DataError

__all__ = ["ENVIRONMENT_VARIABLE", "locate", "named_folder", "what_named"]

ENVIRONMENT_VARIABLE = "NEOTENY_DATA"
"""Names the folder of the data sets where no option does."""


def named_folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """The folder of the data sets that the user named: `data_dir`, else what `NEOTENY_DATA` says, else None.

    >>> str(named_folder("data"))
    'data'
    """
    named = data_dir if data_dir is not None else os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named).expanduser() if named else None


def what_named(data_dir: str | os.PathLike[str] | None) -> str:
    """What named the folder, for messages."""
    return "the data directory" if data_dir is not None else ENVIRONMENT_VARIABLE


def locate(data_set: str, remote: Remote, data_dir: str | os.PathLike[str] | None) -> Path:
    """The path of a file of a data set.

    With `data_dir`, or else the environment variable `NEOTENY_DATA`, the file must lie there, in the folder named after
    the data set or directly; nothing is fetched then. Without either it is fetched into the user's cache, once.

    Args:
        data_set: the data set's name, which is its folder's.
        remote: the file, and where it can be had.
        data_dir: the folder that the user named, if any.

    Raises:
        DataError: the file is not in the folder named, or could not be fetched.
    """
    folder = named_folder(data_dir)
    if folder is None:
        return download(remote, cache_folder() / data_set / remote.name)
    tried = [folder / data_set / remote.name, folder / remote.name]
    for path in tried:
        if path.is_file():
            return path
    source = what_named(data_dir)
    raise DataError(
        f"{tried[0]} is missing: {source} names {folder}, but there is no {remote.name} in it, nor in its folder "
        f"{data_set}. Put the file there (it can be had from {remote.urls[0]}), or leave {source} out to have it "
        "fetched."
    )
