"""The layers of a network as matrices `[out, in * kernel]` with biases, for rules about whole matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from neoteny.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from neoteny.methods.base import Method, Step
    from neoteny.units.records import Network

__all__ = ["Matrix", "matrices", "norms", "whole"]


@dataclass(frozen=True)
class Matrix:
    """One weight matrix.

    Attributes:
        name: the parameter.
        outputs: the dimension of it that runs along the layer's outputs.
        biases: the layer's biases.
        embedding: whether its inputs are indices, so that rows are picked and never summed.
    """

    name: str
    outputs: int = 0
    biases: tuple[str, ...] = ()
    embedding: bool = False

    def laid_out(self, weight: Tensor) -> Tensor:
        """The parameter as a matrix `[out, in * kernel]`.

        >>> import torch
        >>> Matrix("w", outputs=1).laid_out(torch.zeros(3, 4, 5, 5)).shape
        torch.Size([4, 75])
        """
        return weight.movedim(self.outputs, 0).flatten(1)

    def back(self, matrix: Tensor, weight: Tensor) -> Tensor:
        """The inverse of `laid_out`, in the shape of `weight`."""
        shape = weight.movedim(self.outputs, 0).shape
        return matrix.reshape(shape).movedim(0, self.outputs)


def matrices(network: Network, tensors: Mapping[str, Tensor]) -> list[Matrix]:
    """The trained weight matrices of a network, without those of norms and parameters of no layer (tokens).

    An embedding is recognised by how its units lie in it; without unit layers, by its initial values.
    """
    recorded = {slices.name: slices.dim for layer in network.layers for slices in layer.incoming}
    read = {slices.name: slices.dim for layer in network.layers for slices in layer.outgoing}
    found: dict[str, Matrix] = {}
    for own in network.modules.values():
        trained = [name for name in own if name in tensors and name in network.initialisers and name not in found]
        weights = [
            name
            for name in trained
            if tensors[name].dim() > 1
            and (name in recorded or name in read or "weight" in name.rpartition(".")[2])
            and name not in network.norms
        ]
        vectors = [name for name in trained if tensors[name].dim() == 1 and name not in network.norms]
        for name in weights:
            outputs = recorded.get(name, 1 - read[name] if name in read else 0)
            biases = tuple(v for v in vectors if len(weights) == 1 or v.replace("bias", "weight") == name)
            drawn = network.initialisers[name]
            looked_up = recorded.get(name) == 1 or (drawn.kind == "normal" and drawn.scale == 1)
            embedding = looked_up and tensors[name].dim() == 2 and not vectors and name not in read
            found[name] = Matrix(name, outputs, biases, embedding)
    return list(found.values())


def norms(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """The trained gains and shifts of norms, each with its neutral value, 1 or 0."""
    return {
        name: 0.0 if _is_shift(name, network.initialisers[name].middle) else 1.0
        for name in network.norms
        if name in tensors and name in network.initialisers
    }


def _is_shift(name: str, middle: float) -> bool:
    """Whether a norm's parameter is added; a gain may begin at 0 as well, and then its name tells."""
    last = name.rpartition(".")[2]
    return "bias" in last or ("weight" not in last and middle == 0)


def whole(method: Method, step: Step, name: str) -> Tensor:
    """A parameter that is whole in this process.

    Raises:
        SettingError: it is sharded.
    """
    if step.shape(name) != tuple(step.tensors[name].shape):
        raise SettingError(
            f"{type(method).__name__} needs whole parameters, and of {name} {list(step.shape(name))} only a part "
            f"{list(step.tensors[name].shape)} is in this process; train with copies (DistributedDataParallel) instead."
        )
    return step.tensors[name]
