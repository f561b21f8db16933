"""What was recorded as one tidy table, with a column for whatever tells one number from another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

from neoteny.errors import MissingPackageError
from neoteny.report.runs.series import Series

if TYPE_CHECKING:
    import pandas

__all__ = ["as_pandas", "tidy"]


def tidy(series: Iterable[Series]) -> pl.DataFrame:
    """One row a number: benchmark, scale, system, seed, a grid's settings, step, task, metric, layer, value.

    Args:
        series: of one or several groups; `system` is the label, by which systems of a group differ.
    """
    frames = []
    for one in series:
        source = one.sources[0]
        fixed = {"benchmark": source.benchmark, "scale": source.scale, "system": one.label}
        frames.append(
            one.frame.select(
                *(pl.lit(value).alias(name) for name, value in fixed.items()),
                pl.col("run").replace_strict(dict(enumerate(one.seeds)), return_dtype=pl.Int64).alias("seed"),
                *(pl.lit(value).alias(name) for name, value in one.settings.items()),
                *("step", "task", "metric", "layer", "value"),
            )
        )
    return pl.concat(frames, how="diagonal_relaxed")


def as_pandas(frame: pl.DataFrame) -> pandas.DataFrame:
    """A frame for pandas, which need not have pyarrow.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingPackageError(
            "to_pandas needs the package pandas, which is not installed: run `pip install pandas`, or take to_frame(), "
            "which is for polars."
        ) from error
    return pandas.DataFrame({column.name: column.to_numpy() for column in frame})
