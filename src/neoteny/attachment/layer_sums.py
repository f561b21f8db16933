"""The sums over one layer's activations, pass by pass, and which passes belong to the gradients of the next step."""

from __future__ import annotations

import ctypes
import functools
import math
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _current_graph_task_id as graph_task  # pyright: ignore
from torch._C import _is_tracing as is_tracing  # pyright: ignore
from torch._C import _len_torch_dispatch_stack as modes  # pyright: ignore
from torch._C._functorch import peek_interpreter_stack  # pyright: ignore
from torch.autograd.graph import get_gradient_edge
from torch.utils.hooks import RemovableHandle

from neoteny.attachment.distributed import Processes
from neoteny.attachment.kernels import fields, kernels, serves, worthwhile
from neoteny.units.activations import AVERAGED
from neoteny.units.records import UnitLayer
from neoteny.units.slices import Slices

PASSES = 64  # tensors kept between two steps: a user who never steps does not run out of memory
_PIECE = 2**18  # entries summed at once on a CPU: the |h| of a piece stay in cache
_ORDERS = {
    "mean_abs": 1,
    "fired": 0,
}  # of the norm that is the same sum, in one pass


class _Pass:
    """What was seen in a forward pass, and whether its backward pass ran.

    Which of several passes ran shows by a hook of the node that made the tensor. The hook costs more than all the rest
    of a pass. So a pass that is the only one keeps the node, and has the hook once there is another.
    """

    __slots__ = ("kept", "node", "output", "ran", "sums")

    def __init__(self, sums: Tensor, kept: Tensor | None, node: Any = None, output: int = 0):
        self.sums, self.kept, self.node, self.output = sums, kept, node, output
        self.ran = node is None

    def follow(self) -> None:
        """Note from now on when the gradient of the tensor that was seen arrives."""
        if self.node is not None:
            self.node.register_prehook(self._run)
            self.node = None

    def _run(self, grads: tuple[Tensor | None, ...]) -> None:
        self.ran |= grads[self.output] is not None


class _Summing(ctypes.Structure):
    _fields_ = fields("before units block after examples fired")


class LayerSums:
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
        self.shape: Sequence[int] | None = None  # of the tensors that were looked at
        self.told: _Summing | None = None  # what the kernel is told of them
        self.sum: Callable[[int, int], None] | None = None  # the kernel; None where it does not serve
        self.spare: Tensor | None = None  # where a kernel writes the sums of the first pass after a step
        self.written = False  # whether it did
        self.passes: list[_Pass] = []  # those since the last backward pass, unless there are very many
        self.further = torch.zeros(1 + counts + len(rows) * layer.size, dtype=dtype, device=parameter.device)
        self.pours = False  # whether there are sums in `further`: of compiled passes, and where there are very many
        self.used: Tensor | None = None
        self.kept: deque[Tensor] = deque(maxlen=PASSES)
        self.kept_used: deque[Tensor] = deque(maxlen=PASSES)
        self.opened = self.ended = self.outside = self.rests = False

    @property
    def seen(self) -> bool:
        """Whether there are sums."""
        return self.opened or self.ended

    def __call__(self, module: nn.Module, value: Tensor) -> None:
        """A forward pass of the reader."""
        if module is not self.module or not module.training or not torch.is_grad_enabled():
            return
        if torch.compiler.is_compiling():
            if self.keeps:
                self.kept.append(value.detach())
            self._pour(self._sums(value.detach()))
            return
        if self.rests:
            self.opened = True
            return
        if is_tracing() or peek_interpreter_stack() is not None:
            return  # a transform of `torch.func` or `torch.jit.trace` runs the network: its tensors must not be kept
        if self.processes.unknown:
            self.processes.meet()
        within_backward = graph_task() != -1
        if not within_backward:
            self.outside = True
        elif self.outside:
            return  # repeated within the backward pass: it was counted
        node = None if within_backward else _node_of(value)
        seen = _Pass(self._measured(value), value.detach() if self.keeps else None, node, value.output_nr)
        if seen.kept is not None:
            self.kept.append(seen.kept)
        if self.pours or len(self.passes) >= PASSES:
            self._pour(seen.sums)
            return
        self.opened = True
        self.passes.append(seen)
        if len(self.passes) > 1:
            for one in self.passes[-2:]:
                one.follow()

    def _pour(self, sums: Tensor) -> None:
        self.opened = self.pours = True
        self.further.add_(sums)

    def _look_at(self, value: Tensor) -> None:
        """See where a tensor of another shape or on another device can be summed."""
        if self.further.device != value.device:
            self.further, self.spare = self.further.to(value.device), None
            self.used = None if self.used is None else self.used.to(value.device)
        self.shape, self.sum = value.shape, None
        self.told, compiled = self._told_of(value.shape), kernels()
        if self.told is not None and compiled is not None:
            self.sum = functools.partial(compiled.neoteny_sum, ctypes.addressof(self.told))

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
        if value.shape != self.shape:
            self._look_at(value)
        if self.sum is None or not serves(value) or modes():
            if value.device != self.further.device:
                self._look_at(value)
            return self._sums(value.detach())
        found = self.spare
        if found is None or self.written:
            found = torch.empty_like(self.further)
        if self.spare is None:
            self.spare = found
        self.written = True
        self.sum(value.data_ptr(), found.data_ptr())
        return found

    def _told_of(self, shape: Sequence[int]) -> _Summing | None:
        """What the kernel is told of tensors of a shape; None where it does not serve."""
        dim, units, block = self.reader.dim % len(shape), self.slices.size, self.slices.block
        plain = self.rows in (["mean_abs"], ["fired"]) and self.slices.contiguous and serves(self.further)
        if not (plain and shape[dim] == units * block and worthwhile(math.prod(shape))):
            return None
        before, after = math.prod(shape[:dim]), math.prod(shape[dim + 1 :])
        examples = shape[0] if len(shape) > -self.reader.dim else 1
        return _Summing(before, units, block, after, examples if self.counts else -1, self.rows == ["fired"])

    def end_of_backward(self) -> None:
        """The gradient of a weight that feeds the units is computed: what was seen so far belongs to it."""
        if len(self.passes) == 1 and not (self.ended or self.keeps or self.pours):  # as a rule
            self.used, self.ended, self.opened = self.passes.pop().sums, True, False
            return
        if self.rests:
            return
        waiting = self._set_aside() if len(self.passes) > 1 else []
        goes_on = self.ended and self.parameter.grad is not None
        if goes_on and self.used is not None:
            self.used = self.used + self._open()
            self.kept_used.extend(self.kept)
        else:  # the first since the gradients were cleared
            self.used = self._open()
            if self.keeps:
                self.kept_used = deque(self.kept, PASSES)
        self.ended = self.opened or goes_on
        self._take_anew(waiting)

    def follow_gradients(self) -> RemovableHandle:
        """Have `end_of_backward` called; returns the hook's handle.

        The hook does not hold this: what it sees holds a graph that holds the parameter, in ways that Python does not
        see.
        """
        held = weakref.ref(self)

        def ended(grad: Tensor) -> None:
            own = held()
            if own is not None:
                own.end_of_backward()

        ended.__torch_unserializable__ = True  # pyright: ignore[reportFunctionMemberAccess] - it stays behind
        return self.parameter.register_hook(ended)

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

    def take(self) -> Tensor:
        """The sums of the passes whose gradients the step has used."""
        return self.used if self.ended and self.used is not None else self._open()

    def take_kept(self) -> list[Tensor]:
        """The tensors of these passes."""
        return list(self.kept_used if self.ended else self.kept)

    def state(self) -> list[Any]:
        """What `load` takes."""
        used = torch.zeros_like(self.further) if self.used is None else self.used
        return [self.opened, self.ended, self._open().clone(), used.clone()]

    def load(self, opened: bool, ended: bool, seen: Tensor, used: Tensor) -> None:
        """Go on where `state` was taken."""
        self._take_anew([_Pass(seen.to(self.further, copy=True), None)] if opened else [])
        self.used, self.ended = used.to(self.further, copy=True), bool(ended)

    def clear(self) -> None:
        """Forget what was seen; what `take` gave is written to again from the next pass on."""
        self.written = False
        if not (self.passes or self.ended or self.pours):  # as where it rests
            self.opened = self.outside = False
            return
        self._take_anew([])
        self.kept_used.clear()
        self.used = None
        self.ended = self.outside = False

    def __reduce__(self):
        return _nothing, ()


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


def _node_of(value: Tensor) -> Any:
    """The node of the graph that the tensor's gradient reaches; None without one."""
    node = value.grad_fn
    return get_gradient_edge(value).node if node is None and value.requires_grad else node


def _nothing():
    return _ignore


def _ignore(module: nn.Module, value: Tensor) -> None:
    pass
