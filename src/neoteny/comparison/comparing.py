"""`neoteny.compare`: the bare loop and some methods on a user's own stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from neoteny.checks import is_number
from neoteny.comparison.entries import BARE, FRESH, Entry
from neoteny.comparison.given import (
    as_entries,
    check_build,
    check_loss,
    check_optimizer,
    check_tasks,
    name_of,
    usual_loss,
)
from neoteny.comparison.learning import Learned, Problem, Way, are_classes, learn
from neoteny.comparison.result import Comparison
from neoteny.comparison.stream import Batches, OwnStream
from neoteny.comparison.tuning import MOST_POINTS, Tuned, tune
from neoteny.errors import NetworkError, SettingError
from neoteny.methods.base import Method
from neoteny.progress import bar
from neoteny.sweeps.choosing import TUNING_SEED
from neoteny.units.inputs import arguments_of

__all__ = ["compare"]


def compare(
    build: Callable[[], nn.Module],
    optimizer: Callable[[Any], torch.optim.Optimizer],
    stream: Batches,
    methods: Method | str | Iterable[Any] | None = None,
    *,
    loss: Callable[[Any, Tensor], Tensor] | None = None,
    seeds: int = 5,
    last: int | None = None,
    points: int = 8,
    tuning_seeds: int = 2,
    tuning_share: float = 1 / 3,
    fresh: int = 4,
    tasks: Sequence[int] = (),
    show: bool = True,
) -> Comparison:
    """Which method helps your network on your stream? Measured there: each batch is predicted, then learned from.

    Compared are the bare loop (network and optimizer without any method), each method attached to them, and as a
    reference the bare loop with a network that begins anew at some points of the stream. All see the same batches.

    Every entry, the bare loop too, is tuned with as many points on the first part of the stream, with seeds of its own
    (`neoteny.comparison.tuning`). Then it learns the whole stream once a seed, and only what comes after the first part
    is reported. With n batches that makes points · tuning_seeds · tuning_share · n + seeds · n steps an entry: about
    10 n by default.

    Args:
        build: returns a new network at every call. Its weights are drawn by torch, which is seeded before.
        optimizer: makes an optimizer of parameters; its step sizes are varied.
        stream: (inputs, targets) batches in the order of time: a sequence, or a function that returns an iterator.
            Inputs are as the network takes them: a tensor, a tuple of arguments, or a dict of named ones.
        methods: methods, their names, or lists and `"cbp+l2"` for several together. None: a short list, those that come
            first in the leaderboard by their kind (`neoteny.registry.ranking.SHORT_LIST`).
        loss: of outputs and targets; by default cross-entropy where targets are whole numbers, else squared error.
        seeds: runs of each entry: initial weights and what methods draw.
        last: use only the last batches of the stream, as many as this.
        points: settings that are tried for each entry; 1: the given ones are used, and the whole stream is reported.
        tuning_seeds: runs of each point.
        tuning_share: how much of the stream the points are tried on.
        fresh: how many times the reference begins anew; 0 leaves it out.
        tasks: numbers of the batches with which a new task begins, for methods that act there; unknown by default. They
            are counted from 0, and with `last` from the first batch that is used.
        show: whether to show a bar on the terminal, after 5 seconds.

    Returns:
        The result. Print it for a table and what it says; `best`, `code()`, `figure()`, `to_frame()`.

    Raises:
        DataError: the stream is empty, too short, or gives other batches when it is read again.
        SettingError: a stream that can be read only once, a function that returns the same network twice, an optimizer
            in place of a function, settings outside their range.
        NetworkError: `build` returns no network, or a method that was named cannot act on it.

    >>> import neoteny
    >>> batches = [(x := torch.randn(8, 3), x.sum(1, keepdim=True)) for _ in range(30)]
    >>> found = neoteny.compare(lambda: nn.Linear(3, 1), lambda p: torch.optim.SGD(p, 0.01), batches, "l2", seeds=2)
    >>> [entry.name for entry in found.entries]
    ['bare loop', 'fresh network', 'l2']
    """
    for name, value, least, most in (
        ("seeds", seeds, 1, 1000), ("points", points, 1, MOST_POINTS), ("tuning_seeds", tuning_seeds, 1, 1000),
        ("fresh", fresh, 0, 1000), *((("last", last, 1, 2**63),) if last is not None else ()),
    ):  # fmt: skip
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise SettingError(f"compare: {name} = {value!r} is not a whole number from {least} to {most}; give one.")
    if not is_number(tuning_share) or not 0 < tuning_share < 1:
        raise SettingError(f"compare: tuning_share = {tuning_share!r} is not a share of the stream; give one like 1/3.")
    model = check_build(build, seeds > 1)
    step_sizes = check_optimizer(optimizer, model)
    read = OwnStream(stream, last)
    tasks = check_tasks(tasks, len(read))
    problem = Problem(build, optimizer, read, loss or usual_loss(read.first[1]), frozenset(tasks))
    classes = _look(problem, model)
    entries: dict[str, tuple[Method, ...]] = {BARE: (), **as_entries(methods, bool(tasks))}
    left_out = {name: reason for name, own in entries.items() if (reason := _impossible(problem, own))}
    if methods is not None and left_out:
        raise NetworkError(f"compare: {'; '.join(f'{name}: {reason}' for name, reason in left_out.items())}")
    entries = {name: own for name, own in entries.items() if name not in left_out}

    n = len(read)
    first = 0 if points == 1 else max(1, round(tuning_share * n))
    if n - first < 4:
        raise SettingError(
            f"compare: tuning_share = {tuning_share:g} leaves {n - first} of {n} batches to report on, too few; give a "
            "smaller share or more batches."
        )
    fresh = min(fresh, (n - first) // 2)
    anew = tuple(int(place) for place in np.linspace(first, n, fresh, endpoint=False))
    total = len(entries) * ((points * tuning_seeds * first if points > 1 else 0) + seeds * n) + (fresh > 0) * seeds * n
    sizes = np.asarray(read.sizes, dtype=np.float64)
    found: list[Entry] = []
    with bar("comparing", total, late=True) as bar_advance:
        advance = bar_advance if show else (lambda count: None)

        def score(way: Way) -> list[float]:
            runs = [learn(problem, way, TUNING_SEED + k, first, advance=advance) for k in range(tuning_seeds)]
            return [float(np.average(_score(run, classes), weights=sizes[:first])) for run in runs]

        def report(name: str, tuned: Tuned, anew: tuple[int, ...] = ()) -> Entry:
            runs = [learn(problem, tuned.way, seed, n, anew=anew, advance=advance) for seed in range(seeds)]
            losses = np.stack([run.losses for run in runs])
            accuracies = np.stack([_score(run, True) for run in runs]) if classes else None
            return Entry(name, tuned.way, losses, accuracies, min(run.seconds for run in runs), tuned.tried)

        for name, own in entries.items():
            tuned = tune(own, points, score, higher_is_better=classes)
            found.append(report(name, tuned))
            if name == BARE and fresh:
                found.append(report(FRESH, Tuned(tuned.way, ()), anew))
    return Comparison(
        tuple(found), read.sizes, first, anew, tuple(step_sizes), left_out, tasks,
        (name_of(build, "build"), name_of(optimizer, "make_optimizer")),
    )  # fmt: skip


def _score(run: Learned, classes: bool) -> Any:
    return run.accuracies if classes else run.losses


def _look(problem: Problem, model: nn.Module) -> bool:
    """Refuse a loss that does not fit; gives whether targets are classes."""
    inputs, targets = problem.stream.first
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    args, keywords = arguments_of(tree_map_only(Tensor, lambda x: x.to(device), inputs))
    try:
        outputs = model(*args, **keywords)
    except Exception as error:  # whatever a user's network raises
        raise NetworkError(
            f"compare: the network cannot take the first batch's inputs ({type(error).__name__}: {error}); give "
            "inputs as it takes them: a tensor, a tuple of arguments, or a dict of named ones."
        ) from error
    check_loss(problem.loss, outputs, targets.to(device))
    return are_classes(outputs, targets)


def _impossible(problem: Problem, methods: tuple[Method, ...]) -> str:
    """Why methods cannot act on this network, as the first step shows it; empty where they can."""
    try:
        learn(problem, Way(methods), 0, 1)
    except NetworkError as error:
        return str(error)
    return ""
