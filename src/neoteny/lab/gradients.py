"""Gradients of a phase's value by `torch.func`, over the user's plain modules on the meta device.

The loss of a phase may call the networks any number of times, with the trained weights or with slow tensors. Observers
see the hidden units in calls with the trained weights. Running statistics of norms are returned as the buffers after
the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vjp, vmap
from torch.utils._pytree import tree_map_only

from neoteny.lab.dropout import Dropping
from neoteny.lab.objective import Batch, Evaluation, Phase, Tensors
from neoteny.units import random
from neoteny.units.observe import Observer

__all__ = ["Evaluated", "Gradients"]

_LOSS = -1  # folded into a phase's key for its loss; dropout layers use numbers from 0


class Evaluated(NamedTuple):
    """The result of differentiating a phase's value.

    Args:
        grads: of the parameters that the phase trains, by name.
        value: the value itself, `[]`.
        metrics: what else is recorded, by name.
        signals: what the optimizer reads besides gradients, by name; gradients of the values beside are among them.
        features: what hidden units did, `[batch, units, positions]` by layer.
        buffers: the networks' buffers afterwards, by name.
    """

    grads: Tensors
    value: Tensor
    metrics: Tensors
    signals: dict[str, Any]
    features: Tensors
    buffers: Tensors


class Gradients:
    """Differentiates the values of phases.

    Args:
        module: the networks in training mode, on the meta device.
        observer: hooks that see hidden units; None where no method asks for them.
        precision: `float32`, or `bfloat16` for products and convolutions.
    """

    def __init__(self, module: nn.Module, observer: Observer | None = None, precision: str = "float32"):
        self._module, self._observer, self._coarse = module, observer, precision == "bfloat16"
        self._dropping = Dropping(module)

    def __call__(
        self,
        phase: Phase,
        names: tuple[str, ...],
        tensors: Tensors,
        buffers: Tensors,
        slow: Mapping[str, Tensors],
        batch: Batch,
        key: Tensor,
        knobs: Tensors,
    ) -> Evaluated:
        """Differentiate a phase's value with respect to the parameters of these names.

        Args:
            phase: the phase.
            names: of the parameters that it trains.
            tensors: all parameters.
            buffers: all buffers.
            slow: slow tensors, by their name and the name of the parameter that they copy.
            batch: the batch.
            key: of this step and phase.
            knobs: settings that may change between segments.
        """
        wanted = tuple(name for name in phase.optimizer.needs() if name in phase.beside)
        shapes: list[torch.Size] = []

        def value(own: Tensors) -> tuple[Tensor, tuple[Tensors, Tensors, Tensors, Tensors]]:
            # norms change their running statistics in place; the state before the step must not change
            now = {name: buffer.clone() for name, buffer in buffers.items()}
            forward = _Forward(self, {**tensors, **own}, now, slow, key, knobs)
            found: Evaluation = phase.evaluate(forward, batch, random.fold_in(key, _LOSS))
            # emptied inside the traced function: a wrapper tensor left in it would leak out of the trace
            features = self._observer.take() if self._observer is not None else {}
            features = {name: seen.float() if self._coarse else seen for name, seen in features.items()}
            differentiated = found.value
            if wanted:
                values = [found.value, *(found.beside[name] for name in wanted)]
                shapes[:] = [each.shape for each in values]
                differentiated = torch.cat([each.reshape(-1) for each in values])
            return differentiated, (dict(found.metrics), dict(found.signals), features, now)

        own = {name: tensors[name] for name in names}
        if not wanted:
            grads, (loss, (metrics, signals, features, after)) = grad_and_value(value, has_aux=True)(own)
            return Evaluated(grads, loss, metrics, signals, features, after)
        values, pull, aux = cast("tuple[Tensor, Callable[[Tensor], Any], Any]", vjp(value, own, has_aux=True))
        metrics, signals, features, after = aux
        (rows,) = vmap(pull)(torch.eye(len(values), dtype=values.dtype, device=values.device))
        beside, start = {}, 1
        for name, shape in zip(wanted, shapes[1:], strict=True):
            stop = start + shape.numel()
            beside[name] = {p: row[start:stop].reshape(*shape, *row.shape[1:]) for p, row in rows.items()}
            start = stop
        grads = {name: row[0] for name, row in rows.items()}
        return Evaluated(grads, values[0], metrics, {**signals, **beside}, features, after)


class _Forward:
    """The networks as functions; see `neoteny.lab.objective.Forward`."""

    def __init__(
        self,
        owner: Gradients,
        tensors: Tensors,
        buffers: Tensors,
        slow: Mapping[str, Tensors],
        key: Tensor,
        knobs: Tensors,
    ):
        self._owner, self._tensors, self._buffers, self._slow, self._key = owner, tensors, buffers, slow, key
        self.knobs: Mapping[str, Tensor] = knobs
        self._calls = 0

    def __call__(self, *inputs: Any, network: str = "", slow: str | None = None, observed: bool = True) -> Any:
        own, dropping, observer = self._owner, self._owner._dropping, self._owner._observer
        tensors = {**self._tensors, **self._buffers}
        if slow is not None:
            # clones of the buffers: slow networks must not change the running statistics of the trained ones
            tensors = {**tensors, **{name: value.clone() for name, value in self._buffers.items()}, **self._slow[slow]}
        if dropping.active:  # each call in a step drops other units
            dropping.key = random.fold_in(self._key, _LOSS - self._calls) if self._calls else self._key
        self._calls += 1
        if observer is not None:
            observer.enabled = observed and slow is None
        # without autocast's cache, which would pass tensors of one trace to another
        device = next(iter(self._tensors.values())).device.type
        with torch.autocast(device, torch.bfloat16, enabled=own._coarse, cache_enabled=False):
            outputs = functional_call(own._module, tensors, (network, *inputs) if network else inputs)
        dropping.key = None
        if own._coarse:
            outputs = tree_map_only(Tensor, lambda value: value.float(), outputs)
        return outputs

    def parameter(self, name: str) -> Tensor:
        return self._tensors[name]
