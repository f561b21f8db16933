"""Measure what hidden units do on the batches that a user's network is trained on.

Forward passes may be for training or evaluation, several before one step, through the whole model or parts of it,
compiled or not; some are repeated within the backward pass, to save memory. Only sums over batch and positions are
kept. The tensors themselves are kept only where a method asks for the mean of |h - c|, as c is known after the step.
"""

from __future__ import annotations

import functools
import math
import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack  # pyright: ignore

from neoteny.attachment.distributed import Processes, is_sharded
from neoteny.attachment.kernels import kernels, serves, worthwhile
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

    def rest(self, rests: bool) -> None:
        """Whether to note only that there are passes, as nobody will read what is seen before the next step."""
        for sums in self._layers.values():
            sums.rests = rests

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
        return {name: sums.state() for name, sums in alone.items() if sums.seen}

    def load_state_dict(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Go on where `state` was taken; layers that it leaves out have seen nothing."""
        for name, sums in self._layers.items():
            sums.clear()
            if name in state:
                sums.load(*state[name])

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
        self.sums, self._counts = sums, int(counts)
        self._rows, self._kept, self._reader, self._processes = rows, kept, reader, processes

    @property
    def _count(self) -> Tensor:
        return self.sums[0]

    def average(self, statistic: str) -> Tensor:
        """One of the statistics in `AVERAGED`."""
        return self.sums[1 + self._counts :].view(len(self._rows), -1)[self._rows[statistic]] / self._count

    def place(self, statistic: str) -> int:
        """Where the sums of a statistic begin in `sums`."""
        first = 1 + self._counts
        return first + self._rows[statistic] * ((self.sums.numel() - first) // len(self._rows))

    def examples(self) -> Tensor:
        """How many examples there were in all passes; counted at each reading where units are read several times.

        0 where nothing finite was seen.
        """
        return self.sums[1]

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
        self.fits: tuple[Sequence[int], Callable[[int, int], None] | None] | None = None
        self.passes: list[_Pass] = []  # those since the last backward pass, unless there are very many
        self.further = torch.zeros(1 + counts + len(rows) * layer.size, dtype=dtype, device=parameter.device)
        self.pours = False  # whether there are sums in `further`: of compiled passes, and where there are very many
        self.used: Tensor | None = None
        self.kept: deque[Tensor] = deque(maxlen=_PASSES)
        self.kept_used: deque[Tensor] = deque(maxlen=_PASSES)
        self.opened = self.ended = self.outside = self.rests = False

    @property
    def seen(self) -> bool:
        return self.opened or self.ended

    def __call__(self, module: nn.Module, value: Tensor) -> None:
        """A forward pass of the reader."""
        if module is not self.module or not module.training or not torch.is_grad_enabled():
            return
        if torch.compiler.is_compiling():
            self._see(value.detach())
            return
        if self.rests:
            self.opened = True
            return
        if _transformed():
            return
        self.processes.meet()
        if self.further.device != value.device:
            self.further, self.fits = self.further.to(value.device), None
            self.used = None if self.used is None else self.used.to(value.device)
        within_backward = torch._C._current_graph_task_id() != -1
        if not within_backward:
            self.outside = True
        elif self.outside:
            return  # repeated within the backward pass: it was counted
        seen = self._see(value.detach() if self.keeps else value)
        if value.requires_grad and not within_backward:
            value.register_hook(seen.run)
        else:
            seen.ran = True

    def _see(self, value: Tensor) -> _Pass:
        self.opened = True
        if self.keeps:
            self.kept.append(value)
        compiling = torch.compiler.is_compiling()
        seen = _Pass(self._sums(value) if compiling else self._measured(value), value if self.keeps else None)
        if compiling or self.pours or len(self.passes) >= _PASSES:
            self.further.add_(seen.sums)
            self.pours = True
        else:
            self.passes.append(seen)
        return seen

    def _sums(self, value: Tensor) -> Tensor:
        """The number of entries, the number of examples where it is wanted, and all statistics of all units."""
        dim = self.reader.dim % value.dim()
        like = self.further[:1]
        count = value.numel() // value.shape[dim] * self.slices.block
        sums = [self.slices.total(_summed(value, dim, name, like.dtype)) for name in self.rows]
        examples = [torch.full_like(like, value.shape[0] if value.dim() > -self.reader.dim else 1)]
        found = torch.cat([torch.full_like(like, count), *examples[: self.counts], *sums])
        return torch.where(found.isfinite().all(), found, 0.0)

    def _measured(self, value: Tensor) -> Tensor:
        """The same, by a kernel where one serves."""
        shape = value.shape
        if self.fits is None or self.fits[0] != shape:
            self.fits = shape, self._kernel_for(shape)
        compiled = self.fits[1]
        if compiled is None or not serves(value):
            return self._sums(value.detach())
        found = torch.empty_like(self.further)
        compiled(value.data_ptr(), found.data_ptr())
        return found

    def _kernel_for(self, shape: Sequence[int]) -> Callable[[int, int], None] | None:
        """The kernel for such tensors, from where it reads to where it writes; None where it does not serve."""
        dim, units, block = self.reader.dim % len(shape), self.slices.size, self.slices.block
        plain = self.rows == ["mean_abs"] and not self.counts and self.slices.contiguous and serves(self.further)
        fits = shape[dim] == units * block and worthwhile(math.prod(shape))
        compiled = kernels() if plain and fits else None
        if compiled is None:
            return None
        before, after = math.prod(shape[:dim]), math.prod(shape[dim + 1 :])
        return functools.partial(compiled.neoteny_sum_magnitudes, before, units, block, after)

    def end_of_backward(self, grad: Tensor) -> None:
        """The gradient of a weight that feeds the units is computed: what was seen so far belongs to it."""
        if self.rests:
            return
        waiting = self._set_aside() if len(self.passes) > 1 else []
        goes_on = self.ended and self.parameter.grad is not None
        if goes_on and self.used is not None:
            self.used = self.used + self._open()
            self.kept_used.extend(self.kept)
        else:  # the first since the gradients were cleared
            self.used = self._open()
            self.kept_used = deque(self.kept, _PASSES)
        self.ended = self.opened or goes_on
        self._take_anew(waiting)

    def _set_aside(self) -> list[_Pass]:
        """Take out of what is open the passes whose backward pass did not run, where that of others did."""
        if self.pours:
            return []
        ran = [seen for seen in self.passes if seen.ran]
        waiting = [seen for seen in self.passes if not seen.ran]
        if not ran or not waiting:
            return []
        self._take_anew(ran)
        return waiting

    def _take_anew(self, passes: list[_Pass]) -> None:
        """Let these be all the passes that are open."""
        self.passes, self.opened = passes, bool(passes)
        if self.kept:
            self.kept.clear()
            self.kept.extend(seen.kept for seen in passes if seen.kept is not None)
        if self.pours:
            self.further.zero_()
            self.pours = False

    def _open(self) -> Tensor:
        """The sums of the passes that are open, of which nothing is written to later."""
        if len(self.passes) == 1 and not self.pours:
            return self.passes[0].sums
        total = self.further.clone() if self.pours or not self.passes else None
        for seen in self.passes:
            total = seen.sums if total is None else total + seen.sums
        assert total is not None
        return total

    end_of_backward.__torch_unserializable__ = True  # pyright: ignore[reportFunctionMemberAccess] - it stays behind

    def take(self) -> Tensor:
        return self.used if self.ended and self.used is not None else self._open()

    def take_kept(self) -> list[Tensor]:
        return list(self.kept_used if self.ended else self.kept)

    def state(self) -> list[Any]:
        used = torch.zeros_like(self.further) if self.used is None else self.used
        return [self.opened, self.ended, self._open().clone(), used.clone()]

    def load(self, opened: bool, ended: bool, seen: Tensor, used: Tensor) -> None:
        self._take_anew([_Pass(seen.to(self.further, copy=True), None, ran=True)] if opened else [])
        self.used, self.ended = used.to(self.further, copy=True), bool(ended)

    def clear(self) -> None:
        if not (self.passes or self.ended or self.pours):  # as where it rests
            self.opened = self.outside = False
            return
        self._take_anew([])
        self.kept_used.clear()
        self.used = None
        self.ended = self.outside = False

    def __reduce__(self):
        return _nothing, ()


def _transformed() -> bool:
    """Whether a transform of `torch.func` or `torch.jit.trace` runs the network: its tensors must not be kept."""
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
