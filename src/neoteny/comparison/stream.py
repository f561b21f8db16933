"""A user's stream of batches, or the last of them: the same at every reading, which is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from neoteny.checks import shown
from neoteny.errors import DataError, SettingError
from neoteny.progress import waiting

__all__ = ["FEWEST", "Batches", "OwnStream"]

FEWEST = 8
"""Batches that a stream must have: a part to choose settings on, and a part to report on."""

Batches = Sequence[tuple[Any, Tensor]] | Callable[[], Iterator[tuple[Any, Tensor]]]
_CURE = "give a list of (inputs, targets) batches, or a function that returns an iterator over them"


class OwnStream:
    """The batches of a stream, which can be gone through many times.

    Args:
        given: a sequence of (inputs, targets), a function that returns an iterator over such batches, or a loader that
            gives the same ones each time.
        last: how many of its last batches to use; None: all.

    Attributes:
        sizes: the number of examples of each batch.
        first: the first batch.

    Raises:
        DataError: it is empty, too short, its batches are of another form, or other ones when it is read again.
        SettingError: it is an iterator, which can be gone through only once, or no stream at all.

    >>> batches = [(torch.zeros(4, 2), torch.zeros(4, 1)) for _ in range(10)]
    >>> OwnStream(batches, last=8).sizes
    (4, 4, 4, 4, 4, 4, 4, 4)
    """

    sizes: tuple[int, ...] = ()
    first: tuple[Any, Any]

    def __init__(self, given: Any, last: int | None = None):
        self._given, self._skip = given, 0
        if isinstance(given, Iterator):
            raise SettingError(
                f"compare: stream is a {type(given).__name__}, an iterator, which can be gone through only once, and "
                "every method learns from it; give a list of batches, or a function that returns a new iterator."
            )
        usable = callable(given) or hasattr(given, "__iter__")
        if isinstance(given, (Tensor, str, bytes, Mapping, type)) or not usable:
            raise SettingError(f"compare: stream = {shown(given)} is no stream of batches; {_CURE}.")
        sizes: list[int] = []
        with waiting() as say:
            for number, batch in enumerate(self._read()):
                sizes.append(_examples(batch, number))
                say(f"counting the batches of the stream: {number + 1:,} so far")
        if last is not None:
            self._skip = max(len(sizes) - last, 0)
        self.sizes = tuple(sizes[self._skip :])
        if len(self.sizes) < FEWEST:
            what = f"{len(self.sizes)} batches" if self.sizes else "no batch"
            raise DataError(f"compare: the stream has {what}; give at least {FEWEST}, better hundreds.")
        self.first, again = next(iter(self), ((), None)), next(iter(self), None)
        if again is None or not _equal(self.first, again):
            raise DataError(
                "compare: the stream gives other batches when it is read again, as one that is shuffled or used up "
                f"does, so the methods could not be compared on the same ones; {_CURE}, the same ones each time."
            )

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        return islice(self._read(), self._skip, None)

    def batches(self, stop: int) -> Iterator[tuple[int, Any, Tensor]]:
        """The first batches, numbered from 0.

        Raises:
            DataError: the stream has fewer than when it was read first.
        """
        number = -1
        for number, (inputs, targets) in enumerate(islice(self, stop)):
            yield number, inputs, targets
        if number + 1 < stop:
            raise DataError(f"compare: the stream had {len(self)} batches, and {number + 1} when read again; {_CURE}.")

    def _read(self) -> Iterator[Any]:
        given: Any = self._given
        if hasattr(given, "__iter__"):
            return iter(given)
        made: Any = given()
        if not hasattr(made, "__iter__"):
            raise SettingError(f"compare: stream() returned {shown(made)}; {_CURE}.")
        return iter(made)


def _examples(batch: Any, number: int) -> int:
    pair = isinstance(batch, (tuple, list)) and len(batch) == 2
    if not pair or not isinstance(batch[1], Tensor):
        kind = "a pair whose targets are no tensor" if pair else f"a {type(batch).__name__}"
        raise DataError(f"compare: batch {number} of the stream is {kind}; give (inputs, targets), targets a tensor.")
    if not batch[1].numel():
        raise DataError(f"compare: batch {number} of the stream has no targets; leave empty batches out.")
    return batch[1].shape[0] if batch[1].dim() else 1


def _equal(one: Any, other: Any) -> bool:
    (leaves, others) = tree_leaves(one), tree_leaves(other)
    return len(leaves) == len(others) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b or a == b
        for a, b in zip(leaves, others, strict=True)
    )
