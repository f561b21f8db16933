"""Measure what hidden units do on the batches that a user's network is trained on.

Forward passes may be for training or evaluation, several before one step, through the whole model or parts of it,
compiled or not; some are repeated within the backward pass, to save memory. Only sums over batch and positions are
kept. The tensors themselves are kept only where a method asks for the mean of |h - c|, as c is known after the step.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack  # pyright: ignore

from neoteny.attachment.distributed import Processes, is_sharded
from neoteny.units.activations import AVERAGED, Activations
from neoteny.units.records import Network, Reader, UnitLayer
from neoteny.units.slices import Slices

_PASSES = 64  # tensors kept between two steps: a user who never steps does not run out of memory
_PIECE = 2**18  # entries summed at once on a CPU: the |h| of a piece stay in cache
_ORDERS = {
    "mean_abs": 1,
    "fired": 0,
}  # of the norm that is the same sum, in one pass


class TrainingActivations:
    """Sums over the activations of each unit layer, from the passes that computed the gradients of the next step.

    A pass counts if the layer's reader is in training mode and gradients are recorded. Passes before the gradients were
    last cleared do not count: their step was left out. (Clearing means setting to None, the default of `zero_grad`.)
    Nor do passes through which no gradient went while it went through others, as where a loss was only looked at.
    Copies and pickles of the network are not measured.

    Args:
        model: the network, without wrappers.
        network: its unit layers.
        wanted: statistics, out of `neoteny.units.activations.STATISTICS`.
        processes: the sums of all of them are added.
    """

    def __init__(self, model: nn.Module, network: Network, wanted: Collection[str], processes: Processes):
        rows = [name for name in AVERAGED if name in wanted]
        self._keeps, self._processes, self._handles = "mean_abs_about" in wanted, processes, []
        counts = "examples" in wanted
        self._layers: dict[str, _LayerSums] = {}
        for layer in network.layers:
            if layer.readers:
                parameter = model.get_parameter(layer.incoming[0].name)
                module = model.get_submodule(layer.readers[0].module)
                self._layers[layer.name] = _LayerSums(layer, module, parameter, rows, self._keeps, counts, processes)
        self._rows = {name: row for row, name in enumerate(rows)}
        _compile_anew(model)
        self._listen()

    def _listen(self) -> None:
        for sums in self._layers.values():
            self._handles.append(sums.reader.listen(sums.module, sums))
            if not is_sharded(sums.parameter):  # a shard's gradient does not come from autograd
                self._handles.append(sums.parameter.register_hook(sums.end_of_backward))

    def bind(self, model: nn.Module) -> None:
        """Listen to the modules and parameters that the network has now."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for sums in self._layers.values():
            sums.module, sums.parameter = model.get_submodule(sums.reader.module), model.get_parameter(sums.feeds)
        self._listen()

    def take(self) -> dict[str, Activations]:
        """What was seen since the last call, by layer; without layers that no process can have seen."""
        seen = {name: sums for name, sums in self._layers.items() if sums.seen or self._processes.several}
        added = self._processes.add_up([sums.take() for sums in seen.values()])
        found: dict[str, Activations] = {}
        for (name, sums), total in zip(seen.items(), added, strict=True):
            found[name] = SummedActivations(
                total, self._rows, sums.counts, sums.take_kept(), sums.reader, self._processes
            )
        for sums in self._layers.values():
            sums.clear()
        return found

    @property
    def anything(self) -> bool:
        """Whether this process has seen something since the last `take`."""
        return any(sums.seen for sums in self._layers.values())

    def clear(self) -> None:
        """Forget what was seen."""
        for sums in self._layers.values():
            sums.clear()

    def state_dict(self) -> dict[str, list[Any]]:
        """What was seen since the last step, by layer: in a single process, and without kept tensors."""
        alone = {} if self._processes.several else self._layers
        return {
            name: [sums.opened, sums.ended, sums.open.clone(), sums.used.clone()]
            for name, sums in alone.items()
            if sums.seen
        }

    def load_state_dict(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Go on where `state` was taken; layers that it leaves out have seen nothing."""
        for name, sums in self._layers.items():
            sums.clear()
            if name in state:
                sums.opened, sums.ended = map(bool, state[name][:2])
                for own, saved in zip((sums.open, sums.used), state[name][2:], strict=True):
                    own.copy_(saved)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self.clear()


class SummedActivations(Activations):
    """Statistics from sums over all examples of a step; not a number where nothing finite was seen.

    Args:
        sums: the number of entries of each unit, the number of examples where it is wanted, then the sums of every
            statistic, `[1 or 2 + statistics * units]`.
        rows: in which row of these each statistic is.
        counts: whether the number of examples is there.
        kept: the tensors themselves, as the reader got them.
        reader: how units lie in them.
        processes: those that have the rest of the batch.
    """

    def __init__(
        self,
        sums: Tensor,
        rows: dict[str, int],
        counts: bool,
        kept: list[Tensor],
        reader: Reader,
        processes: Processes,
    ):
        self._count, self._examples, self._sums = sums[0], sums[1 : 1 + counts], sums[1 + counts :]
        self._rows, self._kept, self._reader, self._processes = rows, kept, reader, processes

    def average(self, statistic: str) -> Tensor:
        """One of the statistics in `AVERAGED`."""
        return self._sums.view(len(self._rows), -1)[self._rows[statistic]] / self._count

    def examples(self) -> Tensor:
        """How many examples there were in all passes; counted at each reading where units are read several times.

        0 where nothing finite was seen.
        """
        return self._examples[0]

    def mean_abs_about(self, centre: Tensor) -> Tensor:
        """Mean of |h - c|."""
        centre = centre.to(self._count.dtype)
        total = torch.zeros_like(centre)
        for value in self._kept:
            away = self._reader.features(value).to(centre.dtype) - centre.unsqueeze(-1)
            total += away.abs_().sum((0, 2))
        (total,) = self._processes.add_up([total])
        return total / self._count


def _compile_anew(model: nn.Module) -> None:
    """Let a compiled network see the hooks.

    torch.compile does not look at hooks when it decides whether a graph of the same class fits (its setting
    `skip_nnmodule_hook_guards`). So a graph of another network would be run without our hooks, or with them.
    """
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None:  # else nothing was compiled; making an optimizer imports it
        dynamo.config.skip_nnmodule_hook_guards = False
        for kind in {type(module) for module in model.modules()}:
            code = getattr(kind.forward, "__code__", None)
            if code is not None:
                torch._C._dynamo.eval_frame.reset_code(code)  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(eq=False)
class _Pass:
    """What was seen in a forward pass, and whether its backward pass ran."""

    sums: Tensor
    kept: Tensor | None
    ran: bool = False

    def run(self, grad: Tensor) -> None:
        """A hook of the tensor that was seen."""
        self.ran = True


class _LayerSums:
    """The sums of one layer: of passes since the last backward pass, and of those whose gradients the step will use."""

    def __init__(
        self,
        layer: UnitLayer,
        module: nn.Module,
        parameter: nn.Parameter,
        rows: list[str],
        keeps: bool,
        counts: bool,
        processes: Processes,
    ):
        self.processes, self.counts = processes, counts
        self.reader, self.module, self.parameter = layer.readers[0], module, parameter
        self.feeds = layer.incoming[0].name
        self.rows, self.keeps = rows, keeps
        self.slices = Slices(layer.name, 0, self.reader.index)
        dtype = torch.promote_types(parameter.dtype, torch.float32)
        self.open = torch.zeros(1 + counts + len(rows) * layer.size, dtype=dtype, device=parameter.device)
        self.used = torch.zeros_like(self.open)
        self.kept: deque[Tensor] = deque(maxlen=_PASSES)
        self.kept_used: deque[Tensor] = deque(maxlen=_PASSES)
        self.passes: list[_Pass] = []  # those in `open`, unless there are too many
        self.opened = self.ended = self.outside = False

    @property
    def seen(self) -> bool:
        return self.opened or self.ended

    def __call__(self, module: nn.Module, value: Tensor) -> None:
        """A forward pass of the reader."""
        if module is not self.module or not module.training or not torch.is_grad_enabled() or _transformed():
            return
        if not torch.compiler.is_compiling():
            self.processes.meet()
            if self.open.device != value.device:
                self.open, self.used = self.open.to(value.device), self.used.to(value.device)
            if torch._C._current_graph_task_id() == -1:
                self.outside = True
            elif self.outside:
                return  # repeated within the backward pass: it was counted
        self.opened = True
        tracked, value = value, value.detach()
        if self.keeps:
            self.kept.append(value)
        dim = self.reader.dim % value.dim()
        dtype = self.open.dtype
        count = value.numel() // value.shape[dim] * self.slices.block
        sums = [self.slices.total(_summed(value, dim, name, dtype)) for name in self.rows]
        examples = [torch.full_like(self.open[:1], value.shape[0] if value.dim() > -self.reader.dim else 1)]
        found = torch.cat([torch.full_like(self.open[:1], count), *examples[: self.counts], *sums])
        found = torch.where(found.isfinite().all(), found, 0.0)
        self.open.add_(found)
        if not torch.compiler.is_compiling() and len(self.passes) <= _PASSES:
            seen = _Pass(found, value if self.keeps else None)
            self.passes.append(seen)
            if tracked.requires_grad and torch._C._current_graph_task_id() == -1:
                tracked.register_hook(seen.run)
            else:
                seen.ran = True

    def end_of_backward(self, grad: Tensor) -> None:
        """The gradient of a weight that feeds the units is computed: what was seen so far belongs to it."""
        waiting = self._set_aside()
        if self.ended and self.parameter.grad is not None:
            self.used.add_(self.open)
            self.kept_used.extend(self.kept)
        else:  # the first since the gradients were cleared
            self.used.copy_(self.open)
            self.kept_used = deque(self.kept, _PASSES)
        self.ended = self.opened or (self.ended and self.parameter.grad is not None)
        self.open.zero_()
        self.kept.clear()
        self.passes, self.opened = waiting, bool(waiting)
        for seen in waiting:
            self._reopen(seen)

    def _set_aside(self) -> list[_Pass]:
        """Take out of what is open the passes whose backward pass did not run, where that of others did."""
        waiting = [seen for seen in self.passes if not seen.ran]
        if not waiting or len(waiting) == len(self.passes) or len(self.passes) > _PASSES:
            return []
        ran = [seen for seen in self.passes if seen.ran]
        self.open.zero_()
        self.kept.clear()
        for seen in ran:
            self._reopen(seen)
        return waiting

    def _reopen(self, seen: _Pass) -> None:
        self.open.add_(seen.sums)
        if seen.kept is not None:
            self.kept.append(seen.kept)

    end_of_backward.__torch_unserializable__ = True  # pyright: ignore[reportFunctionMemberAccess] - it stays behind

    def take(self) -> Tensor:
        return (self.used if self.ended else self.open).clone()

    def take_kept(self) -> list[Tensor]:
        return list(self.kept_used if self.ended else self.kept)

    def clear(self) -> None:
        if self.opened:
            self.open.zero_()
        if self.ended:
            self.used.zero_()
        self.kept.clear()
        self.kept_used.clear()
        self.passes.clear()
        self.opened = self.ended = self.outside = False

    def __reduce__(self):
        return _nothing, ()


def _transformed() -> bool:
    """Whether a transform of `torch.func` or `torch.jit.trace` runs the network: its tensors must not be kept."""
    if torch.compiler.is_compiling():
        return False
    return torch.jit.is_tracing() or peek_interpreter_stack() is not None  # pyright: ignore[reportPrivateImportUsage]


def _summed(value: Tensor, dim: int, statistic: str, dtype: torch.dtype) -> Tensor:
    """The sum of a statistic's function over all dimensions but one, `[length]`."""
    others, function = tuple(d for d in range(value.dim()) if d != dim), AVERAGED[statistic]
    order = _ORDERS.get(statistic)
    if order is not None and (torch.compiler.is_compiling() or value.device.type != "cpu"):
        return torch.linalg.vector_norm(value, order, others, dtype=dtype)
    if order is None or value.numel() <= _PIECE or not dim:
        return function(value).sum(others, dtype=dtype) if others else function(value).to(dtype)
    pieces = value.split(max(1, _PIECE * value.shape[0] // value.numel()))
    total = torch.zeros(value.shape[dim], dtype=dtype)
    for piece in pieces:
        total += function(piece).sum(others, dtype=dtype)
    return total


def _nothing():
    return _ignore


def _ignore(module: nn.Module, value: Tensor) -> None:
    pass
