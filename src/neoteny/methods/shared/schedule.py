"""When resets are due: clocks that run on the host and never read from the device.

How many units of a layer are mature follows from how many were replaced so far and when; it does not matter which. So
the host can tell for any number of steps ahead when something is due, and all other steps run a graph without
replacement. The clocks here jump from event to event and compute what lies between in closed form.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor, inf, log1p
from typing import Any, Literal

import numpy as np

from neoteny.errors import CheckpointError

Rule = Literal["account", "accumulate", "drawn"]


class Periodic:
    """Due at every `period`-th update: period, 2 period, ...; never where the period is None.

    >>> Periodic(3).take(7)[:, 0]
    array([0, 0, 1, 0, 0, 1, 0])
    """

    def __init__(self, period: int | None):
        self.period, self.taken = period, 0

    @property
    def quiet(self) -> float:
        """How many updates from now on nothing is due."""
        return inf if self.period is None else self.period - 1 - self.taken % self.period

    def take(self, steps: int) -> np.ndarray:
        """How much is due at each of the next steps, `[steps, 1]`."""
        due = np.zeros((steps, 1), dtype=np.int64)
        if self.period is not None:
            due[self.period - 1 - self.taken % self.period :: self.period] = 1
        self.taken += steps
        return due

    def state_dict(self) -> dict[str, Any]:
        """All that changes: the updates taken."""
        return {"period": self.period, "taken": self.taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        if state["period"] != self.period:
            raise CheckpointError(
                f"The checkpoint's resets come every {state['period']} updates, this method's every {self.period}; "
                "load it with the settings it was saved with."
            )
        self.taken = int(state["taken"])


class Moments:
    """Due at the given updates, counted from 1, in increasing order.

    >>> Moments([1, 4]).take(5)[:, 0]
    array([1, 0, 0, 1, 0])
    """

    def __init__(self, moments: Sequence[int]):
        self.moments, self.taken = np.asarray(moments, dtype=np.int64), 0

    def take(self, steps: int) -> np.ndarray:
        """How much is due at each of the next steps, `[steps, 1]`."""
        due = np.zeros((steps, 1), dtype=np.int64)
        first, last = np.searchsorted(self.moments, [self.taken, self.taken + steps], side="right")
        due[self.moments[first:last] - self.taken - 1] = 1
        self.taken += steps
        return due

    def state_dict(self) -> dict[str, Any]:
        """All that changes: the updates taken."""
        return {"taken": self.taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.taken = int(state["taken"])


class Replacements:
    """The clock of continual backpropagation: how many units of each layer are replaced at each step.

    A unit is eligible once its age, the updates since it was last made new, exceeds the maturity threshold m. With
    e(t) eligible units of a layer at step t and the replacement rate ρ, the rules are

    - `account`: c ← c + ρ e(t); where c ≥ 1 one unit is replaced and c ← c - 1;
    - `accumulate`: the same with ⌊c⌋ units at once;
    - `drawn`: ⌊ρ e(t)⌋ units, and one more with the probability ρ e(t) - ⌊ρ e(t)⌋.

    As the authors' code has it (`whole`), the account of `accumulate` and `account` grows by ρ n for all n units of the
    layer while any is eligible, and `drawn` draws no further unit where ⌊ρ e(t)⌋ is at least 1.

    The account is not summed step by step but computed as ρ Σ e(t) - replaced, in whole numbers, with ρ taken as the
    decimal fraction that it is written as. So it does not drift. For `drawn`, the number of steps until the next
    success is drawn: while e is constant it has a geometric distribution, and as that has no memory, it is drawn again
    whenever e changes. So the cost grows with the number of replacements, not of steps, and the result does not depend
    on how a range of steps is cut into calls.

    Args:
        rate: ρ in [0, 1].
        sizes: units of each layer.
        maturity: m, updates.
        rule: `account`, `accumulate` or `drawn`.
        generator: random numbers for `drawn`; each layer gets a generator of its own from it.
        whole: whether to count as the authors' code does.

    >>> clock = Replacements(0.1, [5, 20], maturity=2, rule="account", generator=np.random.default_rng(0))
    >>> clock.take(5).T
    array([[0, 0, 0, 1, 0],
           [0, 0, 1, 1, 1]])
    >>> clock.replaced, clock.eligible
    ([1, 3], [4, 17])
    """

    def __init__(
        self,
        rate: float,
        sizes: Sequence[int],
        maturity: int,
        rule: Rule,
        generator: np.random.Generator | None = None,
        whole: bool = False,
    ):
        if generator is None:
            generator = np.random.default_rng(0)
        self._layers = [
            _LayerClock(Fraction(str(float(rate))), int(size), int(maturity), rule, lots, whole)
            for size, lots in zip(sizes, generator.spawn(len(sizes)), strict=True)
        ]

    @property
    def eligible(self) -> list[int]:
        """Units that were eligible at the last step and were not replaced at it, by layer."""
        return [layer.eligible for layer in self._layers]

    @property
    def mature_share(self) -> list[float]:
        """`eligible` as a share of the layer."""
        return [layer.eligible / layer.size for layer in self._layers]

    @property
    def replaced(self) -> list[int]:
        """Units replaced so far, by layer."""
        return [layer.replaced for layer in self._layers]

    @property
    def quiet(self) -> float:
        """How many updates from now on nothing is due, at least; inf if nothing ever can be."""
        return min((min(layer.next_due, layer.next_mature) - 1 - layer.now for layer in self._layers), default=inf)

    def take(self, steps: int) -> np.ndarray:
        """How many units are due at each of the next steps, `[steps, layers]`."""
        due = np.zeros((steps, len(self._layers)), dtype=np.int64)
        for column, layer in enumerate(self._layers):
            layer.advance(steps, due[:, column])
        return due

    def state_dict(self) -> dict[str, Any]:
        """All that changes, in plain numbers, lists and dicts."""
        return {"layers": [layer.state_dict() for layer in self._layers]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        if len(state["layers"]) != len(self._layers):
            raise CheckpointError(
                f"The checkpoint's replacement clock counts {len(state['layers'])} layers, this network has "
                f"{len(self._layers)}; load it into the network it was saved from."
            )
        for layer, saved in zip(self._layers, state["layers"], strict=True):
            layer.load_state_dict(saved)


class _LayerClock:
    """One layer's clock. Steps count from 1; `now` is the last one taken."""

    def __init__(
        self, rate: Fraction, size: int, maturity: int, rule: Rule, lots: np.random.Generator, whole: bool = False
    ):
        self.rate, self.size, self.maturity, self.rule, self.lots = rate, size, maturity, rule, lots
        self.whole = whole
        self._ratio = rate.numerator, rate.denominator  # a Fraction's own cost more to ask for
        self.now = self.replaced = self.eligible = 0
        self.unit_steps = 0  # Σ e(t), or of n while any is eligible
        self.growing: deque[tuple[int, int]] = deque([(maturity + 1, size)])  # (step at which they are eligible, units)
        self.next_due: float = inf

    @property
    def next_mature(self) -> float:
        return self.growing[0][0] if self.growing else inf

    def advance(self, steps: int, due: np.ndarray) -> None:
        """Go `steps` on, writing what is due into `due`, `[steps]`."""
        start, end = self.now, self.now + steps
        if self.rule == "account" and not self.maturity and self.rate * self.size <= 1 and not self.whole:
            self._go_steadily(steps, due)
            return
        while True:
            mature = self.next_mature
            if min(mature, self.next_due) > end:
                break
            if mature <= self.next_due:  # ages grow before anything is replaced
                self._pass_to(mature - 1)
                self.eligible += self.growing.popleft()[1]
            else:
                self._pass_to(self.next_due)
                count = self._count()
                due[self.now - start - 1] = count
                self.replaced += count
                self.eligible -= count
                self.growing.append((self.now + self.maturity + 1, count))
            self.next_due = self._next_due()
        self._pass_to(end)

    def _go_steadily(self, steps: int, due: np.ndarray) -> None:
        """`advance` at once: at most one unit is due at a step, and all are eligible, since none needs to grow."""
        above, below = self._ratio
        last = above * (self.unit_steps + self.size * steps) // below
        for number in range(self.replaced + 1, last + 1):
            needed = -(-number * below // above)
            due[-((self.unit_steps - needed) // self.size) - 1] = 1
        self.now, self.unit_steps, self.replaced = self.now + steps, self.unit_steps + self.size * steps, last
        young = int(due[-1]) if steps else self.size - self.eligible
        self.eligible, self.growing = self.size - young, deque([(self.now + 1, young)] if young else [])
        self.next_due = self._next_due()

    def _pass_to(self, step: float) -> None:
        self.unit_steps += self._counted * (int(step) - self.now)
        self.now = int(step)

    def _count(self) -> int:
        """How many are due at this step, which is one where some are."""
        if self.rule == "account":
            return 1
        if self.rule == "accumulate":
            return min(floor(self.rate * self.unit_steps) - self.replaced, self.eligible)
        return floor(self.rate * self.eligible) + self._lucky

    @property
    def _counted(self) -> int:
        """Units that a step counts into the account."""
        return self.size if self.whole and self.eligible else self.eligible

    def _next_due(self) -> float:
        """The next step at which something is due if the number of eligible units stays as it is."""
        above, below = self._ratio
        if not (above and self.eligible):
            return inf
        if self.rule == "drawn":
            whole, chance = divmod(self.rate * self.eligible, 1)
            lot = self.lots.random() if chance else 0.0
            self._lucky = 1
            if whole:  # due at every step: the lot only decides on one more
                self._lucky = int(lot < chance and not self.whole)
                return self.now + 1
            return self.now + 1 + floor(log1p(-lot) / log1p(-float(chance)))
        needed = -(-(self.replaced + 1) * below // above)  # the least Σ e(t) that will do
        return self.now + max(1, -((self.unit_steps - needed) // self._counted))

    _lucky = 1

    def state_dict(self) -> dict[str, Any]:
        return {
            "now": self.now,
            "replaced": self.replaced,
            "eligible": self.eligible,
            "unit_steps": self.unit_steps,
            "growing": [list(entry) for entry in self.growing],
            "next_due": self.next_due,
            "lucky": self._lucky,
            "lots": self.lots.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.now, self.replaced, self.eligible = int(state["now"]), int(state["replaced"]), int(state["eligible"])
        self.unit_steps = int(state["unit_steps"])
        self.growing = deque((int(step), int(count)) for step, count in state["growing"])
        self.next_due = inf if state["next_due"] == inf else int(state["next_due"])
        self._lucky = int(state["lucky"])
        self.lots.bit_generator.state = state["lots"]
