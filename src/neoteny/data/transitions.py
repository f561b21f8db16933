"""Data sets of transitions, from which agents learn: one file, read where it lies on the disk.

A data set is a mapping of arrays over n transitions in order of time, as `neoteny.rl.ReplayBuffer.fill` takes it:

    observations        float32 [n, observations]
    actions             float32 [n, A]
    rewards             float32 [n]
    next_observations   float32 [n, observations]: what the step led to, also where it ended an episode
    terminals           bool [n]: there is nothing after it
    timeouts            bool [n]: the episode was cut off, and what follows would have had a value

The names are D4RL's. In a file they are the arrays of an uncompressed .npz, so that `numpy.load` reads it as well.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoteny.errors import DataError

__all__ = ["FIELDS", "load_transitions", "save_transitions"]

FIELDS: Mapping[str, tuple[Any, int]] = {
    "observations": (np.float32, 2),
    "actions": (np.float32, 2),
    "rewards": (np.float32, 1),
    "next_observations": (np.float32, 2),
    "terminals": (np.bool_, 1),
    "timeouts": (np.bool_, 1),
}
"""The type of each array and how many dimensions it has."""


def require_place(path: str | os.PathLike[str]) -> Path:
    """A path at which a data set can be written; its folder is made.

    Raises:
        DataError: its name does not end in .npz, or its folder cannot be made.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise DataError(f"{path}: a data set of transitions is written as .npz; give a name that ends so.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}): give another place.") from error
    return path


def save_transitions(path: str | os.PathLike[str], transitions: Mapping[str, Any]) -> Path:
    """Write a data set, whole or not at all.

    Args:
        path: of the file, which ends in .npz.
        transitions: the arrays; see the module.

    Returns:
        The path.

    Raises:
        DataError: an array is missing, empty, of another shape or not finite, or the name ends otherwise.

    >>> from tempfile import TemporaryDirectory
    >>> step = {"observations": [[0.0, 1.0]], "actions": [[0.5]], "rewards": [1.0]}
    >>> step |= {"next_observations": [[1.0, 1.0]], "terminals": [False], "timeouts": [True]}
    >>> with TemporaryDirectory() as folder:
    ...     loaded = load_transitions(save_transitions(f"{folder}/one.npz", step))
    ...     loaded["next_observations"].tolist(), type(loaded["rewards"]).__name__
    ([[1.0, 1.0]], 'memmap')
    """
    path = require_place(path)
    arrays = {name: np.asarray(transitions[name], kind) for name, (kind, _) in FIELDS.items() if name in transitions}
    _check(path, arrays)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part.npz")  # another process may write the same one
    try:
        np.savez(temporary, allow_pickle=False, **arrays)  # type: ignore[arg-type] - names are those of FIELDS
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load_transitions(path: str | os.PathLike[str], keys: tuple[str, ...] | None = None) -> dict[str, NDArray[Any]]:
    """A data set: of this library as arrays that lie on the disk, of D4RL or Minari as arrays in memory.

    Args:
        path: an .npz of `save_transitions`, an HDF5 file of D4RL, or of Minari its HDF5 file or its folder.
        keys: the parts of which the observation consists, in order, where the file's observations have parts; see
            `neoteny.data.offline_files`.

    Raises:
        DataError: there is no such file, or it is damaged, empty or of another kind.
        MissingPackageError: for HDF5, h5py is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} is missing: give a data set of transitions (.npz, or HDF5 of D4RL or Minari).")
    if path.is_dir() or path.suffix in (".hdf5", ".h5"):
        from neoteny.data.offline_files import read_hdf5

        arrays = read_hdf5(path, keys)
        arrays = {name: np.asarray(arrays[name], kind) for name, (kind, _) in FIELDS.items() if name in arrays}
    else:
        arrays = _mapped(path)
    _check(path, arrays)
    return arrays


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an uncompressed .npz, where they lie in the file."""
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:  # one file, also if it is replaced meanwhile
            found = {}
            for member in archive.infolist():
                if not member.filename.endswith(".npy"):
                    continue
                if member.compress_type != zipfile.ZIP_STORED:
                    raise DataError(f"{path} is compressed and cannot be read in place: write it by save_transitions.")
                # a local header has 30 bytes, the last four of which are the lengths of the name and of more
                file.seek(member.header_offset + 26)
                file.seek(sum(np.frombuffer(file.read(4), "<u2").tolist()), os.SEEK_CUR)
                version = np.lib.format.read_magic(file)
                read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, fortran, kind = read[version](file)
                if kind.hasobject or fortran:
                    raise DataError(f"{path}: {member.filename} is no plain array: it is no data set of transitions.")
                values = np.memmap(file, kind, "r", file.tell(), shape) if np.prod(shape) else np.empty(shape, kind)
                found[member.filename.removesuffix(".npy")] = values
            if (spoilt := archive.testzip()) is not None:  # in pieces; what is mapped is never checked otherwise
                raise DataError(f"{path} is damaged: the checksum of {spoilt} is wrong. Copy the file again.")
            return found
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as a data set of transitions ({type(error).__name__}: {error}): it is damaged "
            "or of another kind; give an .npz of neoteny, or HDF5 of D4RL or Minari."
        ) from error


def _check(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise an error unless these are transitions."""
    missing = [name for name in FIELDS if name not in arrays]
    if missing:
        raise DataError(
            f"{path} has no array {missing[0]!r} (it has: {', '.join(arrays) or 'nothing'}): a data set of transitions "
            f"has {', '.join(FIELDS)}."
        )
    count = len(arrays["rewards"])
    if count == 0:
        raise DataError(f"{path} has no transitions: there is nothing to learn from.")
    for name, (kind, dimensions) in FIELDS.items():
        values = arrays[name]
        if values.ndim != dimensions or len(values) != count or values.dtype != kind:
            raise DataError(
                f"{path}: {name} is {values.dtype} {list(values.shape)}, it must be {np.dtype(kind)} of {dimensions} "
                f"dimension{'s' * (dimensions > 1)} with {count} rows, one a transition."
            )
        # in pieces: the whole of a large file need not fit into memory
        if kind == np.float32 and not all(np.isfinite(values[k : k + 100_000]).all() for k in range(0, count, 100_000)):
            raise DataError(f"{path}: {name} is not finite everywhere: no agent can learn from it.")
    if arrays["observations"].shape != arrays["next_observations"].shape:
        raise DataError(f"{path}: observations and next_observations have different sizes: it is damaged.")
