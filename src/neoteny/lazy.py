"""Names that are imported on first use, so that importing a package costs nothing (PEP 562)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any


def exports(
    package: str, homes: Mapping[str, str], renamed: Mapping[str, str] = MappingProxyType({})
) -> tuple[Callable[[str], Any], Callable[[], Sequence[str]]]:
    """A package's `__getattr__` and `__dir__`.

    Args:
        package: the package's `__name__`.
        homes: for each name the submodule that it lives in; `submodule:` is the submodule itself.
        renamed: for each old name the new one; the old one still works, with a `FutureWarning`.

    >>> getattribute, _ = exports("collections", {"Mapping": "abc"})
    >>> getattribute("Mapping").__name__
    'Mapping'
    """

    def __getattr__(name: str) -> Any:
        if name in renamed:
            new = renamed[name]
            warnings.warn(
                f"{package}.{name} is now called {new}, and the old name will go; write {package}.{new}.",
                FutureWarning,
                stacklevel=2,
            )
            return getattr(sys.modules[package], new)
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        module = import_module(f"{package}.{home.rstrip(':')}")
        value = module if home.endswith(":") else getattr(module, name)
        # remembered, also where importing a submodule has just put itself under the same name
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> Sequence[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return __getattr__, __dir__
