"""A leaderboard's table made up of chosen numbers, for the tests of its page, its figure and its claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from neoteny.report.leaderboard.board import COLUMNS, SORT, Board

MNIST, REGRESSION = "online-permuted-mnist-v1", "slowly-changing-regression-v1"
KINDS = {"backprop": "reference", "adam": "optimizer", "l2": "regulariser", "shrink-and-perturb": "perturbation"}
Runs = Sequence[float]


def reported(
    benchmark: str, row: str, last: Runs, first: Runs | None = None, settings: str = "", **measures: float
) -> list[dict[str, Any]]:
    """The numbers of a row's runs, seeds from 0 on."""
    start = np.asarray(last if first is None else first, dtype=float)
    end = np.asarray(last, dtype=float)
    values = {"first": start, "last": end, "change": end - start, "mean": (start + end) / 2}
    values |= {name: np.full(len(end), value) for name, value in measures.items()}
    return _tidy(benchmark, row, "reporting", 0, settings, True, range(len(end)), values)


def tuned(benchmark: str, row: str, points: Mapping[str, Runs], chosen: str = "") -> list[dict[str, Any]]:
    """The mean over the stream of tuning runs, by the settings of their point."""
    return [
        line
        for place, (settings, mean) in enumerate(points.items())
        for line in _tidy(
            benchmark, row, "tuning", place, settings, settings == chosen, range(1000, 1000 + len(mean)), {"mean": mean}
        )
    ]


def refused(benchmark: str, row: str, reason: str) -> list[dict[str, Any]]:
    """A row that could not be run."""
    return [{"benchmark": benchmark, "row": row, "phase": "left out", "settings": reason}]


def board(*parts: list[dict[str, Any]]) -> Board:
    """The table of these."""
    return Board(frame(*parts))


def frame(*parts: list[dict[str, Any]]) -> pl.DataFrame:
    """The same as a data frame."""
    lines = [line for part in parts for line in part]
    return pl.DataFrame(lines, schema=COLUMNS).sort(SORT, nulls_last=True)


def _tidy(
    benchmark: str,
    row: str,
    phase: str,
    point: int,
    settings: str,
    chosen: bool,
    seeds: range,
    values: Mapping[str, Any],
) -> list[dict[str, Any]]:
    same = {
        "benchmark": benchmark,
        "scale": "fast",
        "metric": "loss" if benchmark == REGRESSION else "accuracy",
        "row": row,
        "kind": KINDS.get(row, "reset"),
        "phase": phase,
        "point": point,
        "settings": settings,
        "chosen": chosen,
        "made_with": "torch 2.13 on a made-up processor",
    }
    return [
        same | {"seed": seed, "quantity": quantity, "value": float(value)}
        for quantity, each in values.items()
        for seed, value in zip(seeds, each, strict=True)
    ]
