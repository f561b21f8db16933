"""`neoteny diagnose`: a check-up of your own network."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from neoteny.checks import require_count, require_positive
from neoteny.cli.own import check_figure, imported, optimizer_named, read_arrays, show, write_figure
from neoteny.cli.reading import parsed
from neoteny.errors import CheckpointError, DataError, NetworkError, SettingError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


__all__ = ["main"]


@dataclass(frozen=True)
class DiagnoseOptions:
    """Show what has changed in a network, layer by layer, whether it still learns as a new one does, and what helps."""

    ID: ClassVar[str] = "neoteny diagnose"
    network: Annotated[str, tyro.conf.Positional]
    """MODULE:FACTORY, a function or class without arguments that returns the network, such as mymodel:build"""
    inputs: Path
    """an .npz file with the inputs to look at: one array, or one for each argument of the network, by its name"""
    checkpoint: Path | None = None
    """the trained weights: a state_dict saved by torch.save, or a dict with it (state_dict, model_state_dict, model)"""
    reference: Path | None = None
    """the initial weights, saved likewise; by default those that FACTORY returns, if there is a checkpoint"""
    targets: str | None = None
    """the array of the inputs' file that holds the targets: whole numbers are classes"""
    trainability: tyro.conf.FlagCreatePairsOff[bool] = False
    """train copies on new targets beside new networks, for a verdict: does it still learn as well?"""
    optimizer: str | None = None
    """yours, for that: the name of a class of torch.optim, such as adam or sgd; without it there is no verdict; it
    implies --trainability"""
    step_size: float | None = None
    """its step size; 0.001 by default"""
    steps: int | None = None
    """and how many steps, as many as it takes in your stream until something changes again; 200 by default"""
    figure: Path | None = Path("checkup.png")
    """draw it here, as .png, .pdf or .svg; None draws nothing"""


def main(arguments: Sequence[str]) -> None:
    """Print the check-up, and draw it."""
    options = parsed(DiagnoseOptions, arguments, "neoteny diagnose")
    learns = options.trainability or options.optimizer is not None
    if options.steps is not None and not learns:
        raise SettingError("--steps says how long copies learn: give --optimizer NAME as well, or --trainability.")
    if options.step_size is not None and options.optimizer is None:
        raise SettingError("--step-size is that of --optimizer: name this as well, such as --optimizer adam.")
    options = replace(
        options,
        step_size=1e-3 if options.step_size is None else options.step_size,
        steps=200 if options.steps is None else options.steps,
    )
    require_positive(options, "step_size")
    require_count(options, "steps", least=1)
    check_figure(options.figure)
    import neoteny

    optimizer = None if options.optimizer is None else optimizer_named(options.optimizer)
    network = _network(options.network)
    inputs, targets = _inputs(options.inputs, network, options.targets)
    reference = None
    if options.checkpoint is not None:
        reference = {name: value.clone() for name, value in network.state_dict().items()}
        _load(network, options.checkpoint)
    if options.reference is not None:
        reference = _weights(options.reference)
    trained: bool | dict[str, Any] = False
    if learns:
        make = optimizer and (lambda parameters: optimizer(parameters, lr=options.step_size))
        if optimizer is not None:
            _require_steps(optimizer, options.step_size, network)
        trained = {"optimizer": make, "steps": options.steps}
    report = neoteny.diagnose(network, inputs, reference=reference, targets=targets, trainability=trained)
    show(report)
    if options.figure is not None:
        from neoteny.report.figures.checkup import draw

        write_figure(options.figure, draw(report))


def _network(target: str) -> nn.Module:
    import torch
    from torch import nn

    factory = imported(target)
    torch.manual_seed(0)  # what it returns may be the reference: the same each time
    try:
        network = factory if isinstance(factory, nn.Module) else factory()
    except Exception as error:  # whatever a user's function raises
        raise NetworkError(
            f"{target!r} cannot be called without arguments ({type(error).__name__}: {error}): write a function that "
            "takes none and returns the network."
        ) from error
    if not isinstance(network, nn.Module):
        raise NetworkError(f"{target!r} returns {type(network).__name__}, not an nn.Module: let it return the network.")
    return network


def _require_steps(optimizer: type[Optimizer], step_size: float | None, network: nn.Module) -> None:
    """The optimizer takes the network's parameters with gradients that are dense, and makes a step by itself.

    Raises:
        SettingError: it does not, as SparseAdam, LBFGS and, with biases, Muon.
    """
    import torch

    own = [torch.nn.Parameter(parameter.detach().clone()) for parameter in network.parameters()]
    for parameter in own:
        parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer(own, lr=step_size).step()  # type: ignore[call-arg]
    except Exception as error:  # each optimizer has its own
        said = f"--optimizer: torch.optim.{optimizer.__name__} cannot train this network ({error})"
        raise SettingError(f"{said}: name another one, such as adam.") from error


def _load(network: nn.Module, path: Path) -> None:
    from neoteny.measures.copies import weights_for

    weights = _weights(path)
    try:
        network.load_state_dict(weights_for(network, weights))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit this network ({error}): give the factory that made it.") from error


def _weights(path: Path) -> Mapping[str, Any]:
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch.load raise nearly anything
        raise CheckpointError(f"{path} cannot be read ({error}): give a file that torch.save wrote.") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds {type(content).__name__}, not weights: save model.state_dict().")
    return content


def _inputs(path: Path, network: nn.Module, targets: str | None) -> tuple[Any, Tensor | None]:
    """What the network is given, and the targets: one array as its first argument, several by their names."""
    arrays = read_arrays(path)
    if targets is not None and targets not in arrays:
        raise DataError(f"{path} holds the arrays {_listed(arrays)}, none of them the targets {targets!r}.")
    goal = arrays.pop(targets) if targets is not None else None
    known = inspect.signature(network.forward).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    strangers = [name for name in arrays if name not in known and not anything]
    if not arrays or (strangers and len(arrays) > 1):
        raise DataError(
            f"{path} holds the arrays {_listed(arrays)}, but {type(network).__name__} takes {_listed(known)}: name the "
            "arrays after its arguments, give a single one, or say --targets NAME if one is the targets."
        )
    if strangers or (len(arrays) == 1 and anything and not set(arrays) & set(known)):
        return next(iter(arrays.values())), goal
    return arrays, goal


def _listed(names: Any) -> str:
    return ", ".join(names) or "(none)"
