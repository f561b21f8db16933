"""`neoteny diagnose`: a check-up of somebody's own network."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from neoteny.errors import CheckpointError, DataError, NetworkError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["main"]


@dataclass(frozen=True)
class Options:
    """Tell whether a network is losing its ability to learn: dormant units, ranks, weights, layer by layer."""

    network: Annotated[str, tyro.conf.Positional]
    """MODULE:FACTORY, a function or class without arguments that gives the network, such as mymodel:build"""
    inputs: Path
    """an .npz file with the inputs to look at: the array x, or its only one"""
    checkpoint: Path | None = None
    """the trained weights: a state_dict saved by torch.save, or a dict that has it under model or state_dict"""


def main(arguments: Sequence[str]) -> None:
    """Print the check-up."""
    options = tyro.cli(Options, args=list(arguments), prog="neoteny diagnose")
    import neoteny

    network = _network(options.network)
    if options.checkpoint is not None:
        _load(network, options.checkpoint)
    print(neoteny.diagnose(network, _inputs(options.inputs)))


def _network(target: str) -> nn.Module:
    from torch import nn

    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise NetworkError(f"{target!r} is not MODULE:FACTORY; write it like mymodel:build.")
    sys.path.insert(0, "")  # the user's module lies in the folder that the command is called from
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NetworkError(
            f"{target!r} cannot be imported ({error}): call from the folder with {module}, or put that on PYTHONPATH."
        ) from error
    finally:
        sys.path.remove("")
    network = factory if isinstance(factory, nn.Module) else factory()
    if not isinstance(network, nn.Module):
        raise NetworkError(f"{target!r} gives {type(network).__name__}, not an nn.Module: let it return the network.")
    return network


def _load(network: nn.Module, path: Path) -> None:
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch.load raise nearly anything
        raise CheckpointError(f"{path} cannot be read ({error}): give a file that torch.save wrote.") from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds {type(content).__name__}, no weights: save model.state_dict().")
    try:
        network.load_state_dict(content)
    except RuntimeError as error:
        raise CheckpointError(f"{path} is not this network's ({error}): give the factory that made it.") from error


def _inputs(path: Path) -> Tensor:
    import numpy as np
    import torch

    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(getattr(archive, "files", ()))
            if "x" not in names and len(names) != 1:
                raise DataError(f"{path} holds the arrays {', '.join(names) or '(none)'}: call the inputs x.")
            array = archive["x" if "x" in names else names[0]]
    except (OSError, ValueError, EOFError, AttributeError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): save the inputs with numpy.savez(path, x=inputs)."
        ) from error
    tensor = torch.from_numpy(array)
    return tensor.float() if tensor.is_floating_point() else tensor
