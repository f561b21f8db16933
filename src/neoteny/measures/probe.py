"""The fixed probe set: the inputs that measures are taken on.

Do not measure on training batches: their content alone changes dormant shares and ranks by tens of per cent, most of
all on-policy. (A stream of `neoteny.streams` has its own probe: fixed draws, transformed as the current task does.)
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from neoteny.checks import require_at_least_one
from neoteny.errors import SettingError
from neoteny.seeds import checked_seed

__all__ = ["probe_set"]

Inputs = TypeVar("Inputs")


def probe_set(inputs: Inputs, examples: int = 1_000, seed: int = 0) -> Inputs:
    """A fixed sample of the inputs, without repetition. Equal arguments give equal samples; no generator is touched.

    Args:
        inputs: a tensor or array [N, ...].
        examples: how many to take; if there are not more, all of them in order.
        seed: of the sample.

    Returns:
        A copy [min(examples, N), ...].

    Raises:
        SettingError: no inputs, `examples` no whole number of at least 1, or no whole number of at least 0 as seed.

    >>> probe_set(np.arange(100), examples=3).shape
    (3,)
    >>> bool((probe_set(np.arange(100), examples=3) == probe_set(np.arange(100), examples=3)).all())
    True
    """
    count = len(inputs)  # pyright: ignore[reportArgumentType]
    require_at_least_one(examples=examples)
    if count < 1:
        raise SettingError("a probe set of no inputs: there must be at least one.")
    order = np.random.default_rng(checked_seed(seed)).permutation(count) if examples < count else np.arange(count)
    return inputs[order[:examples]]  # pyright: ignore[reportIndexIssue]
