"""Methods that each break one promise, the one that their docstring names, and no other."""

from testing.broken import loop, rule, state, strength
from testing.broken.sound import HANDLES, Sound

BROKEN = [
    value
    for module in (strength, loop, state, rule)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Sound) and " " not in (value.__doc__ or " ")
]

__all__ = ["BROKEN", "HANDLES", "Sound"]
