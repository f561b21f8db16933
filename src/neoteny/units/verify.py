"""Check with numbers what tracing claims: a unit whose outgoing weights are zero reaches no output.

Tracing believes that a module computes with the weight that it shows, and sees only what has a gradient. A layer that
transforms its weight, a head that reads a detached copy, neighbours chosen by features escape it. So in a copy of the
network the outgoing weights of some units of every layer are set to zero, then their incoming ones are changed:
no tensor of the output may move. If one does, halving the layers finds those that are guilty.
"""

from __future__ import annotations

import random as python_random
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from neoteny.units.copying import bare_copy, numbers_in, set_mode
from neoteny.units.inputs import arguments_of, first_examples
from neoteny.units.light import traceable_copy
from neoteny.units.records import UnitLayer
from neoteny.units.slices import Slices
from neoteny.units.states import States

__all__ = ["Verification", "verify"]

_IN_PLACE = 50_000_000  # parameters; of a larger network no second copy in double precision is made
_SMALL = 2_000_000  # parameters; a smaller network is checked with several draws
_DRAWS = 3  # in which every unit has its turn
_FEW = 8  # units of a layer that are changed in a large network
_MOST_PASSES = 96
_EXAMPLES = {True: 8, False: 2}  # of the batch, of a small network and of others
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@dataclass
class Verification:
    """What the check found.

    Attributes:
        moved: for each layer that reaches the output although nothing should read it, how, in words.
        in_training: those of them of which only outputs in training mode moved, such as an auxiliary classifier's.
        passes: forward passes that were made.
        seconds: how long they took.
        unchecked: why nothing could be checked, or "".
    """

    moved: dict[str, str] = field(default_factory=dict)
    in_training: set[str] = field(default_factory=set)
    passes: int = 0
    seconds: float = 0.0
    unchecked: str = ""

    def __str__(self) -> str:
        if self.unchecked:
            return f"Not checked with numbers: {self.unchecked}."
        return f"Checked with numbers on the example inputs: {self.passes} forward passes, {self.seconds:.1f} s."


def verify(model: nn.Module, layers: Sequence[UnitLayer], example_inputs: Any) -> Verification:
    """Change units that should be silent, and look whether the output moves, in evaluation and in training mode.

    In a network of up to two million parameters every unit is changed; in a larger one a third of each layer's units,
    and in one with more than 50 million eight units of each layer. The check is there for what concerns whole layers: a
    weight that is used in another way, a copy without a gradient, a statistic. What concerns single units is seen by
    tracing, which looks at all of them; to change all would triple the time of the check.

    The network stays as it was, to the bit. One with more than 50 million parameters is checked in its own precision
    and its own tensors, of which a few rows are changed and put back.

    Args:
        model: the network.
        layers: those of its unit layers that are said to preserve the function.
        example_inputs: as for `neoteny.units.find`.

    >>> from neoteny.units import find
    >>> class Detached(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         h = self.hidden(x).relu()
    ...         return self.head(h) + h.detach()[:, :2]
    >>> _ = torch.manual_seed(0)
    >>> net, x = Detached(), torch.randn(5, 3)
    >>> found = find(net, x, verify=False)
    >>> list(verify(net, found.layers, x).moved)
    ['hidden']
    """
    result, start = Verification(), time.perf_counter()
    tensors = [*model.parameters(), *model.buffers()]
    if any(t.is_meta for t in tensors):
        result.unchecked = "the network is on the meta device, without numbers"
    elif layers:
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.compiler.set_stance("force_eager"),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            _checked(model, layers, example_inputs, result)
    result.seconds = time.perf_counter() - start
    return result


def _checked(model: nn.Module, layers: Sequence[UnitLayer], example_inputs: Any, result: Verification) -> None:
    size = sum(p.numel() for p in model.parameters())
    own = next((t.dtype for t in model.parameters() if t.is_floating_point()), torch.float32)
    in_place, few = size > _IN_PLACE, _EXAMPLES[size <= _SMALL]
    tries = [(torch.float64, few), (torch.float64, None)] if not in_place else [(own, few)]
    for dtype, examples in (*tries, (own, None)):
        own_tensors = {id(parameter): parameter for parameter in model.parameters()}
        copied = bare_copy(model, own_tensors) if in_place else traceable_copy(model, dtype, None)
        arguments = _varied(arguments_of(first_examples(example_inputs, examples, dtype)))
        trial = _Trial(copied, layers, dtype, _FEW if in_place else None, result)
        with trial.undone():
            if trial.run(arguments, 1 if size > _SMALL else _DRAWS):
                return


def _varied(arguments: Any) -> Any:
    """Inputs that are all the same number (zeros given as an example) tell nothing: with noise on them."""
    generator = torch.Generator().manual_seed(1)

    def noisy(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() < 2 or not value.numel():
            return value
        if not bool((value == value.flatten()[0]).all()):
            return value
        return value + torch.randn(value.shape, generator=generator).to(value)

    return tree_map(noisy, arguments)


class _Trial:
    """Layers of a network that can be changed, and outputs to compare."""

    def __init__(
        self, model: nn.Module, layers: Sequence[UnitLayer], dtype: torch.dtype, most: int | None, result: Verification
    ):
        self.model, self.layers, self.result, self.most = model, layers, result, most
        self.tolerance = _TOLERANCE.get(dtype, 1e-2)
        self.tensors = {n: t.data for n, t in [*model.named_parameters(), *model.named_buffers()]}
        self.parameters = {name for name, _ in model.named_parameters()}
        self.trained = [name for name, p in model.named_parameters() if p.requires_grad]
        self.edits: dict[str, _Edits] = {}
        self.zeros: list[Tensor] = []
        for module in model.modules():
            if hasattr(module, "muted"):  # see tracing.py
                module.__dict__["muted"] = True

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Puts back every entry that is changed inside."""
        generator = torch.Generator().manual_seed(0)
        try:
            for name in self.trained:  # gains that training opens may hide nothing
                tensor = self.tensors[name]
                if tensor.is_floating_point() and tensor.numel() and not tensor.any():
                    self.zeros.append(tensor)
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.1 + 0.05)
            yield
        finally:
            for edits in self.edits.values():
                edits.restore()
            for tensor in self.zeros:
                tensor.zero_()

    def run(self, arguments: Any, draws: int) -> bool:
        """Find the layers that move the output; False where the network does not run so."""
        for draw in range(draws):
            self._choose(draw)
            evaluated: list[Tensor] = []
            for train in (False, True):
                set_mode(self.model, train)
                try:
                    before = self._outputs(arguments, ())
                except Exception:  # evaluation: another precision; training: it may ask for targets
                    if not train:
                        self._restore()
                        return False
                    continue
                if train and not _moved(before, evaluated, 0.0):
                    continue  # the same in both modes
                evaluated = before
                self._search(arguments, before, "in training mode" if train else "")
                if self.result.unchecked:
                    return True
            self._restore()
        return True

    def _restore(self) -> None:
        for edits in self.edits.values():
            edits.restore()
        self.edits = {}

    def _choose(self, draw: int) -> None:
        """Which units are changed, and to what: a third of each layer, another in each draw, and at most `most`."""
        generator = torch.Generator().manual_seed(0)
        order = {layer.name: torch.randperm(layer.size, generator=generator) for layer in self.layers}
        chosen = {}
        for layer in self.layers:
            part = order[layer.name].tensor_split(_DRAWS)[draw]
            if len(part):
                chosen[layer.name] = part if self.most is None else part[: self.most]
        generator.manual_seed(draw + 1)
        self.edits = {
            layer.name: _Edits(layer, chosen[layer.name], self.tensors, self.parameters, generator)
            for layer in self.layers
            if layer.name in chosen
        }

    def _outputs(self, arguments: Any, changed: Sequence[str]) -> list[Tensor]:
        """All that the network gives out while the units of all layers are silent and those of some are changed."""
        for name, edits in self.edits.items():
            edits.feed(name in changed)
        for edits in self.edits.values():
            edits.silence()
        self.result.passes += 1
        args, kwargs = tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, arguments)
        with _as_seeded(tree_leaves(arguments)), States(self.model) as states:
            return states.removed_from(numbers_in(self.model(*args, **kwargs)))

    def _search(self, arguments: Any, before: list[Tensor], mode: str) -> None:
        """Halve the layers until those that move the output stand alone."""

        def moves(names: Sequence[str]) -> float:
            return _moved(before, self._outputs(arguments, names), self.tolerance)

        names = [name for name in self.edits if name not in self.result.moved]
        parts = [names] if names and moves(names) else []
        if parts and moves(()):
            self.result.unchecked = "its outputs differ from pass to pass"
            return
        spent = self.result.passes
        while parts:
            part = parts.pop()
            if len(part) > 1 and self.result.passes - spent < _MOST_PASSES:
                parts += [half for half in (part[: len(part) // 2], part[len(part) // 2 :]) if moves(half)]
                continue
            by = moves(part)
            for name in part:
                several = "" if len(part) == 1 else f", or one of {len(part) - 1} others does,"
                self.result.moved[name] = f"{by:.2g}{several} {mode}".rstrip()
                if mode:
                    self.result.in_training.add(name)


class _Edits:
    """The rows of tensors that belong to some units of a layer: as they were, and changed."""

    def __init__(
        self,
        layer: UnitLayer,
        units: Tensor,
        tensors: dict[str, Tensor],
        parameters: set[str],
        generator: torch.Generator,
    ):
        feeding = [s for s in (*layer.incoming, *layer.biases, *layer.norms) if s.name in parameters]
        self.feeding = [_Rows(slices, tensors[slices.name], units) for slices in feeding]
        self.reading = [_Rows(slices, tensors[slices.name], units) for slices in layer.outgoing]
        self.changed = [_drawn(rows.before, generator) for rows in self.feeding]

    def feed(self, changed: bool) -> None:
        for rows, value in zip(self.feeding, self.changed, strict=True):
            rows.put(value if changed else rows.before)

    def silence(self) -> None:
        for rows in self.reading:
            rows.put(torch.zeros_like(rows.before))

    def restore(self) -> None:
        for rows in (*self.feeding, *self.reading):
            rows.put(rows.before)


class _Rows:
    """Some positions of a tensor, in front."""

    def __init__(self, slices: Slices, tensor: Tensor, units: Tensor):
        self.slices, self.tensor = slices, tensor
        self.positions = slices.positions_of(units).flatten().to(tensor.device)
        self.before = self._front().index_select(0, self.positions)

    def _front(self) -> Tensor:
        return self.slices.in_front(self.tensor)

    def put(self, rows: Tensor) -> None:
        if self.slices.groups == 1:
            self._front().index_copy_(0, self.positions, rows)
        else:  # no view
            self.tensor.copy_(self.slices.back(self._front().index_copy(0, self.positions, rows)))


def _drawn(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Other numbers, about twice as large as these."""
    scale = 2 * float(rows.double().square().mean().sqrt()) or 1.0
    return (torch.randn(rows.shape, generator=generator) * scale).to(rows)


def _moved(before: list[Tensor], after: list[Tensor], tolerance: float) -> float:
    """By how much the outputs differ, relative to the largest of each; 0 within the tolerance."""
    if [t.shape for t in before] != [t.shape for t in after]:
        return float("inf")
    most = 0.0
    for a, b in zip(before, after, strict=True):
        both = torch.isfinite(a) & torch.isfinite(b)
        if not torch.equal(torch.nan_to_num(a[~both]), torch.nan_to_num(b[~both])):
            return float("inf")
        if both.any():
            by = float((a[both] - b[both]).abs().max()) / max(float(a[both].abs().max()), 1e-6)
            most = max(most, by)
    return most if most > tolerance else 0.0


@contextmanager
def _as_seeded(leaves: Sequence[Any]) -> Iterator[None]:
    """The same random numbers of torch, NumPy and Python in every pass; their states are put back."""
    devices = sorted({t.device.index or 0 for t in leaves if isinstance(t, Tensor) and t.device.type == "cuda"})
    pythons, numpys = python_random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            torch.default_generator.manual_seed(0)  # `torch.manual_seed` would seed other devices as well
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(0)
            python_random.seed(0)
            np.random.seed(0)
            yield
    finally:
        python_random.setstate(pythons)
        np.random.set_state(numpys)
