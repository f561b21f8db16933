"""What every method promises, one function a promise.

The docstring of a check says what a violation means for a user. A check gets a `Trial` and raises a `Violation`; its
decorator says on what it is tried.
"""

from neoteny.testing.contract import loop, rule, settings, state, strength, units
from neoteny.testing.contract.base import CHECKS, Check

__all__ = ["CHECKS", "Check", "loop", "rule", "settings", "state", "strength", "units"]
