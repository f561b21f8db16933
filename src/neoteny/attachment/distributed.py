"""Several processes that train one network: statistics are those of the whole batch, and every process decides alike.

Sums over the batch are added up over the processes in one call a step. All else needs no talk: the same statistics, the
same weights and keyed draws make every process choose the same units and write the same rows, each into the part of
the parameters that it holds. Processes may hold a copy each (`DistributedDataParallel`) or a shard (`fully_shard`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from neoteny.units.rewrite import TensorPart

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: object) -> bool:
    """Whether it is a `DTensor`, found without importing what a single process does not need."""
    return type(tensor).__name__ == "DTensor" and hasattr(tensor, "placements")


def local(tensor: Tensor) -> Tensor:
    """The values that are here, sharing their memory."""
    return tensor.detach().to_local() if is_sharded(tensor) else tensor.detach()  # pyright: ignore


def part_of(tensor: DTensor) -> TensorPart:
    """Which part of a sharded tensor is here."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    _, start = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return TensorPart(tuple(tensor.shape), tuple(start))


def like(value: Tensor, tensor: Tensor) -> Tensor:
    """What is here as a tensor sharded in the same way: for checkpoints, which other numbers of processes may read."""
    if not is_sharded(tensor) or value.shape != local(tensor).shape:
        return value
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        value,
        tensor.device_mesh,  # pyright: ignore
        tensor.placements,  # pyright: ignore
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )


class Processes:
    """The processes that train one network together; with one of them, nothing is sent.

    Args:
        model: as the user has it; `DistributedDataParallel` tells its group. Trainers wrap a model after its optimizer
            was made: then the wrapper is met in a forward pass.
        parameters: those of the inner network; sharded ones tell their mesh.
    """

    def __init__(self, model: nn.Module, parameters: Iterable[Tensor]):
        sharded = next((p for p in parameters if is_sharded(p)), None)
        self._batch: list[Any] = []  # groups over which the batch is split
        self._shards: list[Any] = []  # groups over which parameters are
        if sharded is not None:
            mesh = sharded.device_mesh  # pyright: ignore
            self._batch = [mesh.get_group(dim) for dim in range(mesh.ndim)]
            placed = zip(self._batch, sharded.placements, strict=True)  # pyright: ignore
            self._shards = [group for group, placement in placed if placement.is_shard()]
        elif isinstance(model, nn.parallel.DistributedDataParallel):
            self._batch = [model.process_group]
        self.unknown = not self._batch

    def meet(self) -> None:
        """Within a forward pass: see whether it is that of a `DistributedDataParallel`."""
        if (
            self.unknown
            and (wrapper := getattr(nn.parallel.DistributedDataParallel, "_active_ddp_module", None)) is not None
        ):
            self._batch, self.unknown = [wrapper.process_group], False

    @property
    def several(self) -> bool:
        """Whether there may be more than one."""
        return bool(self._batch)

    def add_up(self, sums: Sequence[Tensor]) -> list[Tensor]:
        """Sums over the examples that each process saw, added up over the processes, in one call."""
        return _added(sums, self._batch)

    def add_up_shards(self, sums: Sequence[Tensor]) -> list[Tensor]:
        """Sums over the entries of parameters that each process holds, added up."""
        return _added(sums, self._shards)

    def holds_copies(self) -> bool:
        """Whether this process is the one that counts parameters of which all hold a copy."""
        return all(torch.distributed.get_rank(group) == 0 for group in self._shards)


def _added(sums: Sequence[Tensor], groups: Sequence[Any]) -> list[Tensor]:
    if not groups or not sums:
        return list(sums)
    packed = torch.cat([value.flatten() for value in sums])
    for group in groups:
        torch.distributed.all_reduce(packed, group=group)
    parts = packed.split([value.numel() for value in sums])
    return [part.view(value.shape) for part, value in zip(parts, sums, strict=True)]


def parts(parameters: Mapping[str, Tensor]) -> dict[str, TensorPart]:
    """For each sharded parameter which part of it is here."""
    return {name: part_of(p) for name, p in parameters.items() if is_sharded(p)}  # pyright: ignore
