"""What commands read of the user's own, what is in a module and arrays in a file, and how results are shown."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoteny import registry
from neoteny.errors import DataError, NetworkError, SettingError, UnknownNameError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console
    from torch import Tensor

__all__ = [
    "check_figure",
    "console_for",
    "imported",
    "modules_here",
    "named",
    "optimizer_named",
    "read_arrays",
    "show",
    "write_figure",
]

KINDS = (".png", ".pdf", ".svg")


@contextmanager
def modules_here() -> Iterator[None]:
    """A context in which modules in the present folder can be imported, also by the processes started in it."""
    here = os.getcwd()
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(here)  # last: it hides nothing
    try:
        yield
    finally:
        sys.path.remove(here)


def named(text: str) -> str:
    """Names of methods, optimizers and benchmarks in which MODULE:CLASS stands for a class of the user's own.

    The class is registered, as by `neoteny.register`, and its name takes the place of the target.

    >>> named("backprop,cbp+l2"), named("cuda:1")
    ('backprop,cbp+l2', 'cuda:1')

    Raises:
        NetworkError: it cannot be imported.
        SettingError: it is no method, optimizer or benchmark, or another one has its name.
    """
    return re.sub(r"[^\W\d][\w.]*:[^\W\d][\w.]*", lambda target: _registered(imported(target[0])), text)


def _registered(cls: Any) -> str:
    table = registry.table_of(cls)
    if getattr(cls, table.attribute, None) not in table:
        registry.register(cls)
    return registry.entry_of(cls).name


def imported(target: str) -> Any:
    """What `module:name` stands for; the module may lie in the folder that the command is called from.

    Raises:
        NetworkError: it is not of that form, or its module cannot be imported.
        UnknownNameError: the module has no such name.
    """
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise NetworkError(f"{target!r} is not MODULE:FACTORY; write it like mymodel:build.")
    sys.path.insert(0, "")  # the user's module is in the folder that the command is called from
    try:
        found = importlib.import_module(module)
    except Exception as error:  # whatever a user's module raises
        raise NetworkError(
            f"{target!r} cannot be imported ({type(error).__name__}: {error}): call from the folder with {module}, or "
            "put it on PYTHONPATH."
        ) from error
    finally:
        sys.path.remove("")
    if not hasattr(found, name):
        raise UnknownNameError(name, [one for one in vars(found) if not one.startswith("_")], f"name in {module}")
    return getattr(found, name)


def optimizer_named(name: str) -> Any:
    """A class of `torch.optim` by its name, in any case.

    Raises:
        UnknownNameError: there is none.
    """
    from torch import optim

    known = {
        key.lower(): cls
        for key, cls in vars(optim).items()
        if isinstance(cls, type) and issubclass(cls, optim.Optimizer) and cls is not optim.Optimizer
    }
    if name.lower() not in known:
        raise UnknownNameError(name, known, "optimizer of torch.optim")
    return known[name.lower()]


def read_arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of an .npz file by their names, as tensors.

    Raises:
        DataError: it cannot be read, or holds something else than numbers.
    """
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: _tensor(archive[name], name) for name in archive.files}
    except Exception as error:  # a damaged file makes NumPy raise nearly anything
        raise DataError(
            f"{path} cannot be read ({error}): save the inputs with numpy.savez(path, x=inputs)."
        ) from error


def _tensor(array: Any, name: str) -> Tensor:
    """Whole numbers (tokens) as int64, which embeddings take, other numbers in the networks' single precision."""
    import torch

    match array.dtype.kind:
        case "f":
            return torch.from_numpy(array).float()
        case "i" | "u":
            return torch.from_numpy(array.astype("int64"))
        case "b":
            return torch.from_numpy(array)
    raise TypeError(f"the array {name} is of type {array.dtype}, not of numbers")


def check_figure(path: Path | None, option: str = "--figure") -> None:
    """Refuse a file name that says no kind of figure.

    Raises:
        SettingError: it does not.
    """
    if path is not None and path.suffix not in KINDS:
        raise SettingError(f"{option} {path}: a figure is one of {', '.join(KINDS)}; end its name like that.")


def console_for(piped: int) -> Console:
    """A console for tables: as wide as the terminal; a file or a pipe has room for so many columns."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = piped
    return console


def show(result: Any) -> None:
    """Print a result: in colours on a terminal, else as text."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(result)
    else:
        print(result)


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as its name says, and print where it is."""
    from neoteny.report.figures.style import render
    from neoteny.report.files import write

    print(write(path, render(figure, path.suffix[1:])))
