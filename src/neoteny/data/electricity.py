"""Hourly electricity demand of Victoria, Australia, in the first 150 days of 2012: 3,600 values.

They come with the package statsmodels, among the files of its tests.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path

import numpy as np

from neoteny.data.files import named_folder
from neoteny.errors import DataError

__all__ = ["electricity", "find_electricity"]

_NAME = "mstl_elec_vic.csv"
_SHA256 = "e772d225333d969376ce7429e518c6a3b6b69d620c73c6c4959b806d3e947a23"
_CURE = f"Install the package that has it (pip install statsmodels), or put {_NAME} into the folder of the data sets."


def electricity(data_dir: str | os.PathLike[str] | None = None) -> np.ndarray:
    """The demand of every hour from 2012-01-01 00:00 (a Sunday), in megawatts, float64 [3600].

    The file `mstl_elec_vic.csv` is read from `data_dir`, or else from the folder that the environment variable
    `NEOTENY_DATA` names (directly, or in its folder `electricity`), or else from the installed package statsmodels. Its
    checksum is checked.

    Args:
        data_dir: the folder of the data sets.

    Raises:
        DataError: the file is missing or damaged.

    >>> electricity()[:3].round()  # doctest: +SKIP
    array([7927., 7902., 7256.])
    """
    path = find_electricity(data_dir)
    if path is None:
        raise DataError(f"{_NAME} is missing: neither the folder of the data sets nor statsmodels has it. {_CURE}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise DataError(f"{path} is another file, or damaged: its checksum is wrong. {_CURE}")
    return np.array([float(line.split(b",")[1]) for line in content.splitlines()[1:]])


def find_electricity(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """Where the file is, in the user's folder or else in the package statsmodels; None if it is not there."""
    folder, package = named_folder(data_dir), importlib.util.find_spec("statsmodels")
    places = [] if folder is None else [folder / "electricity" / _NAME, folder / _NAME]
    if package is not None and package.origin:
        places.append(Path(package.origin).parent / "tsa" / "stl" / "tests" / "results" / _NAME)
    return next((path for path in places if path.is_file()), None)
