"""US flights of the first half of 2001 in time order: 3,000,000, with delay, distance and airports.

The records are those of the US Bureau of Transportation Statistics, as a Parquet file in the npm package
`vega-datasets`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neoteny.data.cache import Allocate, cache_folder, cached
from neoteny.data.download import Remote, sha256
from neoteny.data.files import locate, named_folder
from neoteny.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Flights", "find_flights", "flights"]

_REMOTE = Remote(
    "flights-3m.parquet",
    (
        "https://cdn.jsdelivr.net/npm/vega-datasets@3.2.1/data/flights-3m.parquet",
        "https://unpkg.com/vega-datasets@3.2.1/data/flights-3m.parquet",
    ),
    "dbeb920c90f59b6ccaff823dcc3d08f25a97fa1ce128d93f40be4e931f5900b0",
    13_493_022,
)
_BY_HAND = "`npm pack vega-datasets@3.2.1`, then unpack package/data/flights-3m.parquet from the file that it writes"
_COLUMNS = {"minute": np.int32, "delay": np.int16, "distance": np.int16, "origin": np.int16, "destination": np.int16}


class Flights(NamedTuple):
    """Flights in the order of their departures.

    Attributes:
        minute: of the departure, counted from 2001-01-01 00:00 (a Monday), local time; int32 [N].
        delay: of the arrival in minutes, negative if early; int16 [N].
        distance: in miles; int16 [N].
        origin: place of the airport in `airports`; int16 [N].
        destination: likewise.
        airports: three letters each, in alphabetical order.
    """

    minute: np.ndarray
    delay: np.ndarray
    distance: np.ndarray
    origin: np.ndarray
    destination: np.ndarray
    airports: tuple[str, ...]


def flights(data_dir: str | os.PathLike[str] | None = None) -> Flights:
    """All flights, memory-mapped.

    The file `flights-3m.parquet` is read from `data_dir`, or else from the folder that the environment variable
    `NEOTENY_DATA` names (directly, or in its folder `flights`). Without such a folder it is downloaded once into the
    cache. It is checked and decoded once.

    Args:
        data_dir: the folder of the data sets.

    Raises:
        DataError: the file is missing, damaged, or could not be downloaded.

    >>> found = flights()  # doctest: +SKIP
    >>> len(found.delay), found.airports[:3]  # doctest: +SKIP
    (3000000, ('ABE', 'ABI', 'ABQ'))
    """
    try:
        path = locate("flights", _REMOTE, data_dir)
    except DataError as error:
        raise DataError(f"{error} By hand: {_BY_HAND}.") from None
    found = cached("flights", sha256(path), (*_COLUMNS, "airports"), lambda allocate: _decode(path, allocate))
    *columns, airports = found
    return Flights(*columns, airports=tuple(airports.view("U3").ravel().tolist()))


def find_flights(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """Where the file is, in the user's folder or else in the cache; None if it is not there."""
    folder = named_folder(data_dir) or cache_folder()
    return next((path for path in (folder / "flights" / _REMOTE.name, folder / _REMOTE.name) if path.is_file()), None)


def _decode(path: Path, allocate: Allocate) -> None:
    import polars as pl

    if sha256(path) != _REMOTE.sha256:
        raise DataError(f"{path} is another file, or damaged: its checksum is wrong. Fetch it again: {_BY_HAND}.")
    table = pl.read_parquet(path)
    airports = sorted({*table["origin"].unique().to_list(), *table["destination"].unique().to_list()})
    places = {name: number for number, name in enumerate(airports)}
    shapes = {name: ((len(table),), kind) for name, kind in _COLUMNS.items()}
    made = allocate({**shapes, "airports": ((len(airports), 3), np.dtype("U1"))})
    for name, values in _numbers(table, places).items():
        made[name][:] = values.to_numpy()
    made["airports"][:] = [list(name) for name in airports]


def _numbers(table: pl.DataFrame, places: Mapping[str, int]) -> dict[str, Any]:
    import polars as pl

    start = pl.datetime(2001, 1, 1)
    columns = table.select(
        (pl.col("date") - start).dt.total_minutes().alias("minute"),
        "delay",
        "distance",
        *(pl.col(name).replace_strict(places, return_dtype=pl.Int16) for name in ("origin", "destination")),
    )
    return columns.to_dict()
