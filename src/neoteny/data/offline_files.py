"""HDF5 files of transitions that others have published: D4RL's and Minari's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoteny.errors import DataError, MissingPackageError

__all__ = ["read_hdf5"]

Array = NDArray[Any]


def read_hdf5(path: Path, keys: Sequence[str] | None = None) -> dict[str, Array]:
    """The transitions of an HDF5 file of D4RL or Minari.

    D4RL: `observations`, `actions`, `rewards`, `terminals` and `timeouts` over all steps. Where the file has no
    `next_observations`, they are the observations one step later; a step that was cut off has none and is left out.

    Minari: a group `episode_k` for each episode, with one observation more than steps. A data set is a folder with
    `data/main_data.hdf5` in it.

    Args:
        path: the file, or for Minari the folder of the data set.
        keys: where observations consist of parts, those to join, in order: such as ("achieved_goal", "observation")
            for the 29 numbers of D4RL's ant.

    Raises:
        DataError: it is neither, or what it has does not fit together.
        MissingPackageError: h5py is not installed.
    """
    try:
        h5py: Any = import_module("h5py")
    except ImportError as error:
        raise MissingPackageError(f"{path} cannot be read ({error}): `pip install neoteny[suite]`.") from error
    if path.is_dir():
        inside = path / "data" / "main_data.hdf5"
        if not inside.is_file():
            raise DataError(f"{path} has no data/main_data.hdf5: it is no data set of Minari.")
        path = inside
    try:
        with h5py.File(path, "r") as file:
            episodes = sorted((name for name in file if name.startswith("episode_")), key=lambda name: int(name[8:]))
            if episodes:
                parts = [_episode(f"{path}, {name}", file[name], keys) for name in episodes]
                return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            return _d4rl(path, file)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as D4RL's or Minari's ({type(error).__name__}: {error}): it is damaged or of "
            "another kind."
        ) from error


def _episode(where: str, group: Mapping[str, Any], keys: Sequence[str] | None) -> dict[str, Array]:
    seen = group["observations"]
    if hasattr(seen, "keys"):
        if keys is None or any(key not in seen for key in keys):
            raise DataError(
                f"{where}: its observations have the parts {', '.join(seen)}, but keys = {keys}: say which to join."
            )
        seen = np.concatenate([np.asarray(seen[key]).reshape(len(seen[key]), -1) for key in keys], axis=1)
    seen, rewards = np.asarray(seen), np.asarray(group["rewards"])
    if len(seen) != len(rewards) + 1:
        raise DataError(f"{where}: {len(seen)} observations for {len(rewards)} steps; there is one more than steps.")
    terminals, timeouts = (np.array(group[name], dtype=bool) for name in ("terminations", "truncations"))
    timeouts[-1:] |= ~terminals[-1:]  # an episode that was not finished was cut off where the file ends
    return {
        "observations": seen[:-1],
        "actions": np.asarray(group["actions"]),
        "rewards": rewards,
        "next_observations": seen[1:],
        "terminals": terminals,
        "timeouts": timeouts,
    }


def _d4rl(path: Path, file: Mapping[str, Any]) -> dict[str, Array]:
    names = ("observations", "actions", "rewards", "terminals", "timeouts")
    missing = [name for name in names if name not in file]
    if missing:
        raise DataError(
            f"{path} has no {missing[0]} (it has: {', '.join(file) or 'nothing'}): it is neither D4RL's, which has "
            f"{', '.join(names)}, nor Minari's, which has episode_0 and so on."
        )
    made = {name: np.asarray(file[name]) for name in names}
    terminals, timeouts = made["terminals"].astype(bool), made["timeouts"].astype(bool)
    made |= {"terminals": terminals, "timeouts": timeouts & ~terminals}
    if "next_observations" in file:
        return made | {"next_observations": np.asarray(file["next_observations"])}
    seen = made["observations"]
    following = np.concatenate([seen[1:], seen[-1:]])
    # what comes after a terminal step belongs to the next episode; it has no value, so that the step's own state serves
    made["next_observations"] = np.where(terminals[:, None], seen, following)
    keep = terminals | ~timeouts
    keep[-1:] &= terminals[-1:]  # what the last step led to is not in the file
    # a trajectory that lost its last step is cut off at the one before
    made["timeouts"][:-1] |= ~keep[1:] & ~terminals[:-1]
    return {name: values[keep] for name, values in made.items()}
