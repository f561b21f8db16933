"""Names that are imported on first use, so that importing a package is fast (PEP 562)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import lazy_loader


def exports(
    package: str, file: str, renamed: Mapping[str, str] = MappingProxyType({})
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """A package's `__getattr__`, `__dir__` and `__all__`: the names that its stub `__init__.pyi` imports.

    Args:
        package: the package's `__name__`.
        file: its `__file__`; the stub lies beside it.
        renamed: for each old name the new one; the old one still works, with a `FutureWarning`.
    """
    find, names, exported = lazy_loader.attach_stub(package, file)

    def __getattr__(name: str) -> Any:
        if name in exported:
            return find(name)
        if name not in renamed:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        new = renamed[name]
        warnings.warn(
            f"{package}.{name} is now called {new}, and the old name will be removed; write {package}.{new}.",
            FutureWarning,
            stacklevel=2,
        )
        return getattr(sys.modules[package], new)

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names()})

    return __getattr__, __dir__, exported
