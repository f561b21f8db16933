"""What a sweep may cost, in core-hours: seconds of training, as the run folders say, times the cores of each stack.

What a stack will cost is estimated from its row's other stack on the same benchmark, else from the dearest row that was
run there, in proportion to the examples of all its runs. Of a benchmark that was never run nothing is known, so its
first stack is begun as long as anything of the budget is left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neoteny.errors import SettingError
from neoteny.sweeps.planning import Plan, PlannedStack

__all__ = ["Budget", "require_budget"]

HOUR = 3600.0


def require_budget(hours: float | None) -> None:
    """Check core-hours that somebody gives; None is no limit.

    Raises:
        SettingError: they are not positive.
    """
    if hours is not None and not hours > 0:
        raise SettingError(f"budget = {hours!r}: give core-hours, a number > 0.")


class Budget:
    """What may be spent, and what was.

    Args:
        plan: its folders count, whoever ran them.
        hours: core-hours.
        cores: of each stack.

    Raises:
        SettingError: a budget that is not positive.
    """

    def __init__(self, plan: Plan, hours: float, cores: int):
        require_budget(hours)
        self.hours, self._cores = hours, cores
        self._spent: dict[Path, float] = {}
        self._promised: dict[Path, float] = {}
        self._rates: dict[str, dict[str, float]] = {}  # core-hours an example, by benchmark and row
        for path in (plan.out / plan.scale).glob("*/*/*/provenance.json"):
            self._spent[path.parent] = self._cost(path.parent)

    def knows(self, benchmark: str) -> bool:
        """Whether it is known what stacks of a benchmark cost."""
        return benchmark in self._rates

    def spent(self, stack: PlannedStack) -> None:
        """Take in what a stack came to that has ended."""
        self._promised.pop(stack.folder, None)
        self._spent[stack.folder] = cost = self._cost(stack.folder)
        if stack.finished:
            self._rates.setdefault(stack.benchmark, {})[stack.row.name] = cost / stack.work

    def estimate(self, stack: PlannedStack) -> float | None:
        """Core-hours that are left of a stack; None where nothing is known."""
        rates = self._rates.get(stack.benchmark)
        if rates is None:
            return None
        whole = stack.work * rates.get(stack.row.name, max(rates.values()))
        return max(whole - self._spent.get(stack.folder, 0.0), 0.0)

    def allows(self, stack: PlannedStack) -> bool:
        """Whether a stack may be begun; what it will cost is set aside."""
        left = self.hours - sum(self._spent.values()) - sum(self._promised.values())
        estimate = self.estimate(stack)
        if left <= 0 or (estimate is not None and estimate > left):
            return False
        self._promised[stack.folder] = estimate or 0.0
        return True

    def _cost(self, folder: Path) -> float:
        try:
            said: Any = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not yet there, or cut off: no result depends on it
            return 0.0
        seconds = said.get("seconds", 0.0) if isinstance(said, Mapping) else 0.0
        return float(seconds) * self._cores / HOUR
