"""`neoteny recommend`: which method helps a network of yours on your own stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

import tyro

from neoteny.checks import require_count, require_positive
from neoteny.cli.own import check_figure, imported, optimizer_named, read_arrays, show, write_figure
from neoteny.cli.reading import parsed
from neoteny.errors import DataError, NetworkError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["main"]


@dataclass(frozen=True)
class RecommendOptions:
    """Compare methods on your own stream: each batch is predicted, then learned from."""

    ID: ClassVar[str] = "neoteny recommend"
    network: Annotated[str, tyro.conf.Positional]
    """MODULE:BUILD, a function or class without arguments that returns a new network, such as mymodel:build"""
    stream: Path
    """an .npz file with the arrays x and y, examples in the order of time; whole numbers in y are classes"""
    optimizer: str = "adam"
    """the name of a class of torch.optim, such as adam, sgd or adamw"""
    step_size: float = 1e-3
    """its step size; multiples of it are tried"""
    batch: int = 32
    """examples that are predicted, then learned from, at once"""
    last: int | None = None
    """use only so many batches, the last ones"""
    methods: str | None = None
    """names with commas between them, such as cbp,l2-init or cbp+l2; by default a short list"""
    seeds: int = 5
    """runs of each method"""
    points: int = 8
    """settings that are tried for each method on the first third of the stream; 1: the given ones"""
    figure: Path | None = Path("which_method.png")
    """draw it here, as .png, .pdf or .svg; None draws nothing"""


def main(arguments: Sequence[str]) -> None:
    """Print the table, what it says, and the code; draw the figure."""
    options = parsed(RecommendOptions, arguments, "neoteny recommend")
    require_positive(options, "step_size")
    require_count(options, "batch", least=1)
    check_figure(options.figure)
    import neoteny

    build = imported(options.network)
    inputs, targets = _stream(options.stream)
    if not callable(build):
        raise NetworkError(f"{options.network!r} is no function: write one without arguments that returns a network.")
    optimizer = optimizer_named(options.optimizer)
    cuts = range(0, len(targets), options.batch)
    found = neoteny.compare(
        cast(Any, build),
        lambda parameters: optimizer(parameters, lr=options.step_size),
        [(inputs[place : place + options.batch], targets[place : place + options.batch]) for place in cuts],
        [name.strip() for name in options.methods.split(",")] if options.methods is not None else None,
        seeds=options.seeds,
        last=options.last,
        points=options.points,
    )
    show(found)
    print(f"\n{found.code()}")
    if options.figure is not None:
        write_figure(options.figure, found.figure())


def _stream(path: Path) -> tuple[Tensor, Tensor]:
    found = read_arrays(path)
    if set(found) != {"x", "y"}:
        here = ", ".join(found) or "(none)"
        raise DataError(f"{path} holds the arrays {here}, not x and y: save it by numpy.savez(path, x=x, y=y).")
    inputs, targets = found["x"], found["y"]
    if not targets.dim() or not inputs.dim() or len(inputs) != len(targets):
        raise DataError(f"{path}: x is {tuple(inputs.shape)} and y {tuple(targets.shape)}; give one y for each x.")
    return inputs, targets
