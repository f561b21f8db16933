"""Measure what hidden units do on the batches that a user's network is trained on.

Forward passes may be for training or evaluation, several before one step, through the whole model or parts of it,
compiled or not; some are repeated within the backward pass, to save memory. Only sums over batch and positions are
kept. The tensors themselves are kept only where a method asks for the mean of |h - c|, as c is known after the step.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neoteny.attachment.distributed import Processes, is_sharded
from neoteny.attachment.layer_sums import LayerSums
from neoteny.units.activations import AVERAGED, Activations
from neoteny.units.records import Network, Reader


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

    Attributes:
        unseen: layers of which nothing was seen at any step where somebody looked.
    """

    def __init__(self, model: nn.Module, network: Network, wanted: Collection[str], processes: Processes):
        rows = [name for name in AVERAGED if name in wanted]
        self._keeps, self._processes, self._handles = "mean_abs_about" in wanted, processes, []
        counts = "examples" in wanted
        self._layers: dict[str, LayerSums] = {}
        self._found: Mapping[str, SummedActivations] = {}  # at the last step
        for layer in network.layers:
            if layer.readers:
                parameter = model.get_parameter(layer.incoming[0].name)
                module = model.get_submodule(layer.readers[0].module)
                self._layers[layer.name] = LayerSums(layer, module, parameter, rows, self._keeps, counts, processes)
        self.unseen = set(self._layers)
        self._rows = {name: row for row, name in enumerate(rows)}
        _compile_anew(model)
        self._listen()

    def _listen(self) -> None:
        for sums in self._layers.values():
            self._handles.append(sums.reader.listen(sums.module, sums))
            if not is_sharded(sums.parameter):  # a shard's gradient does not come from autograd
                self._handles.append(sums.follow_gradients())

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

    def take(self) -> Mapping[str, SummedActivations]:
        """What was seen since the last call, by layer; without layers that no process can have seen.

        It holds until the network runs again: its sums may then be written to. Where all of them lie where they lay at
        the last call, it is the same object.
        """
        several, found = self._processes.several, self._found
        seen = {name: sums.take() for name, sums in self._layers.items() if sums.opened or sums.ended or several}
        if self.unseen:
            self.unseen -= seen.keys()
        if several:
            seen = dict(zip(seen, self._processes.add_up(list(seen.values())), strict=True))
        known = not self._keeps and seen.keys() == found.keys()
        if not known or any([found[name].sums is not total for name, total in seen.items()]):
            found = {}
            for name, total in seen.items():  # else the kernel wrote where it wrote before
                sums = self._layers[name]
                given = total, self._rows, sums.counts, sums.take_kept(), sums.reader, self._processes
                found[name] = SummedActivations(*given)
        self._found = found
        self.clear()
        return found

    @property
    def anything(self) -> bool:
        """Whether this process has seen something since the last `take`."""
        return any([sums.opened or sums.ended for sums in self._layers.values()])

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

    def mean_abs_about(self, centre: Tensor, places: int | None = None) -> Tensor:
        """Mean of |h - c|; by place of a flattened map where their number is given."""
        centre = centre.to(self._count.dtype)
        total = centre.new_zeros(centre.shape[0], *([] if places is None else [places]))
        for value in self._kept:
            away = (self._reader.features(value).to(centre.dtype) - centre.unsqueeze(-1)).abs_()
            total += away.sum((0, 2)) if places is None else away.unflatten(2, (places, -1)).sum((0, 3))
        (total,) = self._processes.add_up([total])
        return total / (self._count / (places or 1))


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
