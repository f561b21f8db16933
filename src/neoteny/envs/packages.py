"""The optional packages that environments need."""

from __future__ import annotations

from importlib import import_module

from neoteny.errors import MissingPackageError

__all__ = ["require"]


def require(*modules: str) -> None:
    """Import each module, or raise an error that says what to install.

    Raises:
        MissingPackageError: a package is not installed, or too old to have the module.

    >>> require("numpy.linalg")
    >>> require("no_such_engine")
    Traceback (most recent call last):
    neoteny.errors.MissingPackageError: neoteny.envs needs no_such_engine (No module named 'no_such_engine'): ...
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise MissingPackageError(
                f"neoteny.envs needs {module} ({error}): install the packages of reinforcement learning with "
                "`pip install neoteny[rl]`."
            ) from error
