"""`torch.compile` where a C++ compiler is at hand, and plain PyTorch with one clear warning where none is."""

from __future__ import annotations

import functools
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any


class CompileWarning(UserWarning):
    """The laboratory runs uncompiled: results are the same, steps take many times longer."""


@functools.cache
def available() -> bool:
    """Whether `torch.compile` can build code for the CPU here; warns once where it cannot."""
    import torch._inductor.config as config

    compilers = config.cpp.cxx if isinstance(config.cpp.cxx, tuple) else (config.cpp.cxx,)
    if any(name and shutil.which(name) for name in (*compilers, "g++", "clang++")):
        return True
    warnings.warn(
        "no C++ compiler was found, so training runs uncompiled: the same results, but many times slower. "
        "Install g++ or clang++ (for example: apt install g++), or pass compile=False to silence this.",
        CompileWarning,
        stacklevel=3,
    )
    return False


def _no_guards(guards: Sequence[Any]) -> list[bool]:
    return [False] * len(guards)


class Compiled:
    """A function compiled at its first call, which remembers how long its compilations took.

    Args:
        function: pure, over nested dicts of tensors.
        enabled: False leaves it as it is.
    """

    def __init__(self, function: Callable[..., Any], enabled: bool):
        import torch

        self.seconds = 0.0
        self._called = False
        self._function = function
        if enabled:
            # a fused multiply-add rounds once instead of twice and is what the hardware has
            # and the learner calls each graph with the same structure of tensors always, so there is nothing to guard
            self._function = torch.compile(
                function,
                fullgraph=True,
                dynamic=False,
                options={"cpp.enable_floating_point_contract_flag": "fast", "guard_filter_fn": _no_guards},
            )

    def __call__(self, *arguments: Any) -> Any:
        if self._called:
            return self._function(*arguments)
        begun = time.perf_counter()
        result = self._function(*arguments)
        self.seconds, self._called = time.perf_counter() - begun, True
        return result
